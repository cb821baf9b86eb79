//! What a scrape shows, before and after.

use std::collections::BTreeSet;

use super::*;
use crate::exchange::Gap;
use crate::export::audit::AuditStage;
use crate::judge::testing::*;
use crate::judge::{Judge, Policy, Severity, Verdict};
use crate::kubelet::{AccessKind, Endpoint, Transport, Verb};
use crate::observation::Decision;

fn metrics() -> Metrics {
    Metrics::new(NODE, 1000).unwrap()
}

fn series(metrics: &Metrics) -> Vec<String> {
    metrics.render().unwrap().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn ended(build: Build) -> Verdict {
    Judge::new(Policy::new(NODE), 8).ended(build.seen())
}

/// The series that changed, those of the process itself aside.
fn changed(metrics: &Metrics, act: impl FnOnce()) -> BTreeSet<String> {
    let before: BTreeSet<String> = series(metrics).into_iter().collect();
    act();
    series(metrics).into_iter().filter(|line| line.starts_with("kubewitness_") && !before.contains(line)).collect()
}

fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(str::to_owned).into()
}

#[test]
fn every_finding_and_exec_is_born_at_zero() {
    let metrics = metrics();
    let series = series(&metrics);
    for line in [
        r#"kubewitness_findings_total{finding="unlogged-exec",severity="critical"} 0"#,
        r#"kubewitness_findings_total{finding="verb-bypass",severity="critical"} 0"#,
        r#"kubewitness_findings_total{finding="api-server-impostor",severity="warning"} 0"#,
        r#"kubewitness_unlogged_exec_total{endpoint="exec",outcome="executed",verb="get"} 0"#,
        r#"kubewitness_unlogged_exec_total{endpoint="portForward",outcome="refused",verb="create"} 0"#,
        r#"kubewitness_requests_total{access="proxy-only",code="101",endpoint="exec",transport="websocket"} 0"#,
        r#"kubewitness_requests_total{access="fallback",code="200",endpoint="pods",transport="plain"} 0"#,
        r#"kubewitness_requests_total{access="single",code="200",endpoint="metrics/cadvisor",transport="plain"} 0"#,
        r#"kubewitness_requests_total{access="open",code="200",endpoint="stats",transport="plain"} 0"#,
        r#"kubewitness_requests_incomplete_total{reason="records-lost"} 0"#,
        r#"kubewitness_records_lost_total{class="priority"} 0"#,
        r#"kubewitness_connections_opened_total{port="10250"} 0"#,
        r#"kubewitness_events_omitted_total{stage="ResponseComplete"} 0"#,
        "kubewitness_attached 0",
        "kubewitness_rbac_synced 0",
        "kubewitness_detection_latency_seconds_count 0",
    ] {
        assert!(series.iter().any(|have| have == line), "{line}");
    }
    assert!(series.iter().any(|line| line.starts_with(r#"kubewitness_build_info{node="node1",version=""#)));
    assert!(series.iter().any(|line| line.starts_with("process_resident_memory_bytes")));
}

/// Thirty identities, each with two kinds of requests and a finding, and a few statuses that nobody foresaw.
#[test]
fn a_usual_node_has_at_most_500_series() {
    let metrics = metrics();
    metrics.sink(SinkKind::File);
    for n in 0..30 {
        let name = format!("system:serviceaccount:ns-{n}:agent");
        metrics.record(&ended(request("GET", "/metrics").by(&name).check("metrics", Decision::Allow).status(200)));
        let pods = request("GET", "/pods").by(&name).check("pods", Decision::NoOpinion).check("proxy", Decision::Allow);
        metrics.record(&ended(pods.status(200)));
    }
    for status in 200..240 {
        metrics.record(&ended(request("GET", "/pods").check("pods", Decision::Allow).status(status)));
    }
    let count = series(&metrics).len();
    assert!((250..=400).contains(&count), "{count} series leave no room, or something is missing");
}

#[test]
fn a_verdict_moves_these_series_and_no_other() {
    let metrics = metrics();
    let mut judge = Judge::new(Policy::new(NODE), 8);
    let exec = || request("GET", "/exec/a/b/c").upgrade("SPDY/3.1").check("proxy", Decision::Allow);
    let authorized = judge.authorized(exec().seen());
    assert_eq!(changed(&metrics, || metrics.record(&authorized)), set([]));
    let answered = judge.answered(exec().answer(101).seen()).unwrap();
    assert_eq!(
        changed(&metrics, || metrics.record(&answered)),
        set([
            r#"kubewitness_findings_total{finding="unlogged-exec",severity="critical"} 1"#,
            r#"kubewitness_identity_findings_total{finding="unlogged-exec",identity="system:serviceaccount:default:monitoring"} 1"#,
            r#"kubewitness_unlogged_exec_total{endpoint="exec",outcome="executed",verb="get"} 1"#,
        ])
    );
    let over = judge.ended(exec().answer(101).hijacked().seen());
    assert_eq!(
        changed(&metrics, || metrics.record(&over)),
        set([
            r#"kubewitness_identity_requests_total{access="proxy-only",endpoint="exec",identity="system:serviceaccount:default:monitoring"} 1"#,
            r#"kubewitness_requests_total{access="proxy-only",code="101",endpoint="exec",transport="spdy"} 1"#,
        ])
    );
    let refused = ended(request("POST", "/run/a/b/c").status(401));
    assert_eq!(
        changed(&metrics, || metrics.record(&refused)),
        set([
            r#"kubewitness_findings_total{finding="exec-attempt",severity="info"} 1"#,
            r#"kubewitness_requests_total{access="unauthenticated",code="401",endpoint="run",transport="plain"} 1"#,
            r#"kubewitness_unlogged_exec_total{endpoint="run",outcome="refused",verb="create"} 1"#,
        ])
    );
    let partial = ended(request("GET", "/pods").gap(Gap::Lost).gap(Gap::End));
    assert_eq!(
        changed(&metrics, || metrics.record(&partial)),
        set([
            r#"kubewitness_requests_incomplete_total{reason="end-not-seen"} 1"#,
            r#"kubewitness_requests_incomplete_total{reason="records-lost"} 1"#,
            r#"kubewitness_requests_total{access="unknown",code="none",endpoint="pods",transport="plain"} 1"#,
        ])
    );
}

#[test]
fn identities_are_capped_and_the_rest_counted() {
    let metrics = Metrics::new(NODE, 2).unwrap();
    for name in ["a", "b", "c", "d", "a"] {
        metrics.record(&ended(request("GET", "/pods").by(name).check("pods", Decision::Allow).status(200)));
    }
    let identities: Vec<String> = series(&metrics).into_iter().filter(|line| line.starts_with("kubewitness_identity_requests")).collect();
    let line = |name: &str, count| {
        format!(r#"kubewitness_identity_requests_total{{access="fine-grained",endpoint="pods",identity="{name}"}} {count}"#)
    };
    assert_eq!(identities, [line("a", 2), line("b", 1), line("other", 2)]);
}

#[test]
fn kubelets_come_and_go() {
    let metrics = metrics();
    let info = |version: &str, sites| KubeletInfo {
        version: version.into(),
        go_version: "go1.26.8".into(),
        sites,
        fine_grained_authz: Some(true),
    };
    let of = |metrics: &Metrics| -> Vec<String> {
        series(metrics)
            .into_iter()
            .filter(|line| line.starts_with("kubewitness_kubelet") || line.starts_with("kubewitness_attached"))
            .collect()
    };
    metrics.kubelets(&[info("v1.36.3", Sites::Emulated)], true);
    assert_eq!(
        of(&metrics),
        [
            "kubewitness_attached 1",
            r#"kubewitness_kubelet_info{fine_grained_authz="true",go_version="go1.26.8",sites="emulated",version="v1.36.3"} 1"#
        ]
    );
    metrics.kubelets(&[info("v1.37.2", Sites::None)], true);
    assert_eq!(
        of(&metrics),
        [
            "kubewitness_attached 0",
            r#"kubewitness_kubelet_info{fine_grained_authz="true",go_version="go1.26.8",sites="none",version="v1.37.2"} 1"#
        ]
    );
    metrics.kubelets(&[], true);
    assert_eq!(of(&metrics), ["kubewitness_attached 0"]);
}

#[test]
fn connections_and_losses() {
    let metrics = metrics();
    let act = || {
        metrics.connection_opened(10250);
        metrics.connection_opened(10250);
        metrics.connection_closed(10250);
        metrics.connection_without_request(SilentConnection::Closed);
        metrics.records_lost(LostRecords::Priority, 3);
        metrics.records_lost(LostRecords::Priority, 5);
        metrics.records_lost(LostRecords::Priority, 5);
        metrics.rbac_synced(true);
    };
    assert_eq!(
        changed(&metrics, act),
        set([
            r#"kubewitness_connections_open{port="10250"} 1"#,
            r#"kubewitness_connections_opened_total{port="10250"} 2"#,
            r#"kubewitness_connections_without_request_total{reason="closed"} 1"#,
            r#"kubewitness_records_lost_total{class="priority"} 5"#,
            "kubewitness_rbac_synced 1",
        ])
    );
}

#[test]
fn a_hostile_identity_stays_in_its_label() {
    let metrics = metrics();
    let name = "a\"} 1\nkubewitness_attached 1\n#\\";
    metrics.record(&ended(request("GET", "/pods").by(name).check("pods", Decision::Allow).status(200)));
    let lines = series(&metrics);
    assert!(lines.iter().any(|line| line.contains(r#"identity="a\"} 1\\u000akubewitness_attached 1\\u000a#\\"} 1"#)));
    assert_eq!(lines.iter().filter(|line| line.starts_with("kubewitness_attached")).count(), 1);
}

/// What `promtool check metrics` asks for, and product.md's names.
#[test]
fn names_follow_the_rules() {
    let metrics = metrics();
    let text = metrics.render().unwrap();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        assert!(name.starts_with("kubewitness_") || name.starts_with("process_"), "{line}");
        assert!(text.contains(&format!("# HELP {name} ")), "{line}");
    }
}

/// `UPDATE_DOCS=1 cargo test -p kubewitness --lib metrics_reference` writes the tables anew.
#[test]
fn the_metrics_reference_is_current() {
    let how = "cargo test -p kubewitness --lib metrics_reference";
    kubewitness_pages::generated::keep("docs/metrics.md", "metrics", &metrics().reference(), how);
    kubewitness_pages::generated::keep("docs/metrics.md", "labels", &labels(), how);
}

/// The closed sets that labels take their values from.
fn labels() -> String {
    fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
        words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    }
    let codes: BTreeSet<_> = (100..600).map(Some).chain([None]).map(code).collect();
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"].map(Verb::of_method);
    let transports = [Transport::Plain, Transport::WebSocket, Transport::Spdy, Transport::Unknown];
    let rows = [
        ("endpoint", "", words(Endpoint::ALL.iter().map(Endpoint::label))),
        ("access", "", words(AccessKind::ALL.map(AccessKind::as_str))),
        ("transport", "", words(transports.map(Transport::as_str))),
        ("code", "", words(codes)),
        ("verb", "", words(methods.map(Verb::label).into_iter().chain([Verb::Unknown.label()]))),
        ("finding", "", words(Finding::ALL.map(Finding::id))),
        ("severity", "", words(Severity::ALL.map(Severity::as_str))),
        ("outcome", "unlogged execs", words(Finding::ALL.into_iter().filter_map(exec_outcome))),
        ("reason", "incomplete requests", words(Gap::ALL.map(Gap::as_str))),
        ("reason", "connections without a request", words(SilentConnection::ALL.map(SilentConnection::as_str))),
        ("reason", "disbelieved processes", words(Disbelief::KINDS)),
        ("class", "", words(LostRecords::ALL.map(LostRecords::as_str))),
        ("check", "", words(Check::ALL.map(Check::as_str))),
        ("stage", "", words(AuditStage::WRITTEN.map(AuditStage::as_str))),
        ("sink", "", words([SinkKind::Stdout, SinkKind::File, SinkKind::Webhook, SinkKind::Kubernetes].map(SinkKind::as_str))),
    ];
    let row = |(label, of, values): (&str, &str, String)| {
        let of = if of.is_empty() { String::new() } else { format!(" of {of}") };
        format!("| `{label}`{of} | {values} |\n")
    };
    format!("| label | values |\n|---|---|\n{}", rows.map(row).concat())
}
