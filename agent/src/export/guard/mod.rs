//! Who may read the metrics over the network. Their labels name identities, so whoever asks shows a bearer token, and the API server says
//! whose it is and whether they may: what controller-runtime does in `pkg/metrics/filters`, and kube-rbac-proxy beside a process.

mod bearer;
mod memory;
mod reviews;
mod tls;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, info, warn};

pub use self::tls::{Certificate, CertificateError, Handshake, Tls};

use self::bearer::{Bearer, Fingerprint, Fingerprints};
use self::memory::{Memory, Review};
use self::reviews::Reviewer;
use super::bucket::Bucket;
use crate::inert::Inert;
use crate::rbac::cluster::{ConnectOptions, RequestError};

/// An answer that does not allow is good for no longer: whoever has just been given the right need not wait.
const REFUSE_FOR: Duration = Duration::from_secs(10);
/// A review is over within this, both questions together. Prometheus waits ten seconds for a scrape.
const REVIEW_WITHIN: Duration = Duration::from_secs(5);
/// Reviews at a time, of familiar tokens and of strange ones each.
const AT_ONCE: usize = 4;
/// Reviews of each kind that may come one after the other, and how often there may be one more.
const REVIEWS: Bucket = Bucket::new(20, Duration::from_millis(500));

/// Lets in who may get `/metrics`.
pub struct Guard {
    reviewer: Reviewer,
    fingerprints: Fingerprints,
    memory: Mutex<Memory>,
    familiar: Lane,
    strange: Lane,
    /// The class of the failure that the log tells of.
    told: Mutex<Option<u16>>,
}

/// What reviews of one kind of tokens may take, so that made-up tokens neither burden the API server nor keep those that scrape waiting.
struct Lane {
    places: Semaphore,
    bucket: Mutex<Bucket>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no token, or it is nobody's.
    Unauthenticated,
    /// This identity may not.
    Forbidden(String),
    /// Too many unknown tokens were asked about.
    TooMany,
    /// The API server could not be asked; why.
    Away(&'static str),
    /// The agent may not ask it.
    NotEntitled,
}

/// The system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes for the key of the token cache; is /dev/urandom there?")]
pub struct NoRandomness;

impl Guard {
    /// Asks the API server of these options. An answer that allows is good for `allow_for`.
    pub fn new(options: ConnectOptions, allow_for: Duration) -> Result<Self, NoRandomness> {
        Ok(Self {
            reviewer: Reviewer::new(options),
            fingerprints: Fingerprints::new().ok_or(NoRandomness)?,
            memory: Mutex::new(Memory::new(allow_for, REFUSE_FOR.min(allow_for))),
            familiar: Lane::new(),
            strange: Lane::new(),
            told: Mutex::new(None),
        })
    }

    /// Whether whoever sent these headers may get `/metrics`.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = Bearer::of(headers).ok_or(Refusal::Unauthenticated)?;
        let fingerprint = self.fingerprints.of(&token);
        let review = match self.recall(&fingerprint) {
            Some(review) => review,
            None => timeout(REVIEW_WITHIN, self.ask(&token, fingerprint))
                .await
                .unwrap_or_else(|_| Err(self.tell(&RequestError::Silent { what: "a review of a token", within: REVIEW_WITHIN })))?,
        };
        match review {
            Review::Allowed => Ok(()),
            Review::Forbidden(name) => {
                debug!("{} may not get /metrics", Inert(&name));
                Err(Refusal::Forbidden(name))
            }
            Review::Unknown => Err(Refusal::Unauthenticated),
        }
    }

    async fn ask(&self, token: &Bearer<'_>, fingerprint: Fingerprint) -> Result<Review, Refusal> {
        let familiar = lock(&self.memory).is_familiar(&fingerprint, Instant::now());
        let lane = if familiar { &self.familiar } else { &self.strange };
        let _place = lane.places.acquire().await.map_err(|_| Refusal::TooMany)?;
        // Whoever had the place may have asked about the same token.
        if let Some(review) = self.recall(&fingerprint) {
            return Ok(review);
        }
        if !lock(&lane.bucket).take(Instant::now()) {
            return Err(Refusal::TooMany);
        }
        match self.reviewer.review(token).await {
            Ok(review) => {
                lock(&self.memory).learn(fingerprint, review.clone(), Instant::now());
                if lock(&self.told).take().is_some() {
                    info!("the API server tells again who may read the metrics");
                }
                Ok(review)
            }
            Err(error) => Err(self.tell(&error)),
        }
    }

    fn recall(&self, fingerprint: &Fingerprint) -> Option<Review> {
        lock(&self.memory).recall(fingerprint, Instant::now())
    }

    /// Logs a failure, once until another comes or it is over, and makes of it what a stranger may know.
    fn tell(&self, error: &RequestError) -> Refusal {
        if lock(&self.told).replace(error.class()) != Some(error.class()) {
            warn!("nobody can be let in to the metrics who is not known yet: {error}");
        }
        match error {
            RequestError::Forbidden { .. } => Refusal::NotEntitled,
            RequestError::Connect(_) => Refusal::Away("no way to it is configured"),
            RequestError::Unauthorized(_) => Refusal::Away("it does not accept the agent's credentials"),
            RequestError::Unreachable(_) => Refusal::Away("it cannot be reached"),
            RequestError::Silent { .. } => Refusal::Away("it does not answer in time"),
            RequestError::Expired | RequestError::Refused { .. } | RequestError::Garbled { .. } => {
                Refusal::Away("it answered with something else than a review")
            }
        }
    }
}

impl Lane {
    fn new() -> Self {
        Self { places: Semaphore::new(AT_ONCE), bucket: Mutex::new(REVIEWS) }
    }
}

/// Nothing that holds one of these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotEntitled => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated => f.write_str("/metrics needs a bearer token that the cluster accepts."),
            Self::Forbidden(name) => {
                write!(f, "{} may not get /metrics: bind a ClusterRole with nonResourceURLs [/metrics] and verbs [get].", Inert(name))
            }
            Self::TooMany => f.write_str("Too many unknown tokens were asked about; come again in a second."),
            Self::Away(why) => write!(f, "The API server cannot be asked who may get /metrics: {why}. The agent's log says more."),
            Self::NotEntitled => f.write_str(
                "The agent may not ask the API server who may get /metrics: it needs create on tokenreviews.authentication.k8s.io and on \
                 subjectaccessreviews.authorization.k8s.io.",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        let more = match self {
            Self::Unauthenticated => Some((header::WWW_AUTHENTICATE, "Bearer realm=\"kubewitness\"")),
            Self::TooMany => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests;
