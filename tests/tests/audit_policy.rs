//! Audit policies mean what they mean to the API server: its own code is asked the same.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use kubewitness::export::{
    audit::AuditStage,
    policy::{Attributes, Policy, Target},
};
use kubewitness_tests::{
    build::audit_policy,
    random::{Random, seed},
};
use serde_json::{Value, json};

const REQUESTS: usize = 8;

#[test]
fn decisions_are_those_of_the_api_server() {
    let seed = seed();
    let count = if std::env::var_os("KUBEWITNESS_LONG").is_some() { 20_000 } else { 2_000 };
    eprintln!("KUBEWITNESS_SEED={seed} asks about the same {count} policies again");
    let mut random = Random::new(seed);
    let questions: Vec<Value> = (0..count).map(|number| question(&mut random, number)).collect();
    let answers = asked(&questions);
    assert_eq!(answers.len(), questions.len());
    let (mut refused, mut recorded, mut compared) = (0, 0, 0);
    for (question, answer) in questions.iter().zip(&answers) {
        let text = question["policy"].as_str().expect("a text");
        let context = || format!("{text}\n{answer}\nKUBEWITNESS_SEED={seed}");
        let policy = match (Policy::parse(text), answer["error"].as_str()) {
            (Ok(policy), None) => policy,
            (Err(_), Some(_)) => {
                refused += 1;
                continue;
            }
            (ours, _) => panic!("{ours:?}, {}", context()),
        };
        for (request, theirs) in
            question["requests"].as_array().expect("a list").iter().zip(answer["decisions"].as_array().expect("a list"))
        {
            let attributes = attributes(request);
            let decision = policy.decide(&attributes);
            let mut stages: Vec<_> = decision.omit_stages.iter().map(|stage| stage.as_str()).collect();
            stages.sort_unstable();
            stages.dedup();
            let ours = json!({"level": format!("{:?}", decision.level), "omitStages": stages});
            assert_eq!(&ours, theirs, "{request}\n{}", context());
            compared += 1;
            recorded += usize::from(policy.records(&attributes, AuditStage::ResponseComplete));
        }
    }
    eprintln!("{refused} policies refused by both, {compared} decisions compared, {recorded} of them to record, no difference");
    // Policies that all refuse, or requests that none of them records, would compare nothing.
    assert!(refused > count / 20 && refused < count / 2, "{refused} of {count}");
    assert!(recorded > compared / 10 && recorded < compared * 9 / 10, "{recorded} of {compared}");
}

/// All lines to the API server's code, and its answers.
fn asked(questions: &[Value]) -> Vec<Value> {
    let program = audit_policy().build().expect("auditpolicy builds");
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("auditpolicy starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let lines: Vec<_> = questions.iter().map(Value::to_string).collect();
    // On a thread: both pipes would be full otherwise.
    let writer = thread::spawn(move || stdin.write_all(lines.join("\n").as_bytes()));
    let output = child.wait_with_output().expect("auditpolicy ends");
    writer.join().expect("the writer does not panic").expect("auditpolicy reads all");
    assert!(output.status.success());
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
}

fn attributes(request: &Value) -> Attributes<'_> {
    let text = |key: &str| request[key].as_str().unwrap_or_default();
    let target = match request["path"].as_str() {
        Some(path) => Target::Path(path),
        None => Target::Resource {
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        },
    };
    let groups = request["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Attributes { user: request["user"].as_str(), groups, verb: text("verb"), target }
}

/// The first is the default policy of the chart; it is put to the same requests.
fn question(random: &mut Random, number: usize) -> Value {
    let default = include_str!("../../deploy/helm/kubewitness/files/audit-policy.yaml");
    let policy = if number == 0 { default.to_owned() } else { policy(random) };
    let requests: Vec<_> = (0..if number == 0 { 1000 } else { REQUESTS }).map(|_| request(random)).collect();
    json!({"policy": policy, "requests": requests})
}

const USERS: [&str; 5] = ["jane", "joe", "system:serviceaccount:a:b", "system:anonymous", ""];
const GROUPS: [&str; 5] = ["dev", "ops", "system:authenticated", "kubewitness.dev:refused", ""];
const VERBS: [&str; 6] = ["get", "get", "create", "delete", "", "*"];
const RESOURCES: [&str; 6] = ["pods", "nodes", "pods", "nodes", "*", ""];
const SUBRESOURCES: [&str; 9] = ["", "exec", "log", "metrics", "proxy", "pods", "*", "proxy/x", "/"];
const NAMESPACES: [&str; 4] = ["", "default", "kube-system", "*"];
const NAMES: [&str; 4] = ["web", "node1", "", "*"];
const API_GROUPS: [&str; 5] = ["", "", "apps", "metrics.k8s.io", "*"];
const URLS: [&str; 9] = ["/metrics", "/metrics*", "/metrics/*", "/", "/*", "*", "/healthz", "/metrics/cadvisor", "/x-*"];
const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

fn request(random: &mut Random) -> Value {
    let mut request = json!({"verb": random.one(&VERBS)});
    if !random.once_in(6) {
        request["user"] = random.one(&USERS).into();
        request["groups"] = random.some(3, |random| random.one(&GROUPS)).into();
    }
    if random.once_in(4) {
        request["path"] = random.one(&[&URLS[..], &["", "/metricsx", "/metrics/"]].concat()).into();
    } else {
        for (key, words) in [("resource", &RESOURCES[..]), ("subresource", &SUBRESOURCES), ("namespace", &NAMESPACES), ("name", &NAMES)] {
            request[key] = random.one(words).into();
        }
        request["group"] = random.one(&["", "", "", "apps"]).into();
    }
    request
}

/// A policy as JSON, which is YAML. Most are ones that are to be taken.
fn policy(random: &mut Random) -> String {
    let mut policy = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": random.some(7, rule)});
    if random.once_in(3) {
        policy["omitStages"] = stages(random);
    }
    if random.once_in(5) {
        policy["omitManagedFields"] = random.once_in(2).into();
    }
    if random.once_in(50) {
        // Not an absent kind, which the API server forgives and the agent does not.
        let (key, value) = random.one(&[("kind", Some("PolicyList")), ("apiVersion", Some("audit.k8s.io/v2")), ("rules", None)]);
        policy[key] = value.into();
    }
    policy.to_string()
}

fn rule(random: &mut Random) -> Value {
    let mut rule = json!({"level": random.one(&["None", "Metadata", "Metadata", "Request", "RequestResponse"])});
    if random.once_in(100) {
        rule["level"] = random.one(&[Some(""), Some("metadata"), Some("All"), None]).into();
    }
    for (key, words, times) in [("users", &USERS[..], 4), ("userGroups", &GROUPS, 4), ("verbs", &VERBS, 3), ("namespaces", &NAMESPACES, 5)]
    {
        if random.once_in(times) {
            rule[key] = if random.once_in(20) { Value::Null } else { random.some(3, |random| random.one(words)).into() };
        }
    }
    if random.once_in(2) {
        rule["resources"] = random.some(2, resources).into();
    }
    let of_resources = rule.get("resources").is_some() || rule.get("namespaces").is_some();
    if random.once_in(if of_resources { 60 } else { 2 }) {
        let odd = random.once_in(30);
        rule["nonResourceURLs"] =
            random.some(2, |random| if odd { random.one(&["metrics", "", "/a*b", "/a**", "**"]) } else { random.one(&URLS) }).into();
    }
    if random.once_in(4) {
        rule["omitStages"] = stages(random);
    }
    rule
}

fn resources(random: &mut Random) -> Value {
    let mut resources = json!({});
    if !random.once_in(5) {
        let odd = ["v1/pods", "Apps", "-a", "a..b", "core/v1"];
        resources["group"] = if random.once_in(80) { random.one(&odd) } else { random.one(&API_GROUPS) }.into();
    }
    if !random.once_in(6) {
        resources["resources"] = random.some(3, resource).into();
    }
    if random.once_in(6) {
        resources["resourceNames"] = random.some(2, |random| random.one(&NAMES)).into();
    }
    resources
}

fn resource(random: &mut Random) -> String {
    let (resource, subresource) = (random.one(&RESOURCES), random.one(&SUBRESOURCES));
    if subresource.is_empty() && !random.once_in(10) { resource.to_owned() } else { format!("{resource}/{subresource}") }
}

fn stages(random: &mut Random) -> Value {
    let odd = random.once_in(40);
    random.some(2, |random| if odd { random.one(&["panic", "", "All"]) } else { random.one(&STAGES) }).into()
}
