//! The agent on arm64: its own binary and programs, in a virtual machine with a kernel of Debian's, beside the kubelet's real server.
//!
//! `cargo xtask build --arch arm64` makes the agent. The processor is emulated, so nothing here says anything about speed.

mod calls;
mod machine;
mod plans;

use std::collections::{BTreeMap, BTreeSet};

use kubewitness_tests::figures::Figures;
use kubewitness_tests::vm::Series;
use serde_json::Value;

use calls::Call;
use machine::Seen;

/// Every call of `script.sh` by name: its user, what the events must say, how often, and how the caller was answered.
const CALLS: [Call; 11] = [
    Call::new("reader", "reader", "fine-grained", "get nodes/pods=allow", Some(200), 80),
    Call::new("fallback", "fallback", "fallback", "get nodes/pods=no-opinion get nodes/proxy=allow", Some(200), 60),
    Call::new("nobody", "nobody", "denied", "get nodes/pods=no-opinion get nodes/proxy=no-opinion", Some(403), 40),
    Call::new("none", "", "unauthenticated", "", Some(401), 30),
    Call::new("metrics", "reader", "single", "get nodes/metrics=allow", Some(200), 20),
    Call::new("unknown", "", "unchecked", "", Some(404), 10),
    Call::new("open", "", "open", "", Some(200), 200),
    Call::new("run", "fallback", "proxy-only", "create nodes/proxy=allow", Some(200), 10),
    Call::new("exec", "fallback", "proxy-only", "get nodes/proxy=allow", Some(101), 20),
    Call::new("refused", "reader", "denied", "get nodes/proxy=no-opinion", Some(403), 10),
    Call::new("panic", "fallback", "proxy-only", "get nodes/proxy=allow", None, 5),
];

#[test]
#[ignore = "boots an emulated machine and wants `cargo xtask build --arch arm64`: cargo xtask matrix --only arm64"]
fn every_request_is_seen_on_linux_6_1() {
    every_request_is_seen(Series::V6_1);
}

#[test]
#[ignore = "boots an emulated machine and wants `cargo xtask build --arch arm64`: cargo xtask matrix --only arm64"]
fn every_request_is_seen_on_linux_6_12() {
    every_request_is_seen(Series::V6_12);
}

#[test]
#[ignore = "boots an emulated machine and wants `cargo xtask build --arch arm64`: cargo xtask matrix --only arm64"]
fn every_request_is_seen_on_linux_7() {
    every_request_is_seen(Series::V7);
}

fn every_request_is_seen(series: Series) {
    let seen = machine::run(series);
    println!("{}\n{}", seen.file("doctor"), seen.file("agent"));
    let told = calls::told(seen.file("calls"));
    let events = seen.events();
    for call in CALLS {
        // A handler that panics cuts the connection, so its callers are told nothing.
        let answered = call.code.map_or(("failed".to_owned(), call.count), |code| (code.to_string(), call.count));
        assert_eq!(told[call.name], BTreeMap::from([answered]), "{}: what the callers were told", call.name);
    }
    let expected: BTreeMap<_, _> = CALLS.iter().map(|call| (call.described(), call.count)).collect();
    assert_eq!(calls::ended(&events), expected, "one event for each request, and no other");
    let partial: Vec<_> = events.iter().filter(|event| !event["annotations"]["kubewitness.dev/completeness"].is_null()).collect();
    assert!(partial.is_empty(), "{partial:#?}");

    let unlogged: Vec<_> = events.iter().filter(|event| has(event, "unlogged-exec")).collect();
    let requests: BTreeSet<_> = unlogged.iter().map(|event| event["auditID"].as_str()).collect();
    let running = unlogged.iter().filter(|event| event["stage"] == "ResponseStarted").count();
    assert!(requests.len() == 30 && running >= 20, "20 execs, told while they run, and 10 runs: {requests:?}, {running}");
    for event in events.iter().filter(|event| event["user"]["username"] == "system:serviceaccount:test:fallback") {
        assert_eq!(event["user"]["groups"], serde_json::json!(["system:serviceaccounts", "system:authenticated"]));
        assert_eq!(event["user"]["extra"]["authentication.kubernetes.io/pod-name"], serde_json::json!(["fallback-0"]));
    }
    check_counters(&seen);
    figures(&seen, series);
}

/// The stack check: its branch is passed once for each request, and where it is taken the agent must not count it.
fn figures(seen: &Seen, series: Series) {
    let requests: u64 = CALLS.iter().map(|call| call.count).sum();
    let (first, last) = (seen.hits("first"), seen.hits("last"));
    assert_eq!((first.passed, last.passed), (requests, requests), "not taken once for each request: {first:?} {last:?}");
    assert!(first.taken > 0, "no stack grew, so it was not seen that such hits are left out");
    Figures::of("docs/compatibility-arm64.md", "run").row(&[
        format!("Linux {}", series.name()),
        seen.release().to_owned(),
        requests.to_string(),
        calls::ended(&seen.events()).values().sum::<u64>().to_string(),
        (first.passed + first.taken).to_string(),
        first.taken.to_string(),
    ]);
}

/// Nothing was lost on the way, and the metrics count what the events tell.
fn check_counters(seen: &Seen) {
    let sum = |name: &str| {
        let lines = seen.file("metrics").lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|all, one| all + one)
    };
    for name in ["kubewitness_records_lost_total{", "kubewitness_requests_incomplete_total{", "kubewitness_events_dropped_total{"] {
        assert_eq!(sum(name), Some(0.0), "{name}");
    }
    let requests: u64 = CALLS.iter().map(|call| call.count).sum();
    assert_eq!(sum("kubewitness_requests_total{").map(|all| all.to_string()), Some(requests.to_string()));
}

fn has(event: &Value, finding: &str) -> bool {
    event["annotations"]["kubewitness.dev/findings"].as_str().is_some_and(|findings| findings.split(',').any(|id| id == finding))
}
