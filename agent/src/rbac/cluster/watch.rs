//! Follows the RBAC objects for the daemon, through everything that may happen to an API server.
//!
//! Each kind is one request most of the time: the API server tells what it has, from its cache, and then what changes. Where it cannot
//! stream a list (before 1.32, and 1.33), the list is another request. A broken watch is taken up where it broke; only if that fails,
//! what is known is told to grow old.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::Connection;
use super::request::{Collection, RequestError};
use crate::rbac::{Change, Kind, Object, Update};

/// How patient it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// It begins at a random time within this, so that the agents of a cluster that is updated do not all come at once.
    pub jitter: Duration,
    /// A watch that tells nothing for so long is begun anew. API servers tell at least every minute that they are there
    /// (`defaultBookmarkFrequency`, `apiserver/pkg/storage/cacher`).
    pub silence: Duration,
    /// A request is to be answered within this, and between two objects of a list no more may pass.
    pub answer: Duration,
    /// How long it rests after a failure, at least and at most; it doubles each time, and is randomly shortened by up to a half.
    pub rest: (Duration, Duration),
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            jitter: Duration::from_secs(5),
            silence: Duration::from_secs(64),
            answer: Duration::from_secs(10),
            rest: (Duration::from_secs(1), Duration::from_secs(90)),
        }
    }
}

/// Follows both kinds of objects and sends what it is told. When the channel is full it waits; it ends when nobody receives any more.
///
/// It never fails: whatever goes wrong is logged, once for each change, and tried again.
pub async fn watch(connection: &Connection, options: WatchOptions, updates: SyncSender<Update>) {
    let follower = |kind| Follower { kind, connection, options, updates: &updates, current: false, streams: true, told: None };
    let (mut roles, mut bindings) = (follower(Kind::ClusterRole), follower(Kind::ClusterRoleBinding));
    tokio::join!(roles.follow(), bindings.follow());
}

/// Follows one kind.
struct Follower<'a> {
    kind: Kind,
    connection: &'a Connection,
    options: WatchOptions,
    updates: &'a SyncSender<Update>,
    /// All objects were told, and nothing is lost since.
    current: bool,
    /// The API server may be asked to stream a list.
    streams: bool,
    /// The class of the failure that the log tells of.
    told: Option<u16>,
}

/// Why it does not go on.
enum Interruption {
    Failed(RequestError),
    /// Nobody receives any more.
    Closed,
}

impl From<RequestError> for Interruption {
    fn from(error: RequestError) -> Self {
        Self::Failed(error)
    }
}

impl Follower<'_> {
    async fn follow(&mut self) {
        sleep(self.options.jitter.mul_f64(fraction())).await;
        let mut failures = 0;
        loop {
            let Err(interruption) = self.listen(&mut failures).await;
            let Interruption::Failed(error) = interruption else { return };
            if std::mem::take(&mut self.current) && self.send(Update::Lost(self.kind)).await.is_err() {
                return;
            }
            if self.told.replace(error.class()) != Some(error.class()) {
                tracing::warn!("{} are not known: {error}", self.collection().what());
            }
            sleep(rest(self.options.rest, failures)).await;
            failures += 1;
        }
    }

    /// Lists, and then passes on what changes, until something fails.
    async fn listen(&mut self, failures: &mut u32) -> Result<Infallible, Interruption> {
        let client = self.connection.client().await.map_err(RequestError::from)?;
        loop {
            let begun = Instant::now();
            match self.list_and_watch(&client, failures).await {
                Err(Interruption::Failed(RequestError::Expired)) => rest_if_short(begun).await,
                ended => return ended,
            }
        }
    }

    async fn list_and_watch(&mut self, client: &Client, failures: &mut u32) -> Result<Infallible, Interruption> {
        self.send(Update::Listing(self.kind)).await?;
        let streamed = if self.streams { Some(self.list_streamed(client, failures).await) } else { None };
        let mut version = match streamed {
            // 422, or 400 of API servers that know no such parameter.
            None | Some(Err(Interruption::Failed(RequestError::Refused { code: 400 | 422, .. }))) => {
                self.list_whole(client, failures).await?
            }
            Some(streamed) => streamed?,
        };
        loop {
            let begun = Instant::now();
            let parameters = WatchParams::default().timeout(lifetime());
            let opened = timeout(self.options.answer, self.collection().events(client, &parameters, &version)).await;
            self.pass_on(opened.map_err(|_| self.silent())??, &mut version).await?;
            rest_if_short(begun).await;
        }
    }

    /// One request for what there is and for what changes then. Returns the version that it came to when it ended.
    async fn list_streamed(&mut self, client: &Client, failures: &mut u32) -> Result<String, Interruption> {
        let parameters = WatchParams::default().initial_events().timeout(lifetime());
        // Version 0: whatever the API server's cache holds.
        let opened = timeout(self.options.answer, self.collection().events(client, &parameters, "0")).await;
        let mut events = std::pin::pin!(opened.map_err(|_| self.silent())??);
        let mut version = String::new();
        loop {
            let Ok(event) = timeout(self.options.answer, events.try_next()).await else {
                // An API server that does not know the parameter tells its objects, and never that these were all.
                self.streams = false;
                return Err(self.silent().into());
            };
            match event? {
                Some(WatchEvent::Bookmark(bookmark)) if bookmark.metadata.annotations.contains_key(LISTED) => {
                    version = bookmark.metadata.resource_version;
                    break;
                }
                Some(event) => self.take(event, &mut version).await?,
                None => return Err(RequestError::Unreachable("the list broke off".to_owned()).into()),
            }
        }
        self.listed(failures).await?;
        self.pass_on(events, &mut version).await?;
        Ok(version)
    }

    /// Everything in one answer, from the API server's cache; its objects are trimmed one by one.
    async fn list_whole(&mut self, client: &Client, failures: &mut u32) -> Result<String, Interruption> {
        let parameters = ListParams::default().match_any();
        let page = timeout(self.options.answer, self.collection().page(client, &parameters)).await.map_err(|_| self.silent())??;
        for item in page.items {
            let value = serde_json::from_str(item.get()).map_err(|error| self.collection().garbled(&error))?;
            let object = self.collection().object(value)?;
            self.send(Update::Change(object.into_change())).await?;
        }
        self.listed(failures).await?;
        Ok(page.version)
    }

    async fn listed(&mut self, failures: &mut u32) -> Result<(), Interruption> {
        self.send(Update::Listed(self.kind)).await?;
        (self.current, *failures) = (true, 0);
        if self.told.take().is_some() {
            tracing::info!("{} are known again", self.collection().what());
        }
        Ok(())
    }

    /// Passes on what a watch tells until it ends. Why it ended, the next one tells, which goes on at the version.
    async fn pass_on(
        &self,
        events: impl Stream<Item = Result<WatchEvent<Value>, RequestError>>,
        version: &mut String,
    ) -> Result<(), Interruption> {
        let mut events = std::pin::pin!(events);
        loop {
            match timeout(self.options.silence, events.try_next()).await {
                Ok(Ok(Some(event))) => self.take(event, version).await?,
                Ok(Err(error @ RequestError::Garbled { .. })) => return Err(error.into()),
                Ok(Ok(None) | Err(_)) | Err(_) => return Ok(()),
            }
        }
    }

    async fn take(&self, event: WatchEvent<Value>, version: &mut String) -> Result<(), Interruption> {
        let (value, gone) = match event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => (value, false),
            WatchEvent::Deleted(value) => (value, true),
            WatchEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                return Ok(());
            }
            WatchEvent::Error(status) => return Err(self.collection().refused(status.code, status.message).into()),
        };
        if let Some(of_object) = value.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
            of_object.clone_into(version);
        }
        let change = match (self.collection().object(value)?, gone) {
            (object, false) => object.into_change(),
            (Object::Role(name, _), true) => Change::RoleGone(name),
            (Object::Binding(name, _), true) => Change::BindingGone(name),
        };
        self.send(Update::Change(change)).await
    }

    /// Waits where the channel is full: the daemon has requests to judge first.
    async fn send(&self, mut update: Update) -> Result<(), Interruption> {
        loop {
            update = match self.updates.try_send(update) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Interruption::Closed),
                Err(TrySendError::Full(update)) => update,
            };
            sleep(Duration::from_millis(20)).await;
        }
    }

    const fn collection(&self) -> Collection {
        Collection::Rbac(self.kind)
    }

    const fn silent(&self) -> RequestError {
        RequestError::Silent { what: self.collection().what(), within: self.options.answer }
    }
}

/// The annotation of the bookmark that ends a streamed list (`meta/v1`, `InitialEventsAnnotationKey`).
const LISTED: &str = "k8s.io/initial-events-end";

/// A server that ends everything at once is not asked all the time.
async fn rest_if_short(begun: Instant) {
    const SHORT: Duration = Duration::from_secs(1);
    if begun.elapsed() < SHORT {
        sleep(SHORT.mul_f64(0.5 + fraction())).await;
    }
}

/// How long the API server is asked to keep a watch, in seconds; spread, so that watches do not all end at once.
fn lifetime() -> u32 {
    300 + random() % 300
}

fn rest((least, most): (Duration, Duration), failures: u32) -> Duration {
    least.saturating_mul(2_u32.saturating_pow(failures)).min(most).mul_f64(1.0 - fraction() / 2.0)
}

/// From 0 to 1.
fn fraction() -> f64 {
    f64::from(random()) / f64::from(u32::MAX)
}

/// Each `RandomState` of the standard library has keys of its own.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
