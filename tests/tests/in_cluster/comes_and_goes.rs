//! The release changes, goes back and goes: no program stays in the kernel, nothing in the cluster, and the kubelet does not notice.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use kubewitness_tests::{
    agent::output_of,
    call::Call,
    chart::{self, AgentPod, Helm, NAME},
    cluster::Cluster,
    held::Held,
    scenarios::Bed,
};
use serde_json::json;

use super::{READY_WITHIN, attack::exec, event, installed, intruder, until};

/// Kinds of which a release may have objects, and the Secrets in which helm remembers it.
const KINDS: &str = "daemonset,pod,serviceaccount,configmap,secret,service,networkpolicy,clusterrole,clusterrolebinding,controllerrevision";

pub(super) fn leaving_nothing(bed: &Bed) {
    let cluster = &bed.cluster;
    let first = installed(bed);
    intruder(bed);
    let pins = pins();
    let kubelet = cluster.kubelet_pid();
    let helm = Helm::new(cluster).unwrap();
    let token = bed.identity("bystander", &["get"], &["nodes/proxy"]);
    let load = Call::get("/healthz").token(&token).times(0).workers(2).pause(Duration::from_millis(4)).start(cluster).unwrap();
    let revision = revision(&helm);

    let in_kernel = held(&first);
    let mut changed = chart::values(cluster);
    changed["events"]["commands"] = json!("redacted");
    helm.upgrade(&chart::folder(), &changed).unwrap();
    let second = replaced(cluster, &first, &in_kernel);
    assert_eq!(commands(bed, &second, "upgraded"), "command=1");

    let in_kernel = held(&second);
    helm.rollback(revision).unwrap();
    let third = replaced(cluster, &second, &in_kernel);
    assert_eq!(commands(bed, &third, "rolled-back"), "command=id");

    let in_kernel = held(&third);
    helm.uninstall().unwrap();
    gone(cluster, &third, &in_kernel);
    // helm waits for the DaemonSet; its pod's object goes when the kubelet has said that the pod is over.
    let left = || objects(cluster);
    until(&format!("the end of {:?}", left()), READY_WITHIN, || left().is_empty().then_some(()));
    assert_eq!(self::pins(), pins);

    let answers = load.stop().unwrap();
    assert_eq!(answers.only(), Some(200), "the kubelet served all the time: {}", answers.problem);
    assert!(answers.answered() > 500, "the load was no load: {answers:?}");
    assert_eq!(cluster.kubelet_pid(), kubelet, "the kubelet is the same process");
}

/// What a working agent holds: it would be no test to look for nothing.
fn held(agent: &AgentPod) -> Held {
    let held = Held::by(agent.pid);
    assert!(held.programs.len() >= 5 && held.maps.len() >= 8 && held.links.len() >= 5, "{held:?}");
    assert_eq!(left(&held), held, "while it runs");
    held
}

/// The pod that came in the place of another, of which nothing is left.
fn replaced(cluster: &Cluster, before: &AgentPod, held: &Held) -> AgentPod {
    let after = until("the new pod", READY_WITHIN, || AgentPod::of(cluster).ok().filter(|pod| pod.uid != before.uid));
    gone(cluster, before, held);
    after
}

fn gone(cluster: &Cluster, agent: &AgentPod, held: &Held) {
    until("the end of the pod's processes", READY_WITHIN, || cluster.processes_of_pod(&agent.uid).is_empty().then_some(()));
    // The kernel takes programs and maps away a moment after their last user.
    until("the end of programs, maps and links", READY_WITHIN, || (left(held) == Held::default()).then_some(()));
}

/// Of these, what the kernel still knows, pinned or held by whomever. Others come and go on this machine while their ids are listed.
fn left(held: &Held) -> Held {
    let programs = aya::programs::loaded_programs().filter_map(|program| Some(program.ok()?.id())).collect();
    let maps = aya::maps::loaded_maps().filter_map(|map| Some(map.ok()?.id())).collect();
    let links = aya::programs::loaded_links().filter_map(|link| Some(link.ok()?.id())).collect();
    held.and(&Held { programs, maps, links })
}

/// What an event says of the command of an attack.
fn commands(bed: &Bed, agent: &AgentPod, user_agent: &str) -> String {
    exec(&bed.cluster, user_agent);
    let event = event(bed, agent, user_agent);
    let uri = event["requestURI"].as_str().unwrap();
    uri.split(['?', '&']).find(|part| part.starts_with("command")).unwrap().to_owned()
}

fn revision(helm: &Helm<'_>) -> u32 {
    let history = output_of(&mut helm.command(["history", NAME, "--namespace", NAME, "--output", "json"])).unwrap();
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let last = history.as_array().unwrap().last().unwrap();
    last["revision"].as_u64().and_then(|number| number.try_into().ok()).unwrap()
}

/// Everything in the cluster that says it is of the release, and everything in its namespace that a namespace does not have by itself.
fn objects(cluster: &Cluster) -> Vec<String> {
    let label = format!("app.kubernetes.io/instance={NAME}");
    let labelled = output_of(&mut cluster.kubectl(["get", KINDS, "--all-namespaces", "--selector", &label, "--output=name"])).unwrap();
    let inside = output_of(&mut cluster.kubectl(["--namespace", NAME, "get", KINDS, "--output=name"])).unwrap();
    // Lists of kinds without a namespace hold them whatever namespace is asked for.
    let own = |name: &&str| !matches!(*name, "serviceaccount/default" | "configmap/kube-root-ca.crt") && !name.starts_with("clusterrole");
    labelled.lines().chain(inside.lines().filter(own)).map(str::to_owned).collect()
}

/// Everything that is pinned to a BPF file system.
fn pins() -> BTreeSet<PathBuf> {
    fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
