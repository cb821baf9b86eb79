//! The chart on a whole cluster, installed with helm from an image that the node has: what the agent sees from inside its pod, what each
//! of its rights is for, what it takes, and what is left of it.
//!
//! Where the testbed differs from a node of one's own: see [`chart::values`].

mod attack;
mod comes_and_goes;
mod load;
mod manifests;
mod restrictions;
mod rights;
mod watch;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::output_of,
    build::OwnProgram,
    chart::{self, AgentPod, Helm, events},
    cluster::{Options, Token},
    scenarios::{Bed, play},
};
use serde_json::Value;

/// From a request to its event in the pod's log, on a busy machine.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// A pod's image is there; it has to be started, to read the kubelet's executable, and to list the RBAC objects.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The pod, and its `ServiceAccount`, that attack.
const INTRUDER: &str = "intruder";

#[test]
fn in_cluster() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("in-cluster");
    let client = OwnProgram::KubeletCall.recipe().build().unwrap();
    let options = Options { controllers: true, image_files: vec![client], ..Options::named("tb-chart") };
    play(
        &options,
        &folder,
        &[
            ("the API server takes every manifest", manifests::are_taken),
            ("the agent in its pod sees an attack from a pod", attack::is_seen),
            ("who watches reads from the agent in its pod", watch::reads_from_the_agent),
            ("the restrictions are in force", restrictions::are_in_force),
            ("each right is for something, and its absence says so", rights::are_needed),
            ("64 MiB are enough", load::is_borne),
            ("upgrade, rollback and uninstall leave nothing", comes_and_goes::leaving_nothing),
        ],
    );
    // The CNI library remembers containers outside of the cluster's folder.
    let remembered = fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = remembered.filter(|file| file.to_string_lossy().starts_with("kw-tb-chart-")).collect();
    assert!(left.is_empty(), "left of the cluster's network: {left:?}");
}

/// The agent's pod; installs the chart if that is not done.
fn installed(bed: &Bed) -> AgentPod {
    let cluster = &bed.cluster;
    AgentPod::of(cluster).unwrap_or_else(|_| {
        cluster.load_images(&chart::image()).expect("the node takes the image that `cargo xtask image` made");
        Helm::new(cluster).unwrap().upgrade(&chart::folder(), &chart::values(cluster)).unwrap();
        AgentPod::of(cluster).unwrap()
    })
}

/// The pod that attacks, with nothing but `get nodes/proxy`; starts it if that is not done.
fn intruder(bed: &Bed) {
    let cluster = &bed.cluster;
    if output_of(&mut cluster.kubectl(["get", "pod", INTRUDER])).is_err() {
        cluster.service_account(INTRUDER).unwrap();
        cluster.grant(INTRUDER, &["get"], &["nodes/proxy"]).unwrap();
        cluster.start_whole_pod(INTRUDER, INTRUDER).unwrap();
    }
}

/// Waits until the agent knows the RBAC objects: it begins at a random time, so as not to come with all others.
fn knows_rbac(bed: &Bed, agent: &AgentPod) {
    until("the agent knows the RBAC objects", READY_WITHIN, || {
        agent.logs(&bed.cluster).ok().filter(|logs| logs.contains("the RBAC objects are known")).map(drop)
    });
}

/// The agent's metrics for somebody who may read them.
fn metrics(bed: &Bed, agent: &AgentPod, reader: &Token) -> Option<String> {
    agent.get(&bed.cluster, "/metrics", Some(reader)).ok().filter(|(status, _)| *status == 200).map(|(_, page)| page)
}

/// The first event of a user agent that tells how an upgrade was answered, from the pod's log; one before it tells that it was authorized.
fn event(bed: &Bed, agent: &AgentPod, user_agent: &str) -> Value {
    until(&format!("the event of {user_agent}"), SEEN_WITHIN, || {
        let logs = agent.logs(&bed.cluster).ok()?;
        events(&logs).into_iter().find(|event| is_answered(event, user_agent))
    })
}

fn is_answered(event: &Value, user_agent: &str) -> bool {
    event["userAgent"] == user_agent && event["responseStatus"]["code"] == 101
}

/// Tries again and again until there is an answer.
fn until<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < within, "{what} did not happen within {within:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
