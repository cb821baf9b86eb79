//! The testbed's API server, asked by the administrator over connections that are kept.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kubewitness::rbac::cluster::{ConnectOptions, Connection};
use kubewitness_tests::cluster::Cluster;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

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

/// Runs work in the cluster's network namespace.
pub(crate) fn inside<T: Send, F: Future<Output = T>>(cluster: &Cluster, work: impl FnOnce() -> F + Send) -> T {
    let namespace = File::open(cluster.network_namespace()).expect("the cluster has a network namespace");
    let work = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
        runtime.block_on(work())
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// The way of kubewitness to the API server, as the administrator.
pub(crate) async fn connection(cluster: &Cluster) -> Connection {
    let options = ConnectOptions { kubeconfig: Some(cluster.kubeconfig()), context: None };
    Connection::open(options).await.expect("the testbed writes a kubeconfig")
}

impl ApiServer {
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        // It puts the provider for TLS in place.
        connection(cluster).await;
        let content = Kubeconfig::read_from(cluster.kubeconfig()).expect("the testbed writes a kubeconfig");
        let config = Config::from_custom_kubeconfig(content, &KubeConfigOptions::default()).await.expect("it is whole");
        Self { client: Client::try_from(config).expect("it can be used") }
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
