//! The testbed's API server, asked by the administrator over connections that are kept.

use std::time::Duration;

use http::Request;
use kube::Client;
use kubewitness_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::client::client;

/// The API server.
pub(crate) struct ApiServer {
    client: Client,
}

/// What a `SubjectAccessReview` said.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

impl ApiServer {
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        Self { client: client(cluster).await }
    }

    /// Puts an object of `rbac.authorization.k8s.io/v1` in the place of what has its name.
    pub(crate) async fn put(&self, object: &Value) {
        self.delete(object).await;
        self.request("POST", &collection(object), object).await.unwrap_or_else(|error| panic!("{object} is refused: {error}"));
    }

    /// Changes an object that is there.
    pub(crate) async fn change(&self, object: &Value) {
        let path = format!("{}/{}", collection(object), name(object));
        self.request("PUT", &path, object).await.unwrap_or_else(|error| panic!("{object} is refused: {error}"));
    }

    /// Deletes an object by its kind and name, if it is there.
    pub(crate) async fn delete(&self, object: &Value) {
        let path = format!("{}/{}", collection(object), name(object));
        match self.request("DELETE", &path, &json!({})).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{path} cannot be deleted: {error}"),
        }
    }

    /// Whether this user may do this on a node.
    pub(crate) async fn review(&self, user: &str, groups: &[&str], verb: &str, subresource: &str, node: &str) -> Review {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "groups": groups,
                "resourceAttributes": {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": node},
            },
        });
        let answer = self.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        let status = &answer.unwrap_or_else(|error| panic!("{review} is refused: {error}"))["status"];
        let allowed = status["allowed"].as_bool().expect("it says whether");
        Review { allowed, reason: status["reason"].as_str().unwrap_or_default().to_owned() }
    }

    /// Waits until what was put before is what reviews are answered from: an object that is put last is.
    pub(crate) async fn settle(&self, sentinel: &str) {
        let role = json!({
            "kind": "ClusterRole",
            "metadata": {"name": sentinel},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/proxy"]}],
        });
        let binding = json!({
            "kind": "ClusterRoleBinding",
            "metadata": {"name": sentinel},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": sentinel},
            "subjects": [{"kind": "User", "name": sentinel}],
        });
        self.put(&role).await;
        self.put(&binding).await;
        for _ in 0..500 {
            if self.review(sentinel, &[], "get", "proxy", "any").await.allowed {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("after 10 s the API server does not answer from the objects that were put");
    }

    async fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let request = Request::builder().method(method).uri(path).header("Content-Type", "application/json");
        self.client.request(request.body(body.to_string().into_bytes()).expect("a request")).await
    }
}

fn collection(object: &Value) -> String {
    let kind = object["kind"].as_str().expect("a kind").to_lowercase();
    format!("/apis/rbac.authorization.k8s.io/v1/{kind}s")
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}
