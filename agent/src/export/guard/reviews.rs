//! The two questions to the API server: whose token is this, and may they get `/metrics`.

use std::collections::BTreeMap;

use kube::{
    Client,
    api::{PostParams, Request},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;

use super::{bearer::Bearer, memory::Review};
use crate::rbac::cluster::{ConnectOptions, Connection, RequestError};

/// The verb and the path of which one asks whether an identity has them, whatever the method: HEAD shows less than GET does.
const ACCESS: NonResourceAttributes = NonResourceAttributes { path: "/metrics", verb: "get" };

/// Asks.
pub(super) struct Reviewer {
    options: ConnectOptions,
    /// Kept while it works: files and addresses are read again after a failure.
    client: Mutex<Option<Client>>,
}

impl Reviewer {
    pub(super) fn new(options: ConnectOptions) -> Self {
        Self { options, client: Mutex::new(None) }
    }

    /// `TokenReview` (`authentication.k8s.io/v1`), then `SubjectAccessReview` (`authorization.k8s.io/v1`).
    pub(super) async fn review(&self, token: &Bearer<'_>) -> Result<Review, RequestError> {
        let reviewed = self.ask(token).await;
        if matches!(reviewed, Err(RequestError::Unauthorized(_) | RequestError::Unreachable(_))) {
            *self.client.lock().await = None;
        }
        reviewed
    }

    async fn ask(&self, token: &Bearer<'_>) -> Result<Review, RequestError> {
        let client = self.client().await?;
        let asked: TokenReview = TOKEN_REVIEWS.create(&client, TokenSpec { token: token.reveal() }).await?;
        let Some(user) = asked.status.user() else { return Ok(Review::Unknown) };
        let asked: AccessReview = ACCESS_REVIEWS.create(&client, AccessSpec { user: &user, non_resource_attributes: ACCESS }).await?;
        Ok(if asked.status.allowed { Review::Allowed } else { Review::Forbidden(user.username) })
    }

    async fn client(&self) -> Result<Client, RequestError> {
        let mut kept = self.client.lock().await;
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let client = Connection::open(self.options.clone()).await?.client().await?;
        Ok(kept.insert(client).clone())
    }
}

/// A resource that is only ever created, and whose answer comes in its status.
struct Reviews {
    what: &'static str,
    path: &'static str,
    api_version: &'static str,
    kind: &'static str,
}

const TOKEN_REVIEWS: Reviews = Reviews {
    what: "tokenreviews.authentication.k8s.io",
    path: "/apis/authentication.k8s.io/v1/tokenreviews",
    api_version: "authentication.k8s.io/v1",
    kind: "TokenReview",
};

const ACCESS_REVIEWS: Reviews = Reviews {
    what: "subjectaccessreviews.authorization.k8s.io",
    path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    api_version: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
};

impl Reviews {
    async fn create<A: DeserializeOwned>(&self, client: &Client, spec: impl Serialize) -> Result<A, RequestError> {
        let Self { what, api_version, kind, .. } = *self;
        // What serde says of a text may quote it, and the text may hold the token.
        let garbled = |error: &serde_json::Error| RequestError::Garbled {
            what,
            message: format!("a {:?} error at column {}", error.classify(), error.column()),
        };
        let review = serde_json::to_vec(&Created { api_version, kind, spec }).map_err(|error| garbled(&error))?;
        let request = Request::new(self.path).create(&PostParams::default(), review);
        let request = request.map_err(|_| RequestError::Garbled { what, message: "no request can be made of it".to_owned() })?;
        let answer = client.request_text(request).await.map_err(|error| RequestError::of(what, "create", error))?;
        serde_json::from_str(&answer).map_err(|error| garbled(&error))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<S> {
    api_version: &'static str,
    kind: &'static str,
    spec: S,
}

#[derive(Serialize)]
struct TokenSpec<'a> {
    token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccessSpec<'a> {
    #[serde(flatten)]
    user: &'a UserInfo,
    non_resource_attributes: NonResourceAttributes,
}

#[derive(Serialize)]
struct NonResourceAttributes {
    path: &'static str,
    verb: &'static str,
}

/// `authentication.k8s.io/v1` `UserInfo`. Of `SubjectAccessReviewSpec` the name is `user`, the others are the same.
#[derive(Deserialize, Serialize)]
struct UserInfo {
    #[serde(default, rename(serialize = "user"))]
    username: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct TokenReview {
    #[serde(default)]
    status: TokenStatus,
}

#[derive(Default, Deserialize)]
struct TokenStatus {
    #[serde(default)]
    authenticated: bool,
    user: Option<UserInfo>,
}

impl TokenStatus {
    /// Whose token it is. Of a token that is nobody's the API server tells a user without a name.
    fn user(self) -> Option<UserInfo> {
        self.user.filter(|user| self.authenticated && !user.username.is_empty())
    }
}

#[derive(Deserialize)]
struct AccessReview {
    #[serde(default)]
    status: AccessStatus,
}

#[derive(Default, Deserialize)]
struct AccessStatus {
    #[serde(default)]
    allowed: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_goes_over_from_one_review_to_the_other() {
        let answer = json!({"status": {"authenticated": true, "audiences": ["x"], "user": {
            "username": "system:serviceaccount:a:b", "uid": "u", "groups": ["g", "h"], "extra": {"k.io/x": ["1", "2"]},
        }}});
        let review: TokenReview = serde_json::from_value(answer).unwrap();
        let user = review.status.user().unwrap();
        let asked = serde_json::to_value(AccessSpec { user: &user, non_resource_attributes: ACCESS }).unwrap();
        let expected = json!({
            "user": "system:serviceaccount:a:b", "uid": "u", "groups": ["g", "h"], "extra": {"k.io/x": ["1", "2"]},
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        });
        assert_eq!(asked, expected);
    }

    #[test]
    fn what_does_not_say_yes_says_no() {
        for answer in [
            json!({}),
            json!({"status": {}}),
            // As 1.36.3 answers.
            json!({"status": {"user": {}, "error": "[invalid bearer token, unknown]"}}),
            json!({"status": {"authenticated": false, "user": {"username": "x"}}}),
            json!({"status": {"authenticated": true, "user": {"username": ""}}}),
            json!({"status": {"authenticated": true}}),
        ] {
            let review: TokenReview = serde_json::from_value(answer).unwrap();
            assert!(review.status.user().is_none());
        }
        for answer in [json!({}), json!({"status": {"denied": true}})] {
            let review: AccessReview = serde_json::from_value(answer).unwrap();
            assert!(!review.status.allowed);
        }
    }
}
