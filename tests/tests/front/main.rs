//! What the agent shows to the cluster's own people: the metrics, to those who may read them, and findings as Kubernetes Events.

mod access;
mod client;
mod events;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::Agent,
    cluster::{Options, Token},
    scenarios::{Bed, play},
};
use serde_json::{Value, json};

use client::Client;

/// The agent's own `ServiceAccount`.
const AGENT: &str = "kubewitness";

#[test]
fn front() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("front");
    play(
        &Options::named("fr-front"),
        &folder,
        &[
            ("no Events unless they are asked for", events::off),
            ("the metrics are for those who may read them", access::those_who_may),
            ("findings are Events on the pod and on the node", events::on_pod_and_node),
            ("Prometheus scrapes with a token, and a replaced certificate is taken", access::prometheus),
            ("answers and Events of an API server that goes away and comes back", access::answers_last),
        ],
    );
}

/// What a scrape costs: `cargo test -p kubewitness-tests --features e2e --test front -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_a_scrape_costs() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("front-cost");
    play(&Options::named("fr-cost"), &folder, &[("what a scrape costs", access::cost)]);
}

/// Starts an agent whose pages are served over TLS, and waits until it watches the kubelet.
fn start(bed: &Bed, client: &Client, arguments: &[&str]) -> Agent {
    let kubeconfig = kubeconfig(bed);
    let mut options = bed.agent_options(arguments);
    options.arguments.extend(["--kubeconfig".to_owned(), kubeconfig.display().to_string()]);
    let mut agent = Agent::start_blind(&bed.cluster, &options).unwrap();
    let watches = |_: &mut Agent| Ok(client.get("/readyz", None).ok().filter(|(status, _)| *status == 200));
    let (_, body) = agent.until("it watches the kubelet", Duration::from_secs(30), watches).unwrap();
    assert!(body.starts_with("attached"), "{body}");
    agent
}

/// A kubeconfig for the agent's own `ServiceAccount`, with which it may do what [`entitle`] gave it.
fn kubeconfig(bed: &Bed) -> PathBuf {
    let path = bed.folder.join("agent.kubeconfig");
    if !path.exists() {
        let token = bed.identity(AGENT, &[], &[]);
        let server = format!("https://{}:6443", bed.cluster.address());
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": bed.cluster.ca()}}],
            "users": [{"name": "u", "user": {"token": token.expose()}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        fs::write(&path, config.to_string()).unwrap();
    }
    path
}

/// Lets the agent do what it needs for both.
fn entitle(bed: &Bed) {
    let create = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["create"]});
    let rules = json!([
        create("authentication.k8s.io", "tokenreviews"),
        create("authorization.k8s.io", "subjectaccessreviews"),
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    bed.cluster.apply(&role_and_binding(AGENT, &rules).to_string()).unwrap();
}

/// A `ServiceAccount` that may get `/metrics`, and its token.
fn reader(bed: &Bed, name: &str) -> Token {
    let token = bed.identity(name, &[], &[]);
    let rules = json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]);
    bed.cluster.apply(&role_and_binding(name, &rules).to_string()).unwrap();
    token
}

fn role_and_binding(name: &str, rules: &Value) -> Value {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
        },
    ]})
}

/// Tries until something is so.
fn until<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
