//! Changes of RBAC objects, asked of the testbed's API server, and what it answers.

use std::time::{Duration, Instant};

use http::{Request, header::WARNING};
use kube::Client;
use kubewitness_tests::cluster::Cluster;
use serde_json::Value;

use crate::client::client;

/// How long an API server may take until a policy, a binding or a list that was changed counts.
const PATIENCE: Duration = Duration::from_secs(20);

/// The API server.
pub(crate) struct Server {
    client: Client,
}

/// What it answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// The object, or the status that tells what is wrong.
    pub(crate) body: Value,
    /// The texts of its warnings, as they are sent.
    pub(crate) warnings: Vec<String>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// The administrator.
    Administrator,
    /// Somebody else with all rights: the administrator takes this name, and the group `system:masters`.
    User(&'static str),
    /// Somebody else with rights of their own.
    Plain(&'static str),
}

/// The name under which an API server makes its own roles.
pub(crate) const API_SERVER: As = As::User("system:apiserver");

impl Answer {
    pub(crate) fn passes(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether one of the policies refused it, and nothing else did.
    pub(crate) fn is_refused(&self) -> bool {
        self.code == 403 && self.message().contains("ValidatingAdmissionPolicy 'kubewitness-nodes-proxy-")
    }

    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// # Panics
    ///
    /// If it was neither let through nor refused by a policy: then the request itself is wrong.
    pub(crate) fn verdict(&self) -> bool {
        assert!(self.passes() || self.is_refused(), "{self:?}");
        self.is_refused()
    }
}

impl Server {
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        Self { client: client(cluster).await }
    }

    /// What it would answer if this object was created.
    pub(crate) async fn would_create(&self, object: &Value) -> Answer {
        self.send("POST", &format!("{}?dryRun=All", collection(object)), object, As::Administrator).await
    }

    /// What it would answer if this object replaced the one of its name.
    pub(crate) async fn would_replace(&self, object: &Value, by: As) -> Answer {
        self.send("PUT", &format!("{}?dryRun=All", path(object)), object, by).await
    }

    /// What it would answer if an object was changed by a merge patch, or an apply patch where `patch` is a whole object.
    pub(crate) async fn would_patch(&self, object: &Value, patch: &Value) -> Answer {
        let manager = if patch["kind"].is_string() { "&fieldManager=test&force=true" } else { "" };
        self.send("PATCH", &format!("{}?dryRun=All{manager}", path(object)), patch, As::Administrator).await
    }

    /// Makes an object of this content, whatever policies say of it: as the API server itself.
    ///
    /// # Panics
    ///
    /// If it is not taken.
    pub(crate) async fn put(&self, object: &Value) {
        let mut answer = self.send("PUT", &path(object), object, API_SERVER).await;
        if answer.code == 404 {
            answer = self.send("POST", &collection(object), object, API_SERVER).await;
        }
        assert!(answer.passes(), "{object}: {answer:?}");
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &Value::Null, As::Administrator).await
    }

    /// Waits until what would be answered to the creation of an object is as it should be.
    ///
    /// # Panics
    ///
    /// If it never is.
    pub(crate) async fn until(&self, what: &str, object: &Value, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.would_create(object).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends one request.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value, by: As) -> Answer {
        let kind = match method {
            "PATCH" if body["kind"].is_string() => "application/apply-patch+yaml",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut request = Request::builder().method(method).uri(path).header("Content-Type", kind);
        let (name, group) = match by {
            As::Administrator => (None, ""),
            As::User(name) => (Some(name), "system:masters"),
            As::Plain(name) => (Some(name), "system:authenticated"),
        };
        if let Some(name) = name {
            request = request.header("Impersonate-User", name).header("Impersonate-Group", group);
        }
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.client.send(request.body(body.into()).expect("a request")).await.expect("the API server answers");
        let code = answer.status().as_u16();
        let warnings =
            answer.headers().get_all(WARNING).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        let bytes = answer.into_body().collect_bytes().await.expect("the answer is whole");
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{method} {path}: {}", String::from_utf8_lossy(&bytes)));
        Answer { code, body, warnings }
    }
}

fn collection(object: &Value) -> String {
    let kind = object["kind"].as_str().expect("a kind").to_lowercase();
    let namespace = object["metadata"]["namespace"].as_str().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("/apis/rbac.authorization.k8s.io/v1{namespace}/{kind}s")
}

fn path(object: &Value) -> String {
    format!("{}/{}", collection(object), object["metadata"]["name"].as_str().expect("a name").replace(':', "%3A"))
}
