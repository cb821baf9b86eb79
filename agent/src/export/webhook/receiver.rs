//! The way to the receiver: what the kubeconfig says, and one request for each batch.
//!
//! kube's client and not a bare HTTP one: a kubeconfig may name certificates and tokens in place or in files, passwords, commands that give
//! credentials, a proxy, another name in the server's certificate. It follows no redirect.

use std::{fs, path::PathBuf, time::Duration};

use axum::{
    body::{Body as Received, to_bytes},
    http::{
        Request, Response, StatusCode, Uri,
        header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT},
    },
};
use bytes::Bytes;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::time::timeout;

use super::delivery::Answer;
use crate::rbac::cluster::without_secrets;

/// How long a request may take (k8s.io/apiserver/pkg/util/webhook, `defaultRequestTimeout`).
const WITHIN: Duration = Duration::from_secs(30);
/// The same where nothing but an answer is wanted.
const REACH_WITHIN: Duration = Duration::from_secs(5);
/// An answer of this length is read to its end, so that the connection can be used again; nothing is made of it.
const ANSWER_BYTES: usize = 64 << 10;
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Who gets the events.
pub(super) struct Receiver {
    kubeconfig: PathBuf,
    within: Duration,
    /// `None` until it is needed, and after each failure: what the kubeconfig says, and the files that it names, may be other ones then.
    way: Option<Way>,
}

struct Way {
    client: Client,
    /// Path and query.
    target: String,
    /// As people may see it.
    shown: String,
}

/// Why a batch did not arrive. What the receiver said beside its status is not told: it may repeat what it was sent, credentials too.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// The kubeconfig.
    #[error("{path}: {why}; name a readable kubeconfig with --audit-webhook-config-file, with a current context, a cluster and a user")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The token that it names.
    #[error("the token file {path} cannot be read: {source}")]
    Token {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What it names as the server.
    #[error("{path}: the server {shown} cannot be used: {why}")]
    Server {
        /// The kubeconfig.
        path: PathBuf,
        /// The address.
        shown: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Certificates, keys, commands.
    #[error("{path}: {why}; check the certificates, keys and commands that it names")]
    Unusable {
        /// The kubeconfig.
        path: PathBuf,
        /// What is wrong with them.
        why: String,
    },
    /// No answer.
    #[error("{url} cannot be reached: {why}; check the address, the network and the certificates")]
    Unreachable {
        /// The server.
        url: String,
        /// What is in the way.
        why: String,
    },
    /// No answer in time.
    #[error("{url} has not answered within {} s; is it overloaded?", within.as_secs())]
    Silent {
        /// The server.
        url: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// An answer that is no 2xx.
    #[error("{url} answered {status}{}", hint(*status))]
    Status {
        /// The server.
        url: String,
        /// How.
        status: StatusCode,
        /// How long it wants to be left alone.
        rest: Option<Duration>,
    },
    /// It wants the events elsewhere.
    #[error("{url} answered {status} and wants the events elsewhere{}, which is not followed: name the right server in the kubeconfig", to.as_ref().map(|to| format!(" ({to})")).unwrap_or_default())]
    Moved {
        /// The server.
        url: String,
        /// How.
        status: StatusCode,
        /// The host, if it was told.
        to: Option<String>,
    },
}

impl ReceiverError {
    /// What it means for what was sent. 403 and 406 are also what filters in front of a receiver say where they take an event for an
    /// attack, since what callers asked for is in it.
    pub(super) fn answer(&self) -> Answer {
        match self {
            Self::Status { status, .. } if matches!(status.as_u16(), 400 | 403 | 406 | 413 | 415 | 422) => Answer::Refused,
            _ => Answer::Unwell,
        }
    }

    /// How long the receiver asked to be left alone.
    pub(super) const fn rest(&self) -> Option<Duration> {
        match self {
            Self::Status { rest, .. } => *rest,
            _ => None,
        }
    }

    fn is_of_credentials(&self) -> bool {
        matches!(self, Self::Status { status, .. } if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
    }
}

impl Receiver {
    /// The one that the kubeconfig names.
    pub(super) const fn new(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, within: WITHIN, way: None }
    }

    /// Whether the kubeconfig can be made sense of. Nothing is sent, and nothing run.
    pub(super) async fn check(&self) -> Result<(), ReceiverError> {
        self.read().await.map(drop)
    }

    /// Asks for something that is no event, and takes any answer.
    pub(super) async fn reach(&self) -> Result<(String, StatusCode), ReceiverError> {
        let Way { client, target, shown } = self.find().await?;
        let unreachable = |why| ReceiverError::Unreachable { url: shown.clone(), why };
        let request = Request::get(&target).body(Body::empty()).map_err(|error| unreachable(error.to_string()))?;
        match timeout(REACH_WITHIN, client.send(request)).await {
            Ok(Ok(response)) => Ok((shown, response.status())),
            Ok(Err(error)) => Err(unreachable(without_secrets(&error))),
            Err(_) => Err(ReceiverError::Silent { url: shown, within: REACH_WITHIN }),
        }
    }

    /// Where the events go, as far as it is known.
    pub(super) fn shown(&self) -> String {
        self.way.as_ref().map_or_else(|| self.kubeconfig.display().to_string(), |way| way.shown.clone())
    }

    /// Sends a list of events.
    pub(super) async fn post(&mut self, list: Bytes) -> Result<(), ReceiverError> {
        let known = self.way.is_some();
        let mut result = self.attempt(list.clone()).await;
        if known && matches!(result, Err(ReceiverError::Status { status: StatusCode::UNAUTHORIZED, .. })) {
            // Tokens and certificates end, and whoever renews them does it in time: that is no failure.
            self.way = None;
            result = self.attempt(list).await;
        }
        if result.as_ref().is_err_and(|error| error.answer() == Answer::Unwell || error.is_of_credentials()) {
            self.way = None;
        }
        result
    }

    async fn attempt(&mut self, list: Bytes) -> Result<(), ReceiverError> {
        match timeout(self.within, self.try_to_send(list)).await {
            Ok(result) => result,
            Err(_) => Err(ReceiverError::Silent { url: self.shown(), within: self.within }),
        }
    }

    async fn try_to_send(&mut self, list: Bytes) -> Result<(), ReceiverError> {
        let way = match self.way.take() {
            Some(way) => way,
            None => self.find().await?,
        };
        let way = self.way.insert(way);
        let request = Request::post(&way.target)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .header(USER_AGENT, concat!("kubewitness/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(list))
            .map_err(|_| ReceiverError::Server {
                path: self.kubeconfig.clone(),
                shown: way.shown.clone(),
                why: "its path cannot be sent",
            })?;
        let sent = way.client.send(request).await;
        let response = sent.map_err(|error| ReceiverError::Unreachable { url: way.shown.clone(), why: without_secrets(&error) })?;
        let (status, error) = (response.status(), failure(&response, &way.shown));
        // An answer that does not end is an answer.
        let _read = timeout(ANSWER_WITHIN, to_bytes(Received::new(response.into_body()), ANSWER_BYTES)).await;
        if status.is_success() { Ok(()) } else { Err(error) }
    }

    async fn find(&self) -> Result<Way, ReceiverError> {
        let (config, target, shown) = self.read().await?;
        // Another provider, chosen by whoever uses this as a library, is just as good.
        let _present = rustls::crypto::ring::default_provider().install_default();
        let unusable = |error| ReceiverError::Unusable { path: self.kubeconfig.clone(), why: without_secrets(&error) };
        Ok(Way { client: Client::try_from(config).map_err(unusable)?, target, shown })
    }

    /// What the kubeconfig says: the way to the server, path and query there, and the address without the query, in which may be secrets.
    async fn read(&self) -> Result<(Config, String, String), ReceiverError> {
        let path = || self.kubeconfig.clone();
        let failed = |error| ReceiverError::Kubeconfig { path: path(), why: without_secrets(&error) };
        let content = Kubeconfig::read_from(&self.kubeconfig).map_err(failed)?;
        let mut config = Config::from_custom_kubeconfig(content, &KubeConfigOptions::default()).await.map_err(failed)?;
        let server = config.cluster_url.clone();
        let authority = server.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit('@').next().unwrap_or_default();
        let scheme = server.scheme_str().unwrap_or_default();
        let shown = format!("{scheme}://{host}{}", server.path());
        let wrong = |why| Err(ReceiverError::Server { path: path(), shown: shown.clone(), why });
        if !matches!(scheme, "https" | "http") || host.is_empty() {
            return wrong("write https://HOST[:PORT]/PATH");
        }
        if host != authority {
            return wrong("write the user and the password not into the address, but under `users`, as username and password");
        }
        // kube would put a slash between the server's path and that of the request, and there are receivers to which that is another path.
        let target = server.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let Ok(base) = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build() else {
            return wrong("write https://HOST[:PORT]/PATH");
        };
        config.cluster_url = base;
        if config.proxy_url.as_ref().is_some_and(|proxy| !matches!(proxy.scheme_str(), Some("http" | "https"))) {
            return wrong("its proxy is neither http:// nor https://");
        }
        if let Some(file) = config.auth_info.token_file.take() {
            let token = fs::read_to_string(&file).map_err(|source| ReceiverError::Token { path: file.into(), source })?;
            config.auth_info.token = Some(token.trim().to_owned().into());
        }
        // When to try again is decided in one place, and not there.
        config.default_retry = false;
        Ok((config, target, shown))
    }
}

/// What an answer means if it is no success.
fn failure<B>(response: &Response<B>, shown: &str) -> ReceiverError {
    let (url, status) = (shown.to_owned(), response.status());
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    if status.is_redirection() {
        let to = header(LOCATION).and_then(|to| to.parse::<Uri>().ok()?.host().map(str::to_owned));
        return ReceiverError::Moved { url, status, to };
    }
    ReceiverError::Status { url, status, rest: header(RETRY_AFTER).and_then(|value| value.parse().ok()).map(Duration::from_secs) }
}

/// What to do about a status.
fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "; renew the credentials in the kubeconfig or in the files that it names, they are read again",
        403 => "; allow the user of the kubeconfig to send events, or see whether a filter takes an event for an attack",
        404 | 405 => "; does the server in the kubeconfig have the right path?",
        413 => "; let it take larger requests, or send fewer events at once with --audit-webhook-batch-max-size",
        400 | 406 | 415 | 422 => "; does it take lists of audit events (audit.k8s.io/v1 EventList)? Its own log says why not",
        429 | 503 => "; it is overloaded, or starting",
        _ => "; its own log may say why",
    }
}

#[cfg(test)]
mod tests;
