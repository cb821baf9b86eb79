//! What the API server is to whoever has these credentials: is it there, what time is it, may they do this.

use std::time::Duration;

use hyper::Request as Plain;
use hyper::header::DATE;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use kube::api::{PostParams, Request};
use kube::client::Body;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::connect::Connection;
use super::request::RequestError;

/// An API server that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its version, such as `v1.36.3`.
    pub version: String,
    /// How far its clock is before this machine's, to a second or two; `None` if it does not tell the time.
    pub ahead: Option<SignedDuration>,
}

/// A right on a resource of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Such as `list`.
    pub verb: &'static str,
    /// The API group; empty for the core.
    pub group: &'static str,
    /// Such as `nodes`.
    pub resource: &'static str,
    /// Such as `metrics`, or empty.
    pub subresource: &'static str,
}

impl Connection {
    /// `GET /version`, which everybody may.
    pub async fn server(&self, within: Duration) -> Result<Server, RequestError> {
        const WHAT: &str = "/version";
        timeout(within, async {
            let client = self.client().await?;
            let failed = |error| RequestError::of(WHAT, "get", error);
            let request = Plain::get(WHAT).body(Body::empty()).map_err(|error| failed(kube::Error::HttpError(error)))?;
            let answer = client.send(request).await.map_err(failed)?;
            let date = answer.headers().get(DATE).and_then(|date| rfc2822::parse(date.to_str().ok()?).ok());
            let ahead = date.map(|date| date.timestamp().duration_since(Timestamp::now()));
            let version = client.apiserver_version().await.map_err(failed)?.git_version;
            Ok(Server { version, ahead })
        })
        .await
        .unwrap_or(Err(RequestError::Silent { what: WHAT, within }))
    }

    /// Whether they have a right, by a `SelfSubjectAccessReview`, which everybody who is authenticated may create.
    pub async fn may(&self, right: &Right, within: Duration) -> Result<bool, RequestError> {
        const WHAT: &str = "selfsubjectaccessreviews.authorization.k8s.io";
        let Right { verb, group, resource, subresource } = right;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "group": group, "resource": resource, "subresource": subresource}},
        });
        timeout(within, async {
            let client = self.client().await?;
            let request = Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
            let request = request.create(&PostParams::default(), review.to_string().into_bytes());
            let request = request.map_err(|error| RequestError::Garbled { what: WHAT, message: error.to_string() })?;
            let answer: Review = client.request(request).await.map_err(|error| RequestError::of(WHAT, "create", error))?;
            Ok(answer.status.allowed)
        })
        .await
        .unwrap_or(Err(RequestError::Silent { what: WHAT, within }))
    }
}

#[derive(Deserialize)]
struct Review {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    allowed: bool,
}
