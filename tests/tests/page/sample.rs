//! Made-up events of a cluster in the middle of its migration, the same at each run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use kubewitness::{
    manifest::Manifests,
    report::{Cluster, Collector, Origin, Report, html::html},
};
use serde_json::{Value, json};

/// One kind of call that an identity makes.
struct Call {
    method: &'static str,
    uri: &'static str,
    endpoint: &'static str,
    access: &'static str,
    finding: &'static str,
    code: u16,
    every: SignedDuration,
    /// In thousandths of the window: from when to when.
    during: (i64, i64),
}

/// The window's length.
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
const NODES: usize = 6;

fn call(uri: &'static str, endpoint: &'static str, access: &'static str, minutes: i64) -> Call {
    let finding = match access {
        "fallback" => "nodes-proxy-fallback",
        "proxy-only" if endpoint == "containerLogs" => "unlogged-log-read",
        "proxy-only" if endpoint == "exec" => "unlogged-exec,verb-bypass",
        _ => "",
    };
    let code = match access {
        "denied" => 403,
        _ if endpoint == "exec" => 101,
        _ => 200,
    };
    Call { method: "get", uri, endpoint, access, finding, code, every: SignedDuration::from_mins(minutes), during: (0, 1000) }
}

impl Call {
    fn during(self, from: i64, to: i64) -> Self {
        Self { during: (from, to), ..self }
    }
}

/// Who does what: 30 identities, with the API server.
fn callers() -> Vec<(String, Vec<Call>)> {
    let sa = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
    let scraper = || vec![call("/metrics", "metrics", "single", 30), call("/metrics/cadvisor", "metrics/cadvisor", "single", 30)];
    let legacy = || {
        vec![
            call("/pods", "pods", "fallback", 45),
            call("/stats/summary", "stats", "single", 60),
            call("/healthz", "healthz", "fallback", 90),
        ]
    };
    let moved = |at| {
        vec![
            call("/pods", "pods", "fallback", 40).during(0, at),
            call("/pods", "pods", "fine-grained", 40).during(at, 1000),
            call("/metrics/resource", "metrics/resource", "single", 60),
        ]
    };
    let logs = || {
        vec![
            call("/containerLogs/web/frontend-7d9c/main?tailLines=100&follow=true", "containerLogs", "proxy-only", 75),
            call("/pods", "pods", "fallback", 120),
        ]
    };
    let mut all = vec![
        (
            "kube-apiserver-kubelet-client".to_owned(),
            vec![call("/containerLogs/web/frontend-7d9c/main", "containerLogs", "proxy-only", 200)],
        ),
        (sa("monitoring", "prometheus-k8s"), scraper()),
        (sa("monitoring", "node-agent"), legacy()),
        (sa("monitoring", "opencost"), moved(420)),
        (sa("kube-system", "metrics-server"), vec![call("/metrics/resource", "metrics/resource", "single", 20)]),
        (sa("logging", "log-shipper"), logs()),
        (sa("logging", "vector"), logs()),
        (
            sa("security", "scanner"),
            vec![
                call("/pods", "pods", "fallback", 30),
                call("/configz", "configz", "fallback", 360),
                call("/runningpods/", "runningpods", "fallback", 360),
            ],
        ),
        (
            sa("support", "console"),
            vec![
                call("/exec/shop/checkout-5f6b/main?command=sh&input=1&output=1&tty=1", "exec", "proxy-only", 1300).during(120, 860),
                call("/pods", "pods", "fallback", 300),
            ],
        ),
        (
            "jane@example.com".to_owned(),
            vec![
                call("/exec/shop/checkout-5f6b/main?command=env&output=1", "exec", "denied", 2500),
                call("/debug/pprof/heap", "debug/pprof", "proxy-only", 4000),
            ],
        ),
        ("system:anonymous".to_owned(), vec![call("/pods", "pods", "denied", 600)]),
    ];
    all.extend((1..=7).map(|number| (sa(&format!("team-{number}"), "exporter"), scraper())));
    all.extend((1..=6).map(|number| (sa(&format!("team-{number}"), "sidecar"), moved(number * 130))));
    all.extend((7..=9).map(|number| (sa(&format!("team-{number}"), "inventory"), legacy())));
    all.extend((1..=3).map(|number| (sa("batch", &format!("collector-{number}")), vec![call("/stats/summary", "stats", "single", 240)])));
    all
}

/// All events, in the order of their times.
fn events(callers: &[(String, Vec<Call>)]) -> Vec<u8> {
    let begin: Timestamp = "2026-11-02T00:00:00Z".parse().expect("a time");
    let mut lines = BTreeMap::new();
    let mut number = 0_u64;
    for (place, (user, calls)) in callers.iter().enumerate() {
        for (which, call) in calls.iter().enumerate() {
            let offset = SignedDuration::from_secs(97 * i64::try_from(place + 7 * which).expect("few"));
            let mut time = begin + WEEK * i32::try_from(call.during.0).expect("few") / 1000 + offset;
            let end = begin + WEEK * i32::try_from(call.during.1).expect("few") / 1000;
            while time < end {
                number += 1;
                // By night there is less to do.
                let night = !(6..20).contains(&(time.as_second() / 3600 % 24));
                lines.insert((time, number), event(number, user, call, time).to_string() + "\n");
                time += call.every * if night { 3 } else { 1 };
            }
        }
    }
    lines.into_values().collect::<String>().into_bytes()
}

fn event(number: u64, user: &str, call: &Call, time: Timestamp) -> Value {
    let node = format!("worker-{}", number % NODES as u64 + 1);
    let right = if call.access == "single" { call.endpoint.split('/').next().unwrap_or_default() } else { call.endpoint };
    let checks = match call.access {
        "fallback" => format!("get nodes/{right}=no-opinion get nodes/proxy=allow"),
        "proxy-only" => "get nodes/proxy=allow".to_owned(),
        "denied" => format!("get nodes/{right}=no-opinion get nodes/proxy=no-opinion"),
        _ => format!("get nodes/{right}=allow"),
    };
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
        "auditID": format!("0c1d6a51-0000-4000-8000-{number:012}"), "requestURI": call.uri, "verb": call.method,
        "user": {"username": user, "groups": ["system:authenticated"]}, "sourceIPs": [format!("10.0.{}.7", number % 200)], "userAgent": "Go-http-client/2.0",
        "objectRef": {"resource": "nodes", "name": node, "apiVersion": "v1", "subresource": "proxy"},
        "responseStatus": {"metadata": {}, "code": call.code},
        "requestReceivedTimestamp": time.to_string(), "stageTimestamp": (time + SignedDuration::from_millis(3)).to_string(),
        "annotations": {
            "authorization.k8s.io/decision": if call.access == "denied" { "forbid" } else { "allow" },
            "kubewitness.dev/access": call.access, "kubewitness.dev/endpoint": call.endpoint, "kubewitness.dev/node": node,
            "kubewitness.dev/checks": checks, "kubewitness.dev/transport": if call.code == 101 { "websocket" } else { "plain" }
        }
    });
    if !call.finding.is_empty() && user != "kube-apiserver-kubelet-client" {
        event["annotations"]["kubewitness.dev/findings"] = call.finding.into();
    }
    event
}

/// RBAC objects that give `nodes/proxy` to those who rest on it, and to somebody who does not use it.
fn rbac(holders: &[String]) -> String {
    let role = |name: &str, rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let subject = |user: &String| match user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}),
        None => json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}),
    };
    let binding = |name: &str, role: &str, subjects: Vec<Value>| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects})
    };
    let of = |resources: &[&str], verbs: &[&str]| json!({"apiGroups": [""], "resources": resources, "verbs": verbs});
    let mut documents = vec![
        role("nodes-proxy", json!([of(&["nodes/proxy", "nodes/stats", "nodes/metrics"], &["get"])])),
        role("metrics-reader", json!([of(&["nodes/metrics", "nodes/stats"], &["get"])])),
        role("support-console", json!([of(&["pods", "nodes/proxy"], &["get", "list"]), of(&["pods/log"], &["get"])])),
        role("system:kubelet-api-admin", json!([of(&["nodes/proxy"], &["*"])])),
        binding("kube-apiserver", "system:kubelet-api-admin", vec![subject(&"kube-apiserver-kubelet-client".to_owned())]),
        binding(
            "support-console",
            "support-console",
            vec![
                subject(&"system:serviceaccount:support:console".to_owned()),
                json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "on-call"}),
            ],
        ),
        binding("legacy-spare", "nodes-proxy", vec![subject(&"system:serviceaccount:monitoring:spare".to_owned())]),
    ];
    for (number, user) in holders.iter().enumerate() {
        documents.push(binding(&format!("nodes-proxy-{number}"), "nodes-proxy", vec![subject(user)]));
    }
    documents.iter().flat_map(|document| ["---\n".to_owned(), plain(&document.to_string()), "\n".to_owned()]).collect()
}

/// JSON in ASCII: YAML takes no other text for what some names hold.
fn plain(json: &str) -> String {
    let mut text = String::new();
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => text.push(char::from(byte)),
            _ => write!(text, "\\u{unit:04x}").expect("a text takes all"),
        }
    }
    text
}

/// The report on these events, with the nodes of a cluster of which one has no agent.
fn report(events: &[u8], rbac: &str) -> Report {
    let mut collector = Collector::new();
    collector.begin("events.jsonl");
    collector.feed(events);
    collector.end();
    let observed = collector.finish();
    let mut manifests = Manifests::default();
    manifests.take("rbac.yaml", rbac.as_bytes());
    assert!(manifests.problems.is_empty(), "{:?}", manifests.problems);
    let nodes: BTreeMap<String, Option<String>> =
        (1..=NODES + 1).map(|node| (format!("worker-{node}"), Some("v1.36.3".to_owned()))).collect();
    let cluster =
        Cluster { source: "the cluster (v1.36.3)".to_owned(), snapshot: manifests.objects().snapshot, is_whole: true, nodes: Some(nodes) };
    let api_server_users = vec!["kube-apiserver-kubelet-client".to_owned()];
    let origin = Origin { source: "/var/log/kubewitness".to_owned(), api_server_log: false, api_server_users };
    Report::new(&observed, &origin, Some(&cluster))
}

fn page(report: &Report) -> String {
    html(report, "2026-11-09T08:00:00Z".parse().expect("a time"))
}

/// A week of 30 identities on six nodes.
pub(crate) fn week() -> String {
    let callers = callers();
    let holders: Vec<String> = callers
        .iter()
        .filter(|(user, calls)| {
            user.contains("serviceaccount") && !user.contains("support") && calls.iter().any(|call| call.access == "fallback")
        })
        .map(|(user, _)| user.clone())
        .filter(|user| !user.ends_with("team-1:sidecar") && !user.ends_with("team-2:sidecar"))
        .collect();
    page(&report(&events(&callers), &rbac(&holders)))
}

/// The same calls by each of these, who all hold `nodes/proxy`.
pub(crate) fn by(users: &[String]) -> String {
    let calls = || {
        vec![
            call("/pods", "pods", "fallback", 2000),
            call("/exec/web/frontend/main?command=%3Cscript%3E&x=\"><img src=x onerror=alert(1)>", "exec", "proxy-only", 8000),
            call("/stats/summary", "stats", "single", 4000),
        ]
    };
    let callers: Vec<(String, Vec<Call>)> = users.iter().map(|user| (user.clone(), calls())).collect();
    page(&report(&events(&callers), &rbac(users)))
}

/// Very many, each with a few calls a day.
pub(crate) fn crowd(size: usize) -> String {
    let users: Vec<String> = (0..size).map(|number| format!("system:serviceaccount:team-{:03}:agent-{number:05}", number % 500)).collect();
    let calls = || {
        vec![
            call("/pods", "pods", "fallback", 2500),
            call("/metrics", "metrics", "single", 5000),
            call("/stats/summary", "stats", "single", 5000),
        ]
    };
    let callers: Vec<(String, Vec<Call>)> = users.iter().map(|user| (user.clone(), calls())).collect();
    page(&report(&events(&callers), &rbac(&users)))
}
