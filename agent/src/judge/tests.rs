//! Tables over synthetic exchanges.

use std::sync::Arc;

use super::testing::*;
use super::*;
use crate::exchange::{Gap, Place};
use crate::kubelet::{AccessKind, Grant, Subresource, Why};
use crate::observation::{Decision, Lookup, Response, Text, User};

fn judged(build: Build) -> Judgement {
    Court::new(Policy::new(NODE)).judge(&build.seen(), Stage::Ended, Timestamp::default(), None)
}

fn kind(build: Build) -> AccessKind {
    judged(build).access.kind()
}

fn found(build: Build) -> Vec<&'static str> {
    judged(build).findings.iter().map(Finding::id).collect()
}

/// Every row of the endpoint table: method, request target, label, step A, step B.
const ENDPOINTS: [(&str, &str, &str, Option<&str>, &str); 25] = [
    ("POST", "/run/default/web/main?cmd=id", "run", None, "proxy"),
    ("GET", "/exec/default/web/main?command=id", "exec", None, "proxy"),
    ("POST", "/exec/default/web/u-1/main?command=id", "exec", None, "proxy"),
    ("GET", "/attach/default/web/main", "attach", None, "proxy"),
    ("POST", "/portForward/default/web?port=80", "portForward", None, "proxy"),
    ("GET", "/containerLogs/default/web/main", "containerLogs", None, "proxy"),
    ("GET", "/logs/", "logs", None, "log"),
    ("GET", "/logs/syslog", "logs", None, "log"),
    ("GET", "/configz", "configz", Some("configz"), "proxy"),
    ("GET", "/runningpods/", "runningpods", Some("pods"), "proxy"),
    ("GET", "/debug/pprof/heap", "debug/pprof", None, "proxy"),
    ("PUT", "/debug/flags/v", "debug/flags", None, "proxy"),
    ("POST", "/checkpoint/default/web/main", "checkpoint", None, "checkpoint"),
    ("GET", "/statusz", "statusz", None, "statusz"),
    ("GET", "/flagz", "flagz", None, "configz"),
    ("GET", "/allocatedPods", "allocatedPods", Some("pods"), "proxy"),
    ("GET", "/pods", "pods", Some("pods"), "proxy"),
    ("GET", "/stats/summary", "stats", None, "stats"),
    ("POST", "/stats/summary", "stats", None, "stats"),
    ("GET", "/metrics", "metrics", None, "metrics"),
    ("GET", "/metrics/cadvisor", "metrics/cadvisor", None, "metrics"),
    ("GET", "/metrics/resource", "metrics/resource", None, "metrics"),
    ("GET", "/metrics/probes", "metrics/probes", None, "metrics"),
    ("GET", "/metrics/slis", "metrics/slis", None, "metrics"),
    ("GET", "/healthz", "healthz", Some("healthz"), "proxy"),
];

#[test]
fn every_endpoint_with_every_access() {
    for (method, uri, label, finer, required) in ENDPOINTS {
        let asked = || request(method, uri);
        let refused = |build: Build| match finer {
            Some(finer) => build.check(finer, Decision::NoOpinion),
            None => build,
        };
        let alone = if required == "proxy" { AccessKind::ProxyOnly } else { AccessKind::Single };
        let mut rows = vec![
            // Without the finer step: an older release.
            (asked().check(required, Decision::Allow).status(200), alone),
            (asked().check("proxy", Decision::Allow).status(200), AccessKind::ProxyOnly),
            (refused(asked()).check(required, Decision::NoOpinion).status(403), AccessKind::Denied),
            (refused(asked()).check(required, Decision::Deny).status(403), AccessKind::Denied),
            (refused(asked()).check(required, Decision::Error).status(500), AccessKind::Unknown),
            (asked().status(401), AccessKind::Unauthenticated),
            (asked().status(404), AccessKind::Unchecked),
            (asked().status(307), AccessKind::Unchecked),
            (asked().status(200), AccessKind::Unknown),
            (asked().request(|request| request.read_only = true).status(200), AccessKind::Open),
            (asked().request(|request| request.read_only = true).status(404), AccessKind::Open),
        ];
        if let Some(finer) = finer {
            rows.push((asked().check(finer, Decision::Allow).status(200), AccessKind::FineGrained));
            rows.push((refused(asked()).check("proxy", Decision::Allow).status(200), AccessKind::Fallback));
            rows.push((asked().check(finer, Decision::Deny).check("proxy", Decision::Allow).status(200), AccessKind::Fallback));
        }
        for (build, access) in rows {
            let judgement = judged(build.clone());
            assert_eq!(judgement.endpoint.label(), label);
            assert_eq!(judgement.access.kind(), access, "{build:#?}");
        }
    }
}

#[test]
fn an_access_carries_its_proof() {
    let grant = Grant::Rbac { binding: "monitoring-np".into(), role: "nodes-proxy-get".into() };
    let pods = || request("GET", "/pods");
    let rows = [
        (pods().check("pods", Decision::Allow).status(200), Access::FineGrained { by: Subresource::Pods, grant: grant.clone() }),
        (
            pods().check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200),
            Access::Fallback { denied: Subresource::Pods, grant: grant.clone() },
        ),
        (pods().check("stats", Decision::Allow).status(200), Access::Unknown { why: Why::UnexpectedCheck }),
        (pods().check("brand-new", Decision::Allow).status(200), Access::Unknown { why: Why::UnexpectedCheck }),
        (pods().check("pods", Decision::Error).status(500), Access::Unknown { why: Why::AuthorizerFailed }),
        (
            pods().check("pods", Decision::NoOpinion).check("proxy", Decision::NoOpinion).status(200),
            Access::Unknown { why: Why::Contradiction },
        ),
        (request("GET", "/flagz").check("configz", Decision::Allow).status(200), Access::Single { by: Subresource::Configz, grant }),
    ];
    for (build, access) in rows {
        assert_eq!(judged(build.clone()).access, access, "{build:#?}");
    }
}

#[test]
fn a_gap_makes_unknown_only_what_it_could_change() {
    let pods = || request("GET", "/pods");
    let exec = || request("GET", "/exec/a/b/c").upgrade("websocket");
    let missing = |gap| Access::Unknown { why: Why::Missing(gap) };
    let unknown = [
        // Was there a finer check before?
        (pods().check("proxy", Decision::Allow).status(200).gap(Gap::Lost), missing(Gap::Lost)),
        (pods().without_request().check("proxy", Decision::Allow).status(200), missing(Gap::Begin)),
        (pods().without_request().check("configz", Decision::Allow).status(200), missing(Gap::Begin)),
        // Was there an allowing one after?
        (pods().check("pods", Decision::NoOpinion).status(403).gap(Gap::Lost), missing(Gap::Lost)),
        (pods().check("pods", Decision::NoOpinion).gap(Gap::KubeletGone), missing(Gap::KubeletGone)),
        (pods().check("pods", Decision::NoOpinion), missing(Gap::End)),
        // Was there any?
        (pods().status(401).gap(Gap::Lost), missing(Gap::Lost)),
        (pods().status(404).gap(Gap::Lost), missing(Gap::Lost)),
        (pods().gap(Gap::End), missing(Gap::End)),
        (pods().end(None), missing(Gap::Unreadable)),
        (pods().without_request().status(401), missing(Gap::Begin)),
        // What was asked?
        (pods().check("pods", Decision::Allow).change_check(|check| check.subresource = Text::Unreadable), missing(Gap::Unreadable)),
        (pods().check("pods", Decision::Allow).change_check(|check| check.subresource = cut("po")), missing(Gap::Cut)),
    ];
    for (build, access) in unknown {
        assert_eq!(judged(build.clone()).access, access, "{build:#?}");
    }
    let known = [
        (pods().check("pods", Decision::Allow).status(200).gap(Gap::Lost), AccessKind::FineGrained),
        (pods().check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200).gap(Gap::Lost), AccessKind::Fallback),
        (pods().check("pods", Decision::NoOpinion).check("proxy", Decision::NoOpinion).gap(Gap::Evicted), AccessKind::Denied),
        (exec().check("proxy", Decision::Allow).gap(Gap::Lost), AccessKind::ProxyOnly),
        (exec().check("proxy", Decision::NoOpinion).gap(Gap::End), AccessKind::Denied),
        (exec().without_request().check("stats", Decision::Allow).status(200), AccessKind::Single),
        (pods().status(401).gap(Gap::Cut), AccessKind::Unauthenticated),
    ];
    for (build, access) in known {
        assert_eq!(kind(build.clone()), access, "{build:#?}");
    }
}

#[test]
fn the_runtime_decides_what_came_of_an_exec() {
    let spdy = || request("GET", "/exec/a/b/c").upgrade("SPDY/3.1").check("proxy", Decision::Allow);
    let socket = || request("GET", "/exec/a/b/c").upgrade("websocket").check("proxy", Decision::Allow);
    let forward = || request("GET", "/portForward/a/b").upgrade("websocket").check("proxy", Decision::Allow);
    let run = || request("POST", "/run/a/b/c?cmd=id").check("proxy", Decision::Allow);
    let unread = Some(Response { status: 0, written: 0, hijacked: false });
    let rows = vec![
        (spdy(), Outcome::Running, None),
        (spdy().answer(101), Outcome::Executed, Some(101)),
        (spdy().answer(101).hijacked(), Outcome::Executed, Some(101)),
        (spdy().answer(403).hijacked(), Outcome::Failed, Some(403)),
        (spdy().answer(101).status(500), Outcome::Executed, Some(500)),
        (spdy().hijacked(), Outcome::Unknown, None),
        (spdy().status(404), Outcome::Failed, Some(404)),
        (run().status(0).panicked(false), Outcome::Executed, Some(200)),
        (run().status(0).panicked(true), Outcome::Unknown, None),
        (run().status(0), Outcome::Unknown, None),
        (spdy().gap(Gap::KubeletGone), Outcome::Unknown, None),
        (spdy().end(None), Outcome::Unknown, None),
        (spdy().end(unread), Outcome::Unknown, None),
        (socket().hijacked(), Outcome::Executed, Some(101)),
        (socket().hijacked().gap(Gap::Lost), Outcome::Unknown, None),
        (socket().answer(500).hijacked(), Outcome::Failed, Some(500)),
        (forward().hijacked(), Outcome::Unknown, None),
        (forward().answer(101).hijacked(), Outcome::Executed, Some(101)),
        (run(), Outcome::Running, None),
        (run().status(200), Outcome::Executed, Some(200)),
        (run().status(404), Outcome::Failed, Some(404)),
        (run().status(500), Outcome::Unknown, Some(500)),
        (request("GET", "/exec/a/b/c").check("proxy", Decision::Allow).status(400), Outcome::Failed, Some(400)),
        (request("GET", "/exec/a/b/c").check("proxy", Decision::NoOpinion).status(403), Outcome::Refused, Some(403)),
        (request("GET", "/exec/a/b/c").check("proxy", Decision::Error).status(500), Outcome::Refused, Some(500)),
        (request("GET", "/exec/a/b/c").status(401), Outcome::Refused, Some(401)),
        (request("GET", "/exec/a/b/c").status(404), Outcome::Failed, Some(404)),
    ];
    for (build, outcome, status) in rows {
        let judgement = judged(build.clone());
        assert_eq!((judgement.outcome, judgement.status), (Some(outcome), status), "{build:#?}");
    }
    assert_eq!(judged(request("GET", "/pods").check("pods", Decision::Allow).status(200)).outcome, None);
}

#[test]
fn verbs_are_those_that_were_authorized() {
    for (build, verb) in [
        (request("POST", "/pods").check("pods", Decision::Allow), Verb::Create),
        (request("HEAD", "/pods").check("pods", Decision::Allow), Verb::None),
        (request("DELETE", "/pods").status(401), Verb::Delete),
        (request("get", "/pods").status(401), Verb::None),
        (request("GET", "/pods").check("pods", Decision::Allow).change_check(|check| check.verb = Text::Unreadable), Verb::Unknown),
        (request("GET", "/pods").without_request().status(401), Verb::Unknown),
    ] {
        assert_eq!(judged(build).verb, verb);
    }
}

#[test]
fn findings_and_what_is_none() {
    let exec = || request("GET", "/exec/a/b/c").upgrade("websocket");
    let run = || request("POST", "/run/a/b/c?cmd=id");
    let logs = |uri| request("GET", uri);
    let proxied = |build: Build| build.check("proxy", Decision::Allow);
    let masters = || User { groups: vec!["system:masters".into()], group_count: Some(1), ..user("admin") };
    let rows: Vec<(Build, Vec<&str>)> = vec![
        // unlogged-exec and exec-attempt
        (proxied(exec()).hijacked(), vec!["unlogged-exec"]),
        (proxied(exec()).answer(101), vec!["unlogged-exec"]),
        (proxied(exec().by(API_SERVER)).hijacked(), vec![]),
        (proxied(exec().by("kube-apiserver-kubelet-client2")).hijacked(), vec!["unlogged-exec"]),
        (proxied(exec()).change_check(|check| Arc::make_mut(&mut check.user).name = Text::Unreadable).hijacked(), vec!["unlogged-exec"]),
        (proxied(exec()).change_check(|check| Arc::make_mut(&mut check.user).name = cut(API_SERVER)).hijacked(), vec!["unlogged-exec"]),
        (exec().answer(101).hijacked().gap(Gap::Lost), vec!["unlogged-exec"]),
        (proxied(exec()).hijacked().gap(Gap::Lost), vec!["unlogged-exec"]),
        (exec().hijacked().gap(Gap::Lost), vec![]),
        (exec().gap(Gap::KubeletGone), vec![]),
        (proxied(exec()).answer(500).hijacked(), vec!["exec-attempt"]),
        (proxied(exec().by(API_SERVER)).answer(500).hijacked(), vec![]),
        (exec().check("proxy", Decision::NoOpinion).status(403), vec!["exec-attempt"]),
        (exec().status(401), vec!["exec-attempt"]),
        (exec().status(404), vec!["exec-attempt"]),
        (proxied(run()).status(200), vec!["unlogged-exec"]),
        // The command ran and exited with 1, or there was no such container: only a proven failure is one.
        (proxied(run()).status(500), vec!["unlogged-exec"]),
        (proxied(run()).status(404), vec!["exec-attempt"]),
        (request("GET", "/run/a/b/c").check("proxy", Decision::Allow).status(405), vec!["exec-attempt"]),
        // anonymous-access
        (request("GET", "/healthz").by("system:anonymous").check("healthz", Decision::Allow).status(200), vec!["anonymous-access"]),
        (request("GET", "/metrics").by("system:anonymous").check("metrics", Decision::NoOpinion).status(403), vec![]),
        (proxied(exec().by("system:anonymous")).hijacked(), vec!["unlogged-exec", "anonymous-access"]),
        // unlogged-log-read
        (proxied(logs("/containerLogs/a/b/c")).status(200), vec!["unlogged-log-read"]),
        // No log line yet, so no status either.
        (proxied(logs("/containerLogs/a/b/c")).status(0), vec!["unlogged-log-read"]),
        (logs("/logs/").check("log", Decision::Allow).status(200), vec!["unlogged-log-read"]),
        (proxied(logs("/containerLogs/a/b/c")).status(404), vec![]),
        (proxied(logs("/containerLogs/a/b/c").by(API_SERVER)).status(200), vec![]),
        (logs("/logs/").check("log", Decision::NoOpinion).status(403), vec![]),
        // debug-access
        (proxied(logs("/debug/pprof/heap")).status(200), vec!["debug-access"]),
        (proxied(request("PUT", "/debug/flags/v")).status(200), vec!["debug-access"]),
        (proxied(logs("/debug/pprof/heap")).status(405), vec![]),
        (proxied(logs("/debug/pprof/heap").by(API_SERVER)).status(200), vec![]),
        // checkpoint
        (request("POST", "/checkpoint/a/b/c").check("checkpoint", Decision::Allow).status(200), vec!["checkpoint"]),
        (request("POST", "/checkpoint/a/b/c").check("checkpoint", Decision::Allow).end(None), vec!["checkpoint"]),
        (request("POST", "/checkpoint/a/b/c").check("checkpoint", Decision::Allow).status(500), vec![]),
        (request("POST", "/checkpoint/a/b/c").by(API_SERVER).check("checkpoint", Decision::Allow).status(200), vec![]),
        // read-only-port
        (request("GET", "/pods").request(|request| request.read_only = true).status(200), vec!["read-only-port"]),
        (request("GET", "/nothing").request(|request| request.read_only = true).status(404), vec!["read-only-port"]),
        // nodes-proxy-fallback
        (proxied(request("GET", "/pods").check("pods", Decision::NoOpinion)).status(200), vec!["nodes-proxy-fallback"]),
        (request("GET", "/pods").check("pods", Decision::Allow).status(200), vec![]),
        (proxied(request("GET", "/pods")).status(200), vec![]),
        // outside-rbac
        (request("GET", "/pods").check_because("pods", Decision::Allow, "").status(200), vec!["outside-rbac"]),
        (request("GET", "/pods").check_because("pods", Decision::Allow, "our webhook").status(200), vec!["outside-rbac"]),
        (request("GET", "/pods").user(masters()).check_because("pods", Decision::Allow, "").status(200), vec![]),
        (request("GET", "/pods").check_because("pods", Decision::NoOpinion, "").status(403), vec![]),
        (request("GET", "/pods").check("pods", Decision::Allow).change_check(|check| check.reason = Text::Unreadable).status(200), vec![]),
    ];
    for (build, findings) in rows {
        assert_eq!(found(build.clone()), findings, "{build:#?}");
    }
}

#[test]
fn tokens_in_the_wrong_hands() {
    let scrape = |user: User| request("GET", "/pods").user(user).check("pods", Decision::NoOpinion).check("proxy", Decision::NoOpinion);
    let bound = || user(SERVICE_ACCOUNT);
    let unbound = || User { pod_uid: Lookup::Absent, pod_name: Lookup::Absent, node_name: Lookup::Absent, ..bound() };
    let host = Place::Host;
    for (user, place, stolen) in [
        (bound(), Some(Place::Pod { uid: "pod-uid".into(), name: None }), false),
        (bound(), Some(Place::Pod { uid: "other-uid".into(), name: None }), true),
        (bound(), Some(host.clone()), true),
        (bound(), Some(Place::Unknown), false),
        (bound(), None, false),
        (User { node_name: Lookup::Found("node2".into()), ..bound() }, Some(Place::Unknown), true),
        (User { node_name: Lookup::Found("node2".into()), pod_uid: Lookup::Absent, ..bound() }, Some(host.clone()), true),
        (User { node_name: Lookup::Found("node2".into()), ..bound() }, None, false),
        (User { pod_uid: Lookup::Absent, ..bound() }, Some(host.clone()), false),
        (User { pod_uid: Lookup::Unknown, ..bound() }, Some(host.clone()), false),
        (User { pod_uid: Lookup::Found(cut("pod")), ..bound() }, Some(host.clone()), false),
        (unbound(), Some(host), false),
        (unbound(), Some(Place::Pod { uid: "other-uid".into(), name: None }), false),
    ] {
        let build = scrape(user).status(403);
        let build = match place {
            Some(place) => build.called_from(place),
            None => build,
        };
        assert_eq!(judged(build.clone()).findings.contains(Finding::StolenToken), stolen, "{build:#?}");
    }
}

#[test]
fn the_api_servers_name_from_elsewhere() {
    // A request comes from 192.0.2.7.
    for (peers, name, remote, impostor) in [
        (vec!["192.0.2.7/32"], API_SERVER, Some("192.0.2.7:1"), false),
        (vec!["198.51.100.0/24", "192.0.2.0/28"], API_SERVER, Some("192.0.2.7:1"), false),
        (vec!["192.0.2.0/28"], API_SERVER, Some("[::ffff:192.0.2.7]:1"), false),
        (vec!["2001:db8::/32"], API_SERVER, Some("[2001:db8::1]:1"), false),
        (vec!["198.51.100.0/24"], API_SERVER, Some("192.0.2.7:1"), true),
        (vec!["192.0.2.8/29"], API_SERVER, Some("192.0.2.7:1"), true),
        (vec!["192.0.2.0/24"], API_SERVER, Some("[2001:db8::1]:1"), true),
        // Nothing is said about where it calls from.
        (vec![], API_SERVER, Some("192.0.2.7:1"), false),
        // The address was not seen.
        (vec!["198.51.100.0/24"], API_SERVER, None, false),
        // Nobody else is expected there.
        (vec!["198.51.100.0/24"], SERVICE_ACCOUNT, Some("192.0.2.7:1"), false),
    ] {
        let policy = Policy { api_server_peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(), ..Policy::new(NODE) };
        for (decision, status) in [(Decision::Allow, 101), (Decision::NoOpinion, 403)] {
            let call = request("GET", "/exec/default/web/main?command=id").user(user(name)).check("proxy", decision).status(status);
            let call = call.request(|request| request.remote = remote.map(|remote| remote.parse().unwrap()));
            let judgement = Court::new(policy.clone()).judge(&call.seen(), Stage::Ended, Timestamp::default(), None);
            let found = judgement.findings.contains(Finding::ApiServerImpostor);
            assert_eq!(found, impostor, "{name} from {remote:?}, peers {peers:?}, {status}");
        }
    }
}

#[test]
fn ids_bits_and_severities() {
    let all: Findings = Finding::ALL.into_iter().collect();
    assert_eq!(all.iter().collect::<Vec<_>>(), Finding::ALL);
    let mut order: Vec<_> = Finding::ALL.iter().map(|finding| finding.severity()).collect();
    order.sort_by(|a, b| b.cmp(a));
    assert_eq!(order, Finding::ALL.map(Finding::severity), "the worst first");
    for finding in Finding::ALL {
        let mut rest = all;
        rest.remove(finding);
        assert!(!rest.contains(finding) && rest.iter().count() == Finding::ALL.len() - 1);
        assert_eq!(all.minus(rest).iter().collect::<Vec<_>>(), [finding]);
    }
}
