//! What the agent makes of the cluster's RBAC objects, as they come, change and go away; and that nothing waits for them.

use std::{fs, path::Path, time::Duration};

use kubewitness_tests::{
    agent::{Agent, Rbac},
    call::Call,
    cluster::{CONTAINER, Options, POD, Token},
    scenarios::{Bed, annotation, completed, figure, play},
};
use serde_json::{Value, json};

/// From a request's end to its event.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// From a change of the objects to the agent that knows of it.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// From an API server that is back to an agent that knows the objects again: it asks less and less often.
const SYNCED_WITHIN: Duration = Duration::from_secs(90);
const VERB_BYPASS: &str = r#"kubewitness_findings_total{finding="verb-bypass",severity="critical"}"#;
const NOT_KNOWN: &str = "unknown: the RBAC objects are not known";

#[test]
fn rights() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rights");
    // Long enough to be seen, short enough to be waited for.
    let kubelet_config = json!({"authorization": {"webhook": {"cacheUnauthorizedTTL": "10s"}}});
    play(
        &Options { kubelet_config, ..Options::named("t-rights") },
        &folder,
        &[
            ("get that execs is the bypass where create is missing", the_bypass),
            ("a fallback tells when it is not needed any more", the_fallback),
            ("what the kubelet remembers is stale", stale),
            ("without rights for RBAC", without_rights),
            ("without a cluster, until there is one", without_a_cluster),
            ("without following RBAC", off),
            ("the API server goes away", the_api_server_goes_away),
        ],
    );
}

fn the_bypass(bed: &Bed) {
    let reader = bed.identity("reader", &["get"], &["nodes/proxy"]);
    let writer = bed.identity("writer", &["create", "get"], &["nodes/proxy"]);
    let mut agent = with_rbac(bed, Rbac::Administrator);
    for (name, token, findings, bypasses) in [("reader", &reader, "unlogged-exec,verb-bypass", 1), ("writer", &writer, "unlogged-exec", 1)]
    {
        let event = exec(bed, &mut agent, token, name);
        assert_eq!(annotation(&event, "findings"), findings);
        assert_eq!(annotation(&event, "checks"), "get nodes/proxy=allow");
        assert_eq!(annotation(&event, "granted-by"), format!("ClusterRoleBinding/{name} ClusterRole/{name}"));
        assert_eq!(annotation(&event, "without-nodes-proxy"), "denied");
        assert_eq!((annotation(&event, "endpoint"), annotation(&event, "node")), ("exec", "node1"));
        assert_eq!(figure(&agent, VERB_BYPASS), bypasses);
    }
    assert!(agent.metrics().unwrap().keys().any(|series| series.starts_with(r#"kubewitness_build_info{node="node1","#)));
}

fn the_fallback(bed: &Bed) {
    let token = bed.identity("legacy", &["get"], &["nodes/proxy"]);
    let mut agent = with_rbac(bed, Rbac::Administrator);
    let before = pods(bed, &mut agent, &token, "legacy-before");
    assert_eq!((annotation(&before, "access"), annotation(&before, "without-nodes-proxy")), ("fallback", "denied"));
    // The kubelet still remembers that this was refused.
    bed.cluster.grant("legacy", &["get"], &["nodes/proxy", "nodes/pods"]).unwrap();
    let granted =
        until(bed, &mut agent, &token, "legacy-granted", KNOWN_WITHIN, |event| annotation(event, "without-nodes-proxy") != "denied");
    assert_eq!(annotation(&granted, "access"), "fallback");
    assert_eq!(annotation(&granted, "without-nodes-proxy"), "allowed ClusterRoleBinding/legacy ClusterRole/legacy");
    assert_eq!(annotation(&granted, "granted-by"), "ClusterRoleBinding/legacy ClusterRole/legacy");
    // Not any more.
    let after =
        until(bed, &mut agent, &token, "legacy-after", Duration::from_secs(20), |event| annotation(event, "access") == "fine-grained");
    assert_eq!(annotation(&after, "without-nodes-proxy"), "");
    assert_eq!(annotation(&after, "granted-by"), "ClusterRoleBinding/legacy ClusterRole/legacy");
}

fn stale(bed: &Bed) {
    let token = bed.identity("former", &["get"], &["nodes/proxy"]);
    let mut agent = with_rbac(bed, Rbac::Administrator);
    let confirmed = "ClusterRoleBinding/former ClusterRole/former";
    assert_eq!(annotation(&pods(bed, &mut agent, &token, "former-1"), "granted-by"), confirmed);
    assert!(bed.cluster.kubectl(["delete", "clusterrolebinding", "former"]).output().unwrap().status.success());
    let event = until(bed, &mut agent, &token, "former-2", KNOWN_WITHIN, |event| annotation(event, "granted-by") != confirmed);
    assert_eq!(annotation(&event, "granted-by"), "ClusterRoleBinding/former ClusterRole/former (stale)");
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(annotation(&event, "findings"), "nodes-proxy-fallback");
    // What it may is not known: the binding could have given create as well.
    assert_eq!(annotation(&exec(bed, &mut agent, &token, "former-3"), "findings"), "unlogged-exec");
    bed.cluster.grant("former", &["get"], &["nodes/proxy"]).unwrap();
    until(bed, &mut agent, &token, "former-4", KNOWN_WITHIN, |event| annotation(event, "granted-by") == confirmed);
}

fn without_rights(bed: &Bed) {
    let token = bed.identity("unseen", &["get"], &["nodes/proxy"]);
    let account = bed.identity("agent", &[], &[]);
    let kubeconfig = bed.folder.join("agent.kubeconfig");
    bed.cluster.write_kubeconfig(&kubeconfig, &account).unwrap();
    let mut agent = with_rbac(bed, Rbac::Kubeconfig(kubeconfig));
    agent.until("it says what to do", KNOWN_WITHIN, |agent| Ok(agent.log().contains("clusterrolebindings").then_some(()))).unwrap();
    nothing_is_known(bed, &mut agent, &token, "unseen");
    bed.cluster
        .apply(
            &json!({"apiVersion": "v1", "kind": "List", "items": [
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "agent"},
                    "rules": [{
                        "apiGroups": ["rbac.authorization.k8s.io"],
                        "resources": ["clusterroles", "clusterrolebindings"],
                        "verbs": ["list", "watch"],
                    }],
                },
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "agent"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "agent"},
                    "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": "default"}],
                },
            ]})
            .to_string(),
        )
        .unwrap();
    synced(&mut agent);
    assert_eq!(annotation(&pods(bed, &mut agent, &token, "seen"), "without-nodes-proxy"), "denied");
}

fn without_a_cluster(bed: &Bed) {
    let token = bed.identity("alone", &["get"], &["nodes/proxy"]);
    let kubeconfig = bed.folder.join("late.kubeconfig");
    let mut agent = with_rbac(bed, Rbac::Kubeconfig(kubeconfig.clone()));
    nothing_is_known(bed, &mut agent, &token, "alone");
    assert!(agent.log().contains("--rbac off"), "{}", agent.log());
    fs::copy(bed.cluster.kubeconfig(), &kubeconfig).unwrap();
    synced(&mut agent);
    assert_eq!(annotation(&pods(bed, &mut agent, &token, "not-alone"), "without-nodes-proxy"), "denied");
}

fn off(bed: &Bed) {
    let token = bed.identity("off", &["get"], &["nodes/proxy"]);
    let mut agent = with_rbac(bed, Rbac::Off);
    let event = pods(bed, &mut agent, &token, "off-1");
    assert_eq!(annotation(&event, "granted-by"), "ClusterRoleBinding/off ClusterRole/off");
    assert_eq!(event["annotations"].get("kubewitness.dev/without-nodes-proxy"), None);
    assert_eq!(annotation(&exec(bed, &mut agent, &token, "off-2"), "findings"), "unlogged-exec");
    assert_eq!(figure(&agent, "kubewitness_rbac_synced"), 0);
}

fn the_api_server_goes_away(bed: &Bed) {
    let token = bed.identity("lasting", &["get"], &["nodes/proxy"]);
    let mut agent = with_rbac(bed, Rbac::Administrator);
    // The kubelet knows the token and the rights from here on.
    let before = pods(bed, &mut agent, &token, "lasting-before");
    assert_eq!(annotation(&before, "without-nodes-proxy"), "denied");
    bed.cluster.kill_api_server().unwrap();
    agent.until("it says that it does not know", SYNCED_WITHIN, |agent| Ok((!agent.knows_rbac()?).then_some(()))).unwrap();
    let without = pods(bed, &mut agent, &token, "lasting-without");
    assert_eq!(annotation(&without, "without-nodes-proxy"), NOT_KNOWN);
    assert_eq!(bare(&without), bare(&before));
    bed.cluster.start_api_server().unwrap();
    synced(&mut agent);
    let after = pods(bed, &mut agent, &token, "lasting-after");
    assert_eq!(annotation(&after, "without-nodes-proxy"), "denied");
    assert_eq!(bare(&after), bare(&before));
    assert_eq!(figure(&agent, r#"kubewitness_records_lost_total{class="routine"}"#), 0);
}

/// Events go on, and say no more than they can know.
fn nothing_is_known(bed: &Bed, agent: &mut Agent, token: &Token, name: &str) {
    let event = pods(bed, agent, token, &format!("{name}-pods"));
    assert_eq!(annotation(&event, "granted-by"), format!("ClusterRoleBinding/{name} ClusterRole/{name}"));
    assert_eq!(annotation(&event, "without-nodes-proxy"), NOT_KNOWN);
    assert_eq!(annotation(&event, "findings"), "nodes-proxy-fallback");
    let event = exec(bed, agent, token, &format!("{name}-exec"));
    assert_eq!((annotation(&event, "findings"), annotation(&event, "without-nodes-proxy")), ("unlogged-exec", "denied"));
    assert_eq!(figure(agent, "kubewitness_rbac_synced"), 0);
}

/// Without what differs from request to request, and without what only the RBAC objects tell.
fn bare(event: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().unwrap();
    for field in ["auditID", "userAgent", "requestReceivedTimestamp", "stageTimestamp"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    let annotations = fields["annotations"].as_object_mut().unwrap();
    annotations.remove("kubewitness.dev/without-nodes-proxy");
    annotations.remove("kubewitness.dev/caller");
    event
}

fn with_rbac(bed: &Bed, rbac: Rbac) -> Agent {
    let mut options = bed.agent_options(&[]);
    options.rbac = rbac;
    Agent::start(&bed.cluster, &options).unwrap()
}

fn synced(agent: &mut Agent) {
    agent.until("it knows the RBAC objects", SYNCED_WITHIN, |agent| Ok(agent.knows_rbac()?.then_some(()))).unwrap();
}

/// The event of `GET /pods`.
fn pods(bed: &Bed, agent: &mut Agent, token: &Token, user_agent: &str) -> Value {
    let answers = Call::get("/pods").token(token).user_agent(user_agent).from_node(&bed.cluster).unwrap();
    assert_eq!(answers.only(), Some(200), "{}", answers.problem);
    one(agent, user_agent)
}

/// The event of the first `GET /pods` for which this is true.
fn until(bed: &Bed, agent: &mut Agent, token: &Token, user_agent: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut number = 0;
    agent
        .until(user_agent, within, |agent| {
            number += 1;
            std::thread::sleep(Duration::from_millis(50));
            Ok(Some(pods(bed, agent, token, &format!("{user_agent}-{number}"))).filter(&wanted))
        })
        .unwrap()
}

/// The event of an exec over a WebSocket, by `GET`.
fn exec(bed: &Bed, agent: &mut Agent, token: &Token, user_agent: &str) -> Value {
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=echo&command=e2e&output=1");
    let answers = Call::websocket(&path, "v4.channel.k8s.io").token(token).user_agent(user_agent).from_node(&bed.cluster).unwrap();
    assert_eq!(answers.only(), Some(101), "{}", answers.problem);
    one(agent, user_agent)
}

fn one(agent: &mut Agent, user_agent: &str) -> Value {
    agent.until(user_agent, SEEN_WITHIN, |agent| Ok(completed(&agent.events()?, user_agent).pop())).unwrap()
}
