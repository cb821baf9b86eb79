//! One `helm install`, and the node's agent sees what a pod does there.

use std::time::Instant;

use kubewitness_tests::{
    agent::output_of,
    call::{Answers, Call},
    chart::{self, AgentPod, events},
    cluster::{CONTAINER, Cluster, NODE, POD, Token},
    scenarios::{Bed, annotation},
};
use serde_json::Value;

use super::{INTRUDER, SEEN_WITHIN, event, installed, intruder, knows_rbac, metrics, until};

pub(super) fn is_seen(bed: &Bed) {
    let cluster = &bed.cluster;
    let agent = installed(bed);
    intruder(bed);
    knows_rbac(bed, &agent);
    let ready = agent.get(cluster, "/readyz", None).unwrap();
    assert!(ready.0 == 200 && ready.1.contains(&format!("kubelet v{}", cluster.release().version())), "{ready:?}");
    let reader = chart::reader(cluster).unwrap();
    metrics_are_for_those_who_may(bed, &agent, &reader);

    let begun = Instant::now();
    let answers = exec(cluster, "attack");
    assert!(answers.body.contains("uid=0(root)"), "the attack works: {answers:?}");
    let event = event(bed, &agent, "attack");
    eprintln!("    from the start of the attacker's kubectl to its event in the pod's log: {:?}", begun.elapsed());
    assert_eq!(event["stage"], "ResponseStarted", "the alert does not wait for the end");
    assert_eq!(event["user"]["username"], format!("system:serviceaccount:default:{INTRUDER}"));
    assert_eq!(event["objectRef"]["name"], POD);
    assert!(event["requestURI"].as_str().unwrap().contains("command=id"));
    assert_eq!(annotation(&event, "node"), NODE);
    assert_eq!(annotation(&event, "findings"), "unlogged-exec,verb-bypass");
    assert_eq!(annotation(&event, "granted-by"), format!("ClusterRoleBinding/{INTRUDER} ClusterRole/{INTRUDER}"));
    assert_eq!(annotation(&event, "caller"), format!("pod default/{INTRUDER} {}", uid(cluster, INTRUDER)));
    assert_eq!(annotation(&event, "completeness"), "");
    assert_eq!(event["sourceIPs"], serde_json::json!([address(cluster, INTRUDER)]));
    // How long it took inside the agent is its own metric; a scrape sees it at once.
    let series = r#"kubewitness_unlogged_exec_total{endpoint="exec",outcome="executed",verb="get"} 1"#;
    until("the metric", SEEN_WITHIN, || metrics(bed, &agent, &reader)?.lines().any(|line| line == series).then_some(()));
    the_api_server_is_no_finding(bed, &agent);
}

/// Over TLS and for a token that may get them, which the API server is asked for; health is for everybody, the kubelet's probes too.
fn metrics_are_for_those_who_may(bed: &Bed, agent: &AgentPod, reader: &Token) {
    let cluster = &bed.cluster;
    until("the reader is let in", SEEN_WITHIN, || metrics(bed, agent, reader));
    let nobody = cluster.token(INTRUDER, None).unwrap();
    let status = |token| agent.get(cluster, "/metrics", token).unwrap().0;
    assert_eq!((status(None), status(Some(&nobody))), (401, 403));
    assert_eq!(agent.get(cluster, "/healthz", None).unwrap().0, 200);
}

/// The announcement's attack, from inside the intruder's pod, with the token that is mounted there.
pub(super) fn exec(cluster: &Cluster, user_agent: &str) -> Answers {
    let path = format!("/exec/default/{POD}/{CONTAINER}?output=1&error=1&command=id");
    let call = Call::websocket(&path, "v4.channel.k8s.io").own_token().user_agent(user_agent).body();
    call.from_pod(cluster, INTRUDER).unwrap()
}

/// What `kubectl exec` does is in the API server's own audit log.
fn the_api_server_is_no_finding(bed: &Bed, agent: &AgentPod) {
    output_of(&mut bed.cluster.kubectl(["exec", POD, "--", "true"])).unwrap();
    let event = until("the event of kubectl exec", SEEN_WITHIN, || {
        let logs = agent.logs(&bed.cluster).ok()?;
        events(&logs).into_iter().find(|event| event["requestURI"].as_str().is_some_and(|uri| uri.contains("command=true")))
    });
    assert_eq!(event["user"]["username"], "kube-apiserver-kubelet-client");
    assert_eq!(annotation(&event, "findings"), "");
}

pub(super) fn uid(cluster: &Cluster, pod: &str) -> String {
    field(cluster, pod, |pod| &pod["metadata"]["uid"])
}

fn address(cluster: &Cluster, pod: &str) -> String {
    field(cluster, pod, |pod| &pod["status"]["podIP"])
}

fn field(cluster: &Cluster, pod: &str, of: impl Fn(&Value) -> &Value) -> String {
    let pod = output_of(&mut cluster.kubectl(["get", "pod", pod, "--output=json"])).unwrap();
    of(&serde_json::from_str(&pod).unwrap()).as_str().unwrap().to_owned()
}
