//! From a row and a caller to the events that must be written, by what the kubelet's documents and source say, without the agent's code.

use serde_json::{Map, Value, json};

use crate::people::{Caller, GET_PROXY, People, Right};
use crate::row::{Kind, Object, Ran, Row};

/// What stands for the process that sent the requests.
pub(crate) const CLIENT: &str = "this test";

/// What is to be seen of one request.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The status that the client gets.
    pub(crate) code: u16,
    /// The events, in order, without times, the id and the caller's process.
    pub(crate) events: Vec<Value>,
    /// What they may be instead where the request took 300 ms: it is then taken to run before its answer or its end is seen.
    pub(crate) if_slow: Option<Vec<Value>>,
    /// They may be that at any speed.
    pub(crate) or_else: bool,
}

/// The course of the authorization.
struct Course {
    /// Each question with its answer.
    checks: Vec<(&'static str, bool)>,
    access: &'static str,
    code: u16,
}

/// The events of this row when this caller sends it.
pub(crate) fn expect(row: &Row, caller: Caller, people: &People, user_agent: &str, address: &str) -> Expected {
    let course = course(row, caller);
    let event = |stage: &str, code: Option<u16>, findings: &str| {
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "stage": stage,
            "requestURI": row.target,
            "verb": row.verb(),
            "sourceIPs": [address],
            "userAgent": user_agent,
            "objectRef": object(row, &course),
            "annotations": annotations(row, caller, &course, findings),
        });
        if !course.checks.is_empty() {
            event["user"] = people.user(caller).expect("whoever is asked about is known");
        }
        if let Some(code) = code {
            event["responseStatus"] = json!({"metadata": {}, "code": code});
        }
        event
    };
    let let_in = course.checks.last().is_some_and(|(_, allowed)| *allowed);
    let found = findings(row, caller, &course, let_in);
    let complete = event("ResponseComplete", Some(course.code), &found);
    let started = || event("ResponseStarted", None, "");
    let runs = |code| event("ResponseStarted", code, executed(caller));
    let (events, if_slow) = match row.kind {
        Kind::Exec(_) if let_in && caller == Caller::ApiServer => (vec![started(), complete], None),
        Kind::Exec(ran) if let_in => {
            let slow = vec![started(), runs(None), complete.clone()];
            match ran {
                Ran::Answered => (vec![started(), runs(Some(101)), complete], Some(slow)),
                Ran::Lasting => (slow, None),
                Ran::Briefly | Ran::Whenever | Ran::Not => (vec![started(), complete], Some(slow)),
            }
        }
        _ => (vec![complete], None),
    };
    Expected { code: course.code, events, if_slow, or_else: row.kind == Kind::Exec(Ran::Whenever) }
}

fn course(row: &Row, caller: Caller) -> Course {
    if row.asks.is_empty() {
        return Course { checks: Vec::new(), access: "unchecked", code: row.code };
    }
    if !caller.is_known() {
        return Course { checks: Vec::new(), access: "unauthenticated", code: 401 };
    }
    let mut checks = Vec::new();
    for &subresource in &row.asks {
        let allowed = caller.may(row.verb(), subresource);
        checks.push((subresource, allowed));
        if allowed {
            break;
        }
    }
    let access = match (row.asks.as_slice(), checks.as_slice()) {
        (_, [.., (_, false)]) => "denied",
        (["proxy"], _) => "proxy-only",
        ([_], _) => "single",
        (_, [(_, true)]) => "fine-grained",
        _ => "fallback",
    };
    Course { code: if access == "denied" { 403 } else { row.code }, checks, access }
}

fn object(row: &Row, course: &Course) -> Value {
    let mut object = match &row.object {
        Object::Node(otherwise) => {
            let subresource = course.checks.last().map_or(*otherwise, |(asked, _)| *asked);
            json!({"resource": "nodes", "name": "node1", "apiVersion": "v1", "subresource": subresource})
        }
        Object::Pod { name, uid, subresource } => {
            json!({"resource": "pods", "namespace": "default", "name": name, "uid": uid, "apiVersion": "v1", "subresource": subresource})
        }
    };
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| value != "");
    }
    object
}

fn findings(row: &Row, caller: Caller, course: &Course, let_in: bool) -> String {
    let by_the_api_server = caller == Caller::ApiServer;
    let served = let_in && course.code < 400;
    let found = match row.kind {
        _ if course.access == "fallback" => "nodes-proxy-fallback",
        Kind::Exec(Ran::Answered | Ran::Briefly | Ran::Lasting | Ran::Whenever) if let_in && !by_the_api_server => executed(caller),
        Kind::Exec(_) if !by_the_api_server => "exec-attempt",
        Kind::Logs if served && !by_the_api_server => "unlogged-log-read",
        Kind::Debug if served && !by_the_api_server => "debug-access",
        Kind::Checkpoint if served && !by_the_api_server => "checkpoint",
        _ => "",
    };
    found.to_owned()
}

/// What is wrong with a call that runs. Whoever has `get` and no `create` took what the API server would not have given.
fn executed(caller: Caller) -> &'static str {
    if caller == Caller::With(GET_PROXY) { "unlogged-exec,verb-bypass" } else { "unlogged-exec" }
}

/// The label of the endpoint that a path belongs to.
fn endpoint(target: &str) -> &'static str {
    const LABELS: [(&str, &str); 22] = [
        ("exec", "exec"),
        ("attach", "attach"),
        ("run", "run"),
        ("portForward", "portForward"),
        ("containerLogs", "containerLogs"),
        ("checkpoint", "checkpoint"),
        ("allocatedPods", "allocatedPods"),
        ("pods", "pods"),
        ("runningpods", "runningpods"),
        ("stats", "stats"),
        ("metrics/cadvisor", "metrics/cadvisor"),
        ("metrics/resource", "metrics/resource"),
        ("metrics/probes", "metrics/probes"),
        ("metrics/slis", "metrics/slis"),
        ("metrics", "metrics"),
        ("logs", "logs"),
        ("healthz", "healthz"),
        ("configz", "configz"),
        ("statusz", "statusz"),
        ("flagz", "flagz"),
        ("debug/pprof", "debug/pprof"),
        ("debug/flags/v", "debug/flags"),
    ];
    let path = target.strip_prefix("http://elsewhere").unwrap_or(target).split('?').next().unwrap_or_default();
    // What rows write differently.
    let written = [("%65xec", "exec"), ("%61ttach", "attach"), ("%72un", "run"), ("%70ods", "pods"), ("exec%2f", "exec/")];
    let path = written.iter().fold(path.to_owned(), |path, (from, to)| path.replace(from, to));
    let under = |prefix: &str| {
        path.strip_prefix('/').and_then(|path| path.strip_prefix(prefix)).map(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    LABELS.iter().find(|(prefix, _)| under(prefix) == Some(true)).map_or("other", |(_, label)| label)
}

fn annotations(row: &Row, caller: Caller, course: &Course, findings: &str) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: String| all.insert(key.to_owned(), Value::String(value));
    put("kubewitness.dev/access", course.access.to_owned());
    put("kubewitness.dev/endpoint", endpoint(&row.target).to_owned());
    put("kubewitness.dev/node", "node1".to_owned());
    if matches!(course.access, "proxy-only" | "fallback") {
        // Nobody here has a finer right beside it, and a member of `system:masters` needs none.
        put(
            "kubewitness.dev/without-nodes-proxy",
            if caller == Caller::ApiServer { "allowed system:masters" } else { "denied" }.to_owned(),
        );
    }
    put("kubewitness.dev/transport", row.transport().to_owned());
    put("kubewitness.dev/caller", CLIENT.to_owned());
    if !findings.is_empty() {
        put("kubewitness.dev/findings", findings.to_owned());
    }
    if let Some((_, allowed)) = course.checks.last() {
        let verb = if row.verb().is_empty() { "\"\"" } else { row.verb() };
        let answer = |allowed: &bool| if *allowed { "allow" } else { "no-opinion" };
        let checks: Vec<_> = course.checks.iter().map(|(asked, allowed)| format!("{verb} nodes/{asked}={}", answer(allowed))).collect();
        put("kubewitness.dev/checks", checks.join(" "));
        put("authorization.k8s.io/decision", if *allowed { "allow" } else { "forbid" }.to_owned());
        let (reason, grant) = if *allowed { reason(caller) } else { (String::new(), None) };
        put("authorization.k8s.io/reason", reason);
        if let Some(grant) = grant {
            put("kubewitness.dev/granted-by", grant);
        }
    }
    Value::Object(all)
}

/// The authorizer's words for its yes, and the short form of them.
fn reason(caller: Caller) -> (String, Option<String>) {
    let Caller::With(right) = caller else { return (String::new(), Some("system:masters".to_owned())) };
    let name = Right::account(right);
    (
        format!(r#"RBAC: allowed by ClusterRoleBinding "{name}-binding" of ClusterRole "{name}-role" to ServiceAccount "{name}/default""#),
        Some(format!("ClusterRoleBinding/{name}-binding ClusterRole/{name}-role")),
    )
}
