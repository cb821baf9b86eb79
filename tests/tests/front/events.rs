//! `--kubernetes-events on`: findings where `kubectl` shows them.

use std::time::Duration;

use kubewitness_tests::{
    agent::Agent,
    call::Call,
    cluster::{CONTAINER, NODE, POD, Token},
    scenarios::{Bed, figure},
};
use serde_json::Value;

use super::{entitle, kubeconfig, until};

/// From a request to its Event; a count is written every five seconds.
const WRITTEN_WITHIN: Duration = Duration::from_secs(15);
const WRITTEN: &str = r#"kubewitness_events_written_total{sink="kubernetes"}"#;

pub(crate) fn off(bed: &Bed) {
    let intruder = intruder(bed);
    let mut agent = bed.agent(&["--metrics-listen", "0.0.0.0:9464"]);
    assert!(agent.log().contains("whoever reaches 0.0.0.0:9464 can read them: use --metrics-auth kubernetes"), "{}", agent.log());
    read_logs(bed, &intruder, 1);
    agent.event("it is seen", Duration::from_secs(5), |event| event["objectRef"]["subresource"] == "log").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(events(bed), [Value::Null; 0]);
    let page = agent.fetch("/metrics").unwrap();
    assert!(!page.contains("kubewitness_kubernetes_event"), "{page}");
}

pub(crate) fn on_pod_and_node(bed: &Bed) {
    let intruder = intruder(bed);
    let agent = agent(bed);
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=echo&command=hunter2&output=1");
    let exec = Call::websocket(&path, "v4.channel.k8s.io").token(&intruder).from_node(&bed.cluster).unwrap();
    assert_eq!(exec.only(), Some(101));
    let event = found(bed, "UnloggedExec", |_| true);
    let uid = bed.cluster.kubectl(["get", "pod", POD, "--output=jsonpath={.metadata.uid}"]).output().unwrap();
    let object = &event["involvedObject"];
    assert_eq!((&object["kind"], &object["namespace"], &object["name"]), (&"Pod".into(), &"default".into(), &POD.into()));
    assert_eq!(object["uid"], String::from_utf8(uid.stdout).unwrap());
    assert_eq!(
        (&event["type"], &event["source"]["component"], &event["source"]["host"]),
        (&"Warning".into(), &"kubewitness".into(), &NODE.into())
    );
    let message = event["message"].as_str().unwrap();
    for part in ["system:serviceaccount:default:intruder", "default/web", "192.168.", "ClusterRoleBinding/intruder ClusterRole/intruder"] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    assert!(!message.contains("hunter2"), "{message}");
    // A token's thief names a namespace that is not there; the finding is there before the kubelet says that the pod is not.
    let bound = bed.cluster.token("intruder", Some("bound")).unwrap();
    let stolen = Call::websocket("/exec/nowhere/web/main?command=id&output=1", "v4.channel.k8s.io").token(&bound);
    assert_eq!(stolen.from_node(&bed.cluster).unwrap().only(), Some(404));
    let event = found(bed, "StolenToken", |_| true);
    assert_eq!((&event["involvedObject"]["kind"], &event["involvedObject"]["name"]), (&"Node".into(), &NODE.into()));
    assert!(event["message"].as_str().unwrap().contains("pod nowhere/web"), "{event}");
    assert_eq!(figure(&agent, r#"kubewitness_kubernetes_event_requests_total{result="moved-to-node"}"#), 1);

    read_logs(bed, &intruder, 200);
    let event = found(bed, "UnloggedLogRead", |event| event["count"] == 200);
    assert_eq!(event["involvedObject"]["kind"], "Pod");
    assert_eq!(debug(bed, &intruder), Some(200));
    let event = found(bed, "DebugAccess", |_| true);
    assert_eq!((&event["involvedObject"]["kind"], &event["involvedObject"]["uid"]), (&"Node".into(), &NODE.into()));
    assert_eq!((event["metadata"]["namespace"].as_str(), event["count"].as_u64()), (Some("default"), Some(1)));

    let all = events(bed);
    assert!(all.len() <= 5, "few Events for 200 attacks: {all:?}");
    let counted: u64 = all.iter().map(|event| event["count"].as_u64().unwrap()).sum();
    until("all is counted", WRITTEN_WITHIN, || (figure(&agent, WRITTEN) == counted).then_some(()));
    let describe = bed.cluster.kubectl(["describe", "pod", POD]).output().unwrap();
    let text = String::from_utf8(describe.stdout).unwrap();
    for part in ["UnloggedExec", "UnloggedLogRead", "x200 over", "kubewitness"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let describe = bed.cluster.kubectl(["describe", "node", NODE]).output().unwrap();
    assert!(String::from_utf8(describe.stdout).unwrap().contains("DebugAccess"));
}

/// An agent that writes Events, with no more rights than it needs.
fn agent(bed: &Bed) -> Agent {
    entitle(bed);
    let kubeconfig = kubeconfig(bed).display().to_string();
    bed.agent(&["--kubernetes-events", "on", "--kubeconfig", &kubeconfig])
}

/// Somebody with `nodes/proxy`, and a pod that runs as them.
pub(crate) fn intruder(bed: &Bed) -> Token {
    let token = bed.identity("intruder", &["get"], &["nodes/proxy"]);
    bed.cluster.start_pod("bound", "intruder").unwrap();
    token
}

fn read_logs(bed: &Bed, token: &Token, times: u32) {
    let path = format!("/containerLogs/default/{POD}/{CONTAINER}?tailLines=1");
    let answers = Call::get(&path).token(token).times(times).from_node(&bed.cluster).unwrap();
    assert_eq!(answers.only(), Some(200), "{answers:?}");
}

/// Asks for something that only `nodes/proxy` gives, and that is about the node.
pub(crate) fn debug(bed: &Bed, token: &Token) -> Option<u16> {
    Call::get("/debug/pprof/cmdline").token(token).from_node(&bed.cluster).unwrap().only()
}

/// Waits for an Event of this reason.
fn found(bed: &Bed, reason: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(reason, WRITTEN_WITHIN, || events(bed).into_iter().find(|event| event["reason"] == reason && wanted(event)))
}

/// The Events that the agent wrote.
fn events(bed: &Bed) -> Vec<Value> {
    let output = bed.cluster.kubectl(["get", "events", "--all-namespaces", "--output=json"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let ours = |event: &&Value| event["source"]["component"] == "kubewitness";
    list["items"].as_array().into_iter().flatten().filter(ours).cloned().collect()
}
