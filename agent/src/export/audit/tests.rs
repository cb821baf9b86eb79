//! Golden events, and what hostile callers try to put in them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::exchange::{Gap, Place};
use crate::judge::testing::*;
use crate::judge::{Judge, Policy};
use crate::observation::{Decision, Text};
use crate::rbac::Update;

pub(super) fn auditor(commands: Commands) -> Auditor {
    Auditor::new(Uuid::from_u128(7), NODE, commands)
}

pub(super) fn clock() -> Clock {
    Clock::new(Timestamp(1_000_000_000), "2026-03-04T05:06:07Z".parse().unwrap())
}

fn ended(build: Build) -> Verdict {
    Judge::new(Policy::new(NODE), 8).ended(build.seen())
}

fn written(build: Build) -> Value {
    parsed(&auditor(Commands::Full).event(&ended(build), clock()))
}

fn parsed(event: &AuditEvent<'_>) -> Value {
    serde_json::from_slice(&event.to_line()).unwrap()
}

fn attack() -> Build {
    request("GET", "/exec/default/web/main?command=cat&command=/secret&output=1")
        .upgrade("websocket")
        .called_from_pod("attacker-uid")
        .check("proxy", Decision::Allow)
}

#[test]
fn the_golden_event_of_the_attack() {
    let expected = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "8e5d45a5-7b29-8a4a-8a94-000000000000",
        "stage": "ResponseComplete",
        "requestURI": "/exec/default/web/main?command=cat&command=/secret&output=1",
        "verb": "get",
        "user": {
            "username": SERVICE_ACCOUNT,
            "uid": "sa-uid",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": {
                "authentication.kubernetes.io/credential-id": ["JTI=1"],
                "authentication.kubernetes.io/node-name": ["node1"],
                "authentication.kubernetes.io/node-uid": ["node-uid"],
                "authentication.kubernetes.io/pod-name": ["monitoring-1"],
                "authentication.kubernetes.io/pod-uid": ["pod-uid"],
            },
        },
        "sourceIPs": ["192.0.2.7"],
        "userAgent": "curl/8.5.0",
        "objectRef": {"resource": "pods", "namespace": "default", "name": "web", "apiVersion": "v1", "subresource": "exec"},
        "responseStatus": {"metadata": {}, "code": 101},
        "requestReceivedTimestamp": "2026-03-04T05:06:07.000000Z",
        "stageTimestamp": "2026-03-04T05:06:07.002000Z",
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": REASON,
            "kubewitness.dev/access": "proxy-only",
            "kubewitness.dev/caller": "pod default/web attacker-uid",
            "kubewitness.dev/checks": "get nodes/proxy=allow",
            "kubewitness.dev/endpoint": "exec",
            "kubewitness.dev/findings": "unlogged-exec,stolen-token",
            "kubewitness.dev/granted-by": "ClusterRoleBinding/monitoring-np ClusterRole/nodes-proxy-get",
            "kubewitness.dev/node": NODE,
            "kubewitness.dev/transport": "websocket",
        },
    });
    let mut event = written(attack().hijacked());
    let id: Uuid = event["auditID"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 8);
    event["auditID"] = expected["auditID"].clone();
    assert_eq!(event, expected);
}

#[test]
fn all_stages_of_one_request_share_an_id_and_no_two_requests_do() {
    let auditor = auditor(Commands::Full);
    for build in [attack(), attack().without_request()] {
        let mut judge = Judge::new(Policy::new(NODE), 8);
        let verdicts = [
            judge.authorized(build.clone().seen()),
            judge.ended(build.clone().hijacked().seen()),
            judge.ended(build.clone().goroutine(99).hijacked().seen()),
        ];
        let [started, complete, other] = verdicts.each_ref().map(|verdict| auditor.event(verdict, clock()));
        assert_eq!((started.stage, complete.stage), (AuditStage::ResponseStarted, AuditStage::ResponseComplete));
        assert_eq!(started.audit_id, complete.audit_id);
        assert_ne!(other.audit_id, complete.audit_id);
    }
    // The same goroutine serves one request after the other: where the begin was not seen, what was tells them apart.
    let checked_at = |nanos| attack().without_request().change_check(|check| check.time = Timestamp(nanos)).hijacked();
    assert_ne!(auditor.event(&ended(checked_at(1)), clock()).audit_id, auditor.event(&ended(checked_at(2)), clock()).audit_id);
    let elsewhere = Auditor::new(Uuid::from_u128(8), NODE, Commands::Full);
    let verdict = ended(attack().hijacked());
    assert_ne!(elsewhere.event(&verdict, clock()).audit_id, auditor.event(&verdict, clock()).audit_id);
}

#[test]
fn redacted_commands_are_nowhere_in_the_line() {
    let (auditor, verdict) = (auditor(Commands::Redacted), ended(attack().hijacked()));
    let event = auditor.event(&verdict, clock());
    assert_eq!(event.request_uri, "/exec/default/web/main?command=2&output=1");
    assert!(!String::from_utf8(event.to_line()).unwrap().contains("secret"));
}

#[test]
fn object_references() {
    let pod = |name: &str, subresource: &str| json!({"resource": "pods", "namespace": "a", "name": name, "apiVersion": "v1", "subresource": subresource});
    let node = |subresource: &str| json!({"resource": "nodes", "name": NODE, "apiVersion": "v1", "subresource": subresource});
    let mut with_uid = pod("b", "attach");
    with_uid["uid"] = json!("u-1");
    let rows = [
        (request("GET", "/exec/a/b/c").status(401), pod("b", "exec")),
        (request("POST", "/run/a/b/c").status(401), pod("b", "run")),
        (request("POST", "/attach/a/b/u-1/c").status(401), with_uid),
        (request("GET", "/portForward/a/b").status(401), pod("b", "portforward")),
        (request("GET", "/containerLogs/a/b/c").status(401), pod("b", "log")),
        (request("POST", "/checkpoint/a/b/c").status(401), pod("b", "checkpoint")),
        (request("GET", "/allocatedPods/a/b").status(401), json!({"resource": "pods", "namespace": "a", "name": "b", "apiVersion": "v1"})),
        (request("GET", "/exec/a").status(401), node("proxy")),
        (request("GET", "/pods").status(401), node("pods")),
        (request("GET", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200), node("proxy")),
        (request("GET", "/metrics/cadvisor").status(401), node("metrics")),
        (request("GET", "/flagz").status(401), node("configz")),
        (request("GET", "/nothing").status(404), json!({"resource": "nodes", "name": NODE, "apiVersion": "v1"})),
        (request("GET", "/pods").without_request().end(None), json!({"resource": "nodes", "name": NODE, "apiVersion": "v1"})),
    ];
    for (build, expected) in rows {
        assert_eq!(written(build.clone())["objectRef"], expected, "{build:#?}");
    }
}

#[test]
fn annotations_say_what_was_seen_and_nothing_else() {
    let pods = || request("GET", "/pods");
    let annotation = |build: Build, key: &str| written(build)["annotations"][key].as_str().map(str::to_owned);
    let allowed = || pods().check("pods", Decision::Allow).status(200);
    for (build, key, expected) in vec![
        (
            pods().check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200),
            "kubewitness.dev/checks",
            Some("get nodes/pods=no-opinion get nodes/proxy=allow"),
        ),
        (
            request("HEAD", "/pods").check("pods", Decision::Deny).check("proxy", Decision::Error).status(500),
            "kubewitness.dev/checks",
            Some(r#""" nodes/pods=deny "" nodes/proxy=error"#),
        ),
        (pods().status(401), "kubewitness.dev/checks", None),
        (pods().status(401), "kubewitness.dev/granted-by", None),
        (pods().status(401), "authorization.k8s.io/decision", None),
        (pods().status(401), "kubewitness.dev/access", Some("unauthenticated")),
        (pods().check("proxy", Decision::NoOpinion).status(403), "authorization.k8s.io/decision", Some("forbid")),
        (pods().check("proxy", Decision::NoOpinion).status(403), "authorization.k8s.io/reason", Some("")),
        (pods().check("proxy", Decision::Error).status(500), "authorization.k8s.io/decision", None),
        (pods().check_because("pods", Decision::Allow, "").status(200), "kubewitness.dev/granted-by", Some("outside-rbac")),
        (allowed(), "kubewitness.dev/completeness", None),
        (allowed(), "kubewitness.dev/findings", None),
        (allowed(), "kubewitness.dev/caller", None),
        (allowed().called_from(Place::Host), "kubewitness.dev/caller", Some("process 4242 curl")),
        (allowed().called_from(Place::Pod { uid: "u".into(), name: None }), "kubewitness.dev/caller", Some("pod u")),
        (allowed().gap(Gap::Lost).gap(Gap::Cut), "kubewitness.dev/completeness", Some("partial: records-lost,text-cut")),
        (
            allowed().change_check(|check| Arc::make_mut(&mut check.user).group_count = Some(50)),
            "kubewitness.dev/completeness",
            Some("partial: text-cut"),
        ),
        (allowed().change_check(|check| check.reason = Text::Unreadable).gap(Gap::Unreadable), "kubewitness.dev/granted-by", None),
    ] {
        assert_eq!(annotation(build.clone(), key).as_deref(), expected, "{key} of {build:#?}");
    }
}

#[test]
fn what_the_rbac_objects_say() {
    let with = |updates: Vec<Update>, build: Build| {
        let mut judge = Judge::new(Policy { rbac: true, ..Policy::new(NODE) }, 8);
        for update in updates {
            judge.rbac(update);
        }
        let event = parsed(&auditor(Commands::Full).event(&judge.ended(build.seen()), clock()));
        let text = |key: &str| event["annotations"][format!("kubewitness.dev/{key}")].as_str().map(str::to_owned);
        (text("granted-by").unwrap_or_default(), text("without-nodes-proxy").unwrap_or_default(), text("findings").unwrap_or_default())
    };
    let granted = || {
        listing([
            role("nodes-proxy-get", &["get"], &["nodes/proxy"]),
            binding("monitoring-np", "nodes-proxy-get", ("User", SERVICE_ACCOUNT)),
        ])
    };
    let exec = || request("GET", "/exec/a/b/c").upgrade("websocket").check("proxy", Decision::Allow).hijacked();
    let pods = || request("GET", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200);
    let by_webhook = || request("GET", "/pods").check_because("pods", Decision::Allow, "our webhook").status(200);
    let named = "ClusterRoleBinding/monitoring-np ClusterRole/nodes-proxy-get";
    let stale = "ClusterRoleBinding/monitoring-np ClusterRole/nodes-proxy-get (stale)";
    let unknown = "unknown: the RBAC objects are not known";
    for (updates, build, expected) in [
        (granted(), exec(), (named, "denied", "unlogged-exec,verb-bypass")),
        (granted(), pods(), (named, "denied", "nodes-proxy-fallback")),
        (listing([]), exec(), (stale, "denied", "unlogged-exec")),
        (vec![], pods(), (named, unknown, "nodes-proxy-fallback")),
        (listing([]), by_webhook(), ("outside-rbac", "", "outside-rbac")),
        (granted(), pods().gap(Gap::Lost), (named, "denied", "nodes-proxy-fallback")),
        (granted(), request("GET", "/pods").status(401), ("", "", "")),
    ] {
        let expected = (expected.0.to_owned(), expected.1.to_owned(), expected.2.to_owned());
        assert_eq!(with(updates, build.clone()), expected, "{build:#?}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let refused = written(request("GET", "/pods").status(401));
    assert_eq!(refused.get("user"), None);
    assert_eq!(refused["verb"], "get");
    assert_eq!(refused["responseStatus"]["code"], 401);
    let unread = written(request("GET", "/pods").check("pods", Decision::Allow).end(None).gap(Gap::Unreadable));
    assert_eq!(unread.get("responseStatus"), None);
    let half = written(request("GET", "/pods").without_request().check("pods", Decision::Allow).status(200));
    assert_eq!((half["requestURI"].as_str(), half["requestReceivedTimestamp"].as_str()), (Some(""), Some("2026-03-04T05:06:07.001000Z")));
    assert_eq!(half.get("sourceIPs"), None);
}

#[test]
fn hostile_callers_stay_in_their_strings() {
    let hostile = "\"}\n{\"kind\":\"Event\"}\r\n\u{1b}[2J\u{9b}31m\u{202e}\0";
    let build = request("GET", "/exec/a/b/c")
        .request(|request| {
            request.uri = hostile.into();
            request.path = format!("/exec/{hostile}/b/c").as_str().into();
            request.user_agent = crate::observation::Lookup::Found(hostile.into());
        })
        .by(hostile)
        .check("proxy", Decision::NoOpinion)
        .status(403);
    let line = auditor(Commands::Full).event(&ended(build), clock()).to_line();
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(text.strip_suffix('\n').is_some_and(|line| !line.contains(char::is_control)), "{text}");
    let event: Value = serde_json::from_slice(&line).unwrap();
    for (field, text) in [("/requestURI", hostile), ("/userAgent", hostile), ("/user/username", hostile), ("/objectRef/namespace", hostile)]
    {
        assert_eq!(event.pointer(field).and_then(Value::as_str), Some(text), "{field}");
    }
}

#[test]
fn every_annotation_is_explained() {
    let explained: std::collections::BTreeMap<_, _> = super::ANNOTATIONS.into_iter().collect();
    let mut judge = Judge::new(Policy { rbac: true, ..Policy::new(NODE) }, 8);
    let (auditor, verdict) = (auditor(Commands::Full), judge.ended(attack().hijacked().gap(Gap::Lost).seen()));
    let mut all = auditor.event(&verdict, clock());
    all.mark(Marks { policy: true, last: true });
    let all = parsed(&all);
    assert!(all["annotations"].get("kubewitness.dev/without-nodes-proxy").is_some());
    for key in all["annotations"].as_object().unwrap().keys() {
        assert!(explained.contains_key(key.as_str()), "{key} is not explained");
    }
    let words = |key: &str, words: &[&str]| {
        for word in words {
            assert!(explained[key].contains(&format!("`{word}`")), "{key} does not explain {word}");
        }
    };
    words("kubewitness.dev/access", &crate::kubelet::AccessKind::ALL.map(crate::kubelet::AccessKind::as_str));
    words("kubewitness.dev/completeness", &Gap::ALL.map(Gap::as_str));
}

/// `UPDATE_DOCS=1 cargo test -p kubewitness --lib events_reference` writes the tables anew.
#[test]
fn the_events_reference_is_current() {
    let how = "cargo test -p kubewitness --lib events_reference";
    let rows = super::ANNOTATIONS.map(|(key, value)| format!("| `{key}` | {value} |\n")).concat();
    kubewitness_pages::generated::keep("docs/events.md", "annotations", &format!("| key | value |\n|---|---|\n{rows}"), how);
    let row = |finding: crate::judge::Finding| format!("| `{}` | {} | {} |\n", finding.id(), finding.severity().as_str(), finding.when());
    let rows = crate::judge::Finding::ALL.map(row).concat();
    kubewitness_pages::generated::keep("docs/events.md", "findings", &format!("| id | severity | when |\n|---|---|---|\n{rows}"), how);
}

#[test]
fn a_panic_is_a_stage_of_its_own() {
    let pods = || request("GET", "/pods").check("pods", Decision::Allow);
    let table = [
        (pods().status(0).panicked(true), "Panic", None),
        (pods().status(200).panicked(true), "Panic", Some(200)),
        (pods().status(0).panicked(false), "ResponseComplete", Some(200)),
        (pods().status(0), "ResponseComplete", None),
    ];
    for (build, stage, code) in table {
        let event = written(build);
        assert_eq!((event["stage"].as_str(), event["responseStatus"]["code"].as_u64()), (Some(stage), code));
    }
}
