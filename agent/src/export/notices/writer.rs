//! Writes Events to the API server, one request at a time, on a thread that nobody waits for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams, PostParams, Request};
use kube::{Client, Error};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{sleep_until, timeout};
use tracing::{info, warn};

use super::correlate::{Correlator, Key, Write};
use super::event;
use super::notice::{Notice, Object};
use crate::export::metrics::{DroppedNotice, EventRequest, NoticeMetrics};
use crate::rbac::cluster::{ConnectOptions, Connection, RequestError};

/// A request is to be answered within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// After a failure nothing is tried for so long, doubled each time up to the second.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// What is refused is tried again after this, as often as anything may be written: an API server that has just begun forbids everything.
const AGAIN: Duration = Duration::from_secs(5);
/// Drops are logged no more often.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The class of [`RequestError::Forbidden`].
const FORBIDDEN: u16 = 403;
/// Notices that are taken before something is written.
const BATCH: usize = 256;
const WHAT: &str = "events";
const VERBS: &str = "create and patch";

/// What it takes to write.
pub(super) struct Writer {
    pub(super) node: String,
    /// The kubelet's `podLogsDir`, whose entries tell the UIDs of pods.
    pub(super) pod_logs: PathBuf,
    pub(super) options: ConnectOptions,
    pub(super) metrics: NoticeMetrics,
    pub(super) client: Option<Client>,
    pub(super) correlator: Correlator,
    /// When something is tried again after a failure, and how many there were.
    pub(super) rest: Option<Instant>,
    pub(super) failures: u32,
    /// The class of the failure that the log tells of.
    pub(super) told: Option<u16>,
    /// When drops were logged last.
    pub(super) warned: Option<Instant>,
}

/// What came of a request.
enum Outcome {
    Written,
    /// The namespace of the Event does not exist, or is about to be gone.
    NoNamespace,
    /// The Event is not there any more.
    Gone,
    /// The API server does not take this Event, and never will.
    Invalid(RequestError),
    /// It may work later.
    Failed(RequestError),
}

impl Writer {
    /// Works until nobody sends notices any more; then writes once what can be written at once.
    pub(super) async fn run(mut self, mut notices: Receiver<Notice>) {
        let mut open = true;
        while open {
            open = self.take(&mut notices).await;
            self.write(&mut notices).await;
            let dropped = self.correlator.sweep(Instant::now());
            self.dropped(DroppedNotice::Evicted, dropped.evicted);
            self.dropped(DroppedNotice::Late, dropped.late);
        }
        self.dropped(DroppedNotice::Late, self.correlator.waiting());
    }

    /// Waits for a notice or for something to do, and takes what is there; false if there will be no more.
    async fn take(&mut self, notices: &mut Receiver<Notice>) -> bool {
        let wake = self.correlator.wake().map(|wake| self.rest.map_or(wake, |rest| wake.max(rest)));
        let timer = async {
            match wake {
                Some(wake) => sleep_until(wake.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            notice = notices.recv() => match notice {
                Some(notice) => self.correlator.take(notice, Instant::now()),
                None => return false,
            },
            () = timer => {}
        }
        self.drain(notices)
    }

    fn drain(&mut self, notices: &mut Receiver<Notice>) -> bool {
        for _ in 0..BATCH {
            match notices.try_recv() {
                Ok(notice) => self.correlator.take(notice, Instant::now()),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    async fn write(&mut self, notices: &mut Receiver<Notice>) {
        if self.rest.is_some_and(|rest| rest > Instant::now()) {
            return;
        }
        while let Some(write) = self.correlator.next(Instant::now()) {
            let outcome = timeout(ANSWER_WITHIN, self.send(&write)).await;
            let outcome = outcome.unwrap_or(Outcome::Failed(RequestError::Silent { what: WHAT, within: ANSWER_WITHIN }));
            if !self.settle(&write, outcome) {
                return;
            }
            // A slow API server must not fill the queue.
            self.drain(notices);
        }
    }

    /// Takes what came of it; false if the API server should be left alone for a while.
    fn settle(&mut self, write: &Write, outcome: Outcome) -> bool {
        let now = Instant::now();
        match outcome {
            Outcome::Written => {
                self.metrics.request(if write.exists { EventRequest::Counted } else { EventRequest::Created });
                self.metrics.written.inc_by(self.correlator.wrote(write, now).into());
            }
            Outcome::NoNamespace if write.object != Object::Node => {
                self.metrics.request(EventRequest::MovedToNode);
                self.correlator.move_to_node(&write.key, now);
            }
            Outcome::Gone => self.correlator.renew(&write.key, now),
            Outcome::NoNamespace => self.refused(&write.key, "the namespace default is not there"),
            Outcome::Invalid(error) => self.refused(&write.key, &error.to_string()),
            Outcome::Failed(error) => {
                self.metrics.request(EventRequest::Failed);
                return self.postpone(write, &error, now);
            }
        }
        // A right to create says nothing about one to patch.
        if self.told.is_some_and(|class| class != FORBIDDEN || write.exists) {
            self.told = None;
            info!("Kubernetes Events are written again");
        }
        (self.rest, self.failures) = (None, 0);
        true
    }

    fn refused(&mut self, key: &Key, why: &str) {
        self.metrics.request(EventRequest::Failed);
        warn!("a Kubernetes Event cannot be written: {why}");
        let lost = self.correlator.give_up(key);
        self.dropped(DroppedNotice::Refused, lost);
    }

    /// False if the API server should be left alone for a while.
    fn postpone(&mut self, write: &Write, error: &RequestError, now: Instant) -> bool {
        if self.told.replace(error.class()) != Some(error.class()) {
            warn!("Kubernetes Events cannot be written, and are tried again: {error}");
        }
        if is_about_one_event(error) {
            self.correlator.retry(&write.key, now + AGAIN);
            return true;
        }
        if matches!(error, RequestError::Unauthorized(_) | RequestError::Unreachable(_) | RequestError::Silent { .. }) {
            self.client = None;
        }
        let rest = now + REST.0.saturating_mul(1 << self.failures.min(5)).min(REST.1);
        self.failures += 1;
        self.rest = Some(rest);
        self.correlator.postpone(&write.key, rest);
        false
    }

    fn dropped(&mut self, why: DroppedNotice, count: u32) {
        if count == 0 {
            return;
        }
        self.metrics.dropped(why, count.into());
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            warn!("findings are in no Kubernetes Event: {}; kubewitness_kubernetes_events_missing_total counts them", why.sentence());
        }
    }

    async fn send(&mut self, write: &Write) -> Outcome {
        let client = match self.client().await {
            Ok(client) => client,
            Err(error) => return Outcome::Failed(error),
        };
        let path = format!("/api/v1/namespaces/{}/events", event::namespace(&write.object));
        let request = if write.exists {
            Request::new(path).patch(&write.name, &PatchParams::default(), &Patch::Merge(event::counted(write)))
        } else {
            let uid = self.uid(&write.object);
            let event = event::created(write, uid.as_deref(), &self.node);
            Request::new(path).create(&PostParams::default(), event.to_string().into_bytes())
        };
        match request {
            Ok(request) => outcome(write, client.request::<Value>(request).await),
            Err(error) => Outcome::Invalid(RequestError::Garbled { what: WHAT, message: error.to_string() }),
        }
    }

    async fn client(&mut self) -> Result<Client, RequestError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Connection::open(self.options.clone()).await?.client().await?;
        Ok(self.client.insert(client).clone())
    }

    fn uid(&self, object: &Object) -> Option<String> {
        let Object::Pod { namespace, name } = object else { return None };
        uid(&self.pod_logs, namespace, name)
    }
}

/// The UID of a pod by its log directory, `<namespace>_<name>_<uid>`. What the caller's path says of it counts for nothing: the kubelet finds
/// the pod by its name (`pkg/kubelet/container`, `FindPod`). Of two pods that had the name the younger one has it now.
fn uid(pod_logs: &Path, namespace: &str, name: &str) -> Option<String> {
    let wanted = format!("{namespace}_{name}_");
    let entries = fs::read_dir(pod_logs).ok()?.filter_map(Result::ok);
    let found = entries.filter_map(|entry| {
        let uid = entry.file_name().to_str()?.strip_prefix(&wanted)?.to_owned();
        Some((entry.metadata().and_then(|metadata| metadata.created().or(metadata.modified())).ok()?, uid))
    });
    found.max().map(|(_, uid)| uid)
}

/// Whether the API server is there and answered; another Event may fare better.
const fn is_about_one_event(error: &RequestError) -> bool {
    match error {
        RequestError::Refused { code, .. } => *code != 429,
        RequestError::Forbidden { .. } | RequestError::Garbled { .. } | RequestError::Expired => true,
        RequestError::Connect(_) | RequestError::Unauthorized(_) | RequestError::Silent { .. } | RequestError::Unreachable(_) => false,
    }
}

fn outcome(write: &Write, answer: Result<Value, Error>) -> Outcome {
    let Err(error) = answer else { return Outcome::Written };
    let Error::Api(status) = &error else { return Outcome::Failed(RequestError::of(WHAT, VERBS, error)) };
    match status.code {
        // An answer that did not come in time: the Event is there.
        409 if !write.exists && status.reason == "AlreadyExists" => Outcome::Written,
        404 if write.exists => Outcome::Gone,
        404 => Outcome::NoNamespace,
        403 if status.message.contains("because it is being terminated") => Outcome::NoNamespace,
        400 | 413 | 422 => Outcome::Invalid(RequestError::of(WHAT, VERBS, error)),
        _ => Outcome::Failed(RequestError::of(WHAT, VERBS, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_that_of_the_youngest_log_directory() {
        let folder = std::env::temp_dir().join(format!("kubewitness-uid-{}", std::process::id()));
        assert_eq!(uid(&folder, "default", "web"), None);
        for name in ["default_web_old", "default_web-2_other", "other_web_other"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        assert_eq!(uid(&folder, "default", "web").as_deref(), Some("old"));
        std::thread::sleep(Duration::from_millis(20));
        fs::create_dir_all(folder.join("default_web_new")).unwrap();
        assert_eq!(uid(&folder, "default", "web").as_deref(), Some("new"));
        assert_eq!(uid(&folder, "default", "we"), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
