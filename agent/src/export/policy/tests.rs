//! Rules against requests, and texts that are no policy. `tests/tests/audit_policy.rs` compares with the API server's code.

use std::sync::Arc;

use super::*;
use crate::export::Clock;
use crate::export::audit::{Auditor, Commands};
use crate::judge::testing::*;
use crate::judge::{Judge, Policy as Judging};
use crate::observation::{Decision as Said, Timestamp};

fn policy(rules: &str) -> Policy {
    Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}")).unwrap()
}

fn exec() -> Attributes<'static> {
    let target = Target::Resource { group: "", resource: "pods", subresource: "exec", namespace: "default", name: "web" };
    Attributes { user: Some("jane"), groups: vec!["dev", "system:authenticated"], verb: "get", target }
}

fn asking(target: Target<'static>) -> Attributes<'static> {
    Attributes { target, ..exec() }
}

fn of_nodes(subresource: &'static str) -> Target<'static> {
    Target::Resource { group: "", resource: "nodes", subresource, namespace: "", name: "node1" }
}

#[test]
fn each_part_of_a_rule_must_match() {
    let pods = |words: &str| format!("resources: [{{group: \"\", resources: [{words}]}}]");
    let path = asking(Target::Path("/nothing/here"));
    let unknown = Attributes { user: None, groups: vec![], ..exec() };
    for (part, request, expected) in [
        (String::new(), &exec(), true),
        ("users: [jane, joe]".into(), &exec(), true),
        ("users: [joe]".into(), &exec(), false),
        ("users: [\"\"]".into(), &unknown, false),
        ("users: []".into(), &unknown, true),
        ("users:".into(), &unknown, true),
        ("userGroups: [ops, dev]".into(), &exec(), true),
        ("userGroups: [ops]".into(), &exec(), false),
        ("userGroups: [dev]".into(), &unknown, false),
        ("users: [jane], userGroups: [ops]".into(), &exec(), false),
        ("verbs: [create, get]".into(), &exec(), true),
        ("verbs: [\"*\"]".into(), &exec(), false),
        ("namespaces: [default]".into(), &exec(), true),
        ("namespaces: [kube-system]".into(), &exec(), false),
        ("namespaces: [\"\"]".into(), &asking(of_nodes("metrics")), true),
        ("namespaces: [\"\"]".into(), &path, false),
        (pods("pods/exec"), &exec(), true),
        (pods("pods/log, pods/exec"), &exec(), true),
        (pods("pods"), &exec(), false),
        (pods("exec"), &exec(), false),
        (pods("pods/*"), &exec(), true),
        (pods("nodes/*"), &asking(of_nodes("")), true),
        (pods("pods/*"), &asking(of_nodes("exec")), false),
        (pods("\"*/exec\""), &exec(), true),
        (pods("\"*/log\""), &exec(), false),
        (pods("\"*/\""), &asking(of_nodes("")), false),
        (pods("\"*\""), &exec(), true),
        (pods("\"*/*\""), &exec(), false),
        (pods(""), &exec(), true),
        (pods("nodes"), &asking(of_nodes("")), true),
        (pods("nodes"), &asking(of_nodes("metrics")), false),
        ("resources: [{group: \"*\"}]".into(), &exec(), true),
        ("resources: [{}]".into(), &exec(), true),
        ("resources: [{group: apps}]".into(), &exec(), false),
        ("resources: [{group: apps}, {resources: [pods/exec]}]".into(), &exec(), true),
        ("resources: [{}]".into(), &path, false),
        ("resources: [{resources: [pods/exec], resourceNames: [web]}]".into(), &exec(), true),
        ("resources: [{resources: [pods/exec], resourceNames: [other]}]".into(), &exec(), false),
        ("nonResourceURLs: [\"*\"]".into(), &exec(), false),
        ("nonResourceURLs: [\"*\"]".into(), &path, true),
        ("nonResourceURLs: [/nothing*]".into(), &path, true),
        ("nonResourceURLs: [/nothing]".into(), &path, false),
        ("nonResourceURLs: [/nothing/here]".into(), &path, true),
        (String::new(), &path, true),
    ] {
        let text = format!("- {{level: Metadata, {part}}}");
        assert_eq!(policy(&text).records(request, AuditStage::ResponseComplete), expected, "{text} {request:?}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = "- {level: None, users: [jane], verbs: [list]}\n- {level: Request, users: [jane], omitStages: [Panic]}\n- level: None";
    let policy = Policy::parse(&format!(
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nmetadata: {{name: x}}\nomitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n{rules}"
    ));
    let policy = policy.unwrap();
    let expected = Decision { level: Level::Request, omit_stages: vec![AuditStage::RequestReceived, AuditStage::Panic] };
    assert_eq!(policy.decide(&exec()), expected);
    let of_stage = AuditStage::WRITTEN.map(|stage| policy.records(&exec(), stage));
    assert_eq!(of_stage, [true, true, false]);
    assert!(!policy.records(&Attributes { user: Some("joe"), ..exec() }, AuditStage::ResponseComplete));
}

#[test]
fn what_no_rule_matches_is_not_recorded() {
    let policy = policy("- {level: Metadata, users: [joe]}");
    assert_eq!(policy.decide(&exec()), Decision { level: Level::None, omit_stages: vec![] });
}

#[test]
fn what_is_no_policy_says_where_and_what_to_do() {
    let good = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n";
    assert!(Policy::parse(good).is_ok());
    for (text, line, said) in [
        (String::new(), None, ""),
        ("- level: None".into(), Some(1), ""),
        (good.replace("Policy", "PolicyList"), None, "write `kind: Policy`"),
        (good.replace("/v1", "/v1beta1"), None, "`apiVersion: audit.k8s.io/v1`"),
        (good.replace("- level: Metadata", ""), None, "it has no rules"),
        (good.replace("Metadata", "Metadat"), Some(4), "Metadat"),
        (good.replace("level: Metadata", "users: [jane]"), Some(4), "level"),
        (format!("{good}  user: [jane]\n"), Some(5), "user"),
        (format!("{good}omitStage: [Panic]\n"), Some(5), "omitStage"),
        (format!("{good}omitStages: [Panik]\n"), Some(5), "Panik"),
        (format!("{good}  users: jane\n"), Some(5), ""),
        (format!("{good}  level: None\n"), Some(5), "level"),
        (format!("{good}- level: None\n  nonResourceURLs: [/a]\n  namespaces: [a]\n"), Some(5), "rule 2: it has nonResourceURLs beside"),
        (format!("{good}  nonResourceURLs: [metrics]\n"), Some(4), "must begin with /"),
        (format!("{good}  nonResourceURLs: [\"/a*b\"]\n"), Some(4), "may have one *"),
        (format!("{good}  nonResourceURLs: [\"/a**\"]\n"), Some(4), "may have one *"),
        (format!("{good}  nonResourceURLs: [\"\"]\n"), Some(4), "must begin with /"),
        (format!("{good}  resources: [{{group: apps/v1}}]\n"), Some(4), "is no API group"),
        (format!("{good}  resources: [{{group: \"\", resourceNames: [a]}}]\n"), Some(4), "resourceNames without resources"),
        (format!("{good}  resources: [pods]\n"), Some(5), ""),
        (format!("{good}---\n{good}"), None, ""),
    ] {
        let error = Policy::parse(&text).unwrap_err();
        assert!(line.is_none_or(|line| error.line == Some(line)) && error.text.contains(said), "{text}\n{error:?}");
    }
}

#[test]
fn the_author_is_told_what_means_less_than_it_seems() {
    assert_eq!(policy("- level: Metadata\n  nonResourceURLs: [/api*, \"*\"]").warnings(), Vec::<String>::new());
    let warnings = policy("- {level: Request}\n- {level: RequestResponse}\n- {level: None, nonResourceURLs: [/metrics*, /x]}").warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("2 of its rules") && warnings[1].starts_with("it names /metrics* "), "{warnings:?}");
}

/// The default policy of the chart.
const DEFAULT: &str = include_str!("../../../../deploy/helm/kubewitness/files/audit-policy.yaml");

fn recorded(policy: &Policy, build: Build) -> bool {
    let auditor = Auditor::new(uuid::Uuid::from_u128(7), NODE, Commands::Full);
    let verdict = Judge::new(Judging::new(NODE), 8).ended(build.seen());
    let event = auditor.event(&verdict, Clock::new(Timestamp(1), "2026-03-04T05:06:07Z".parse().unwrap()));
    policy.records(&Attributes::of(&event, &verdict), event.stage)
}

#[test]
fn the_default_policy_leaves_out_routine_and_nothing_else() {
    let policy = Policy::parse(DEFAULT).unwrap();
    assert_eq!(policy.warnings(), Vec::<String>::new());
    let get = |path: &str, right: &str| request("GET", path).check(right, Said::Allow).status(200);
    let fallback = |path: &str, finer: &str| request("GET", path).check(finer, Said::NoOpinion).check("proxy", Said::Allow).status(200);
    let routine = vec![
        get("/metrics", "metrics"),
        get("/metrics/cadvisor", "metrics"),
        get("/metrics/probes", "metrics"),
        get("/stats/summary", "stats"),
        get("/healthz", "healthz"),
        get("/pods", "pods"),
        get("/runningpods/", "pods"),
    ];
    let others = vec![
        fallback("/pods", "pods"),
        fallback("/healthz", "healthz"),
        get("/configz", "configz"),
        get("/logs/", "log"),
        get("/containerLogs/a/b/c", "proxy"),
        get("/debug/pprof/heap", "proxy"),
        get("/exec/a/b/c", "proxy"),
        get("/exec/a/b/c", "proxy").by(API_SERVER),
        request("GET", "/exec/a/b/c").by(API_SERVER).upgrade("websocket").check("proxy", Said::Allow).hijacked(),
        request("POST", "/run/a/b/c").check("proxy", Said::Allow).status(200),
        request("POST", "/metrics").check("metrics", Said::Allow).status(405),
        request("GET", "/metrics").status(401),
        request("GET", "/metrics").check("metrics", Said::NoOpinion).status(403),
        request("GET", "/pods").check("pods", Said::NoOpinion).check("proxy", Said::Deny).status(403),
        request("GET", "/metrics").check("metrics", Said::Error).status(500),
        request("GET", "/metrics").by("system:anonymous").check("metrics", Said::Allow).status(200),
        request("GET", "/metrics").request(|request| request.read_only = true).status(200),
        get("/metrics", "metrics").gap(crate::exchange::Gap::Lost),
        get("/metrics", "metrics").called_from_pod("attacker-uid"),
        request("GET", "/nothing").status(404),
    ];
    for build in routine {
        assert!(!recorded(&policy, build.clone()), "{build:#?}");
    }
    for build in others {
        assert!(recorded(&policy, build.clone()), "{build:#?}");
    }
}

#[test]
fn groups_tell_what_the_format_has_no_word_for() {
    let only = |group: &str| policy(&format!("- {{level: Metadata, userGroups: [\"kubewitness.dev:{group}\"]}}"));
    let scrape = || request("GET", "/metrics").check("metrics", Said::Allow).status(200);
    let attack = || request("GET", "/exec/a/b/c").upgrade("websocket").check("proxy", Said::Allow).hijacked();
    let refused = || request("GET", "/metrics").status(401);
    let fallback = || request("GET", "/pods").check("pods", Said::NoOpinion).check("proxy", Said::Allow).status(200);
    let logs = || request("GET", "/logs/").check("log", Said::Allow).status(200);
    for (group, build) in [
        ("refused", refused()),
        ("critical", attack()),
        ("warning", logs()),
        ("info", fallback()),
        ("partial", scrape().gap(crate::exchange::Gap::Lost)),
    ] {
        assert!(recorded(&only(group), build), "{group}");
        assert!(!recorded(&only(group), scrape()), "{group}");
    }
    // Whoever signs certificates cannot make an event disappear by such a group.
    let pretender =
        scrape().change_check(|check| Arc::make_mut(&mut check.user).groups = vec!["kubewitness.dev:critical".into(), "mine".into()]);
    assert!(!recorded(&only("critical"), pretender.clone()));
    assert!(recorded(&policy("- {level: Metadata, userGroups: [mine]}"), pretender));
}

#[test]
fn only_paths_that_no_kubelet_serves_are_no_resources() {
    let urls = policy("- {level: Metadata, nonResourceURLs: [\"*\"]}");
    assert!(recorded(&urls, request("GET", "/nothing").status(404)));
    assert!(!recorded(&urls, request("GET", "/metrics").check("metrics", Said::Allow).status(200)));
    assert!(!recorded(&urls, request("GET", "/pods").without_request().check("pods", Said::Allow).status(200)));
}
