//! The rows of everything that is asked and answered: all endpoints but exec, attach, run and portForward.

use crate::people::{Caller, GET_PROXY, right};
use crate::row::{Kind, Object, Row};

/// The rows for a kubelet of release 1.`minor`.
pub(crate) fn rows(minor: u32) -> Vec<Row> {
    let mut rows = finer_rights(minor);
    rows.extend(own_rights(minor));
    rows.extend(proxy_alone());
    rows.extend(unchecked(minor));
    rows.extend(methods(minor));
    rows
}

/// So many requests that cost the kubelet little, by all kinds of callers in turn.
pub(crate) fn many(minor: u32, count: usize) -> Vec<Row> {
    let rows = [
        Row::new("GET", "/healthz", &before_proxy(minor, "healthz")).object(Object::Node("healthz")).and_by_a_reader(),
        Row::new("GET", "/debug/pprof/cmdline", &["proxy"]).kind(Kind::Debug).and_by_a_reader(),
        Row::new("POST", "/containerLogs/default/web/main", &["proxy"])
            .object(Object::Pod { name: "web", uid: String::new(), subresource: "log" })
            .kind(Kind::Logs)
            .code(405)
            .by(&[Caller::With(right("proxy")), Caller::Powerless]),
        Row::new("DELETE", "/stats/summary", &["stats"]).code(405),
        Row::unchecked("GET", "/nothing", 404).by(&[Caller::With(right("metrics")), Caller::Nobody]),
    ];
    let single: Vec<_> = rows.iter().flat_map(|row| row.callers.iter().map(|caller| row.clone().by(&[*caller]))).collect();
    single.iter().cycle().take(count).cloned().collect()
}

/// The questions where a finer right is asked for first, since 1.33.
fn before_proxy(minor: u32, finer: &'static str) -> Vec<&'static str> {
    if minor >= 33 { vec![finer, "proxy"] } else { vec!["proxy"] }
}

fn finer_rights(minor: u32) -> Vec<Row> {
    let row = |target: &str, finer| Row::new("GET", target, &before_proxy(minor, finer)).object(Object::Node(finer));
    let mut rows = vec![
        row("/pods", "pods").and_by_a_reader(),
        row("/pods/", "pods"),
        row("/%70ods", "pods"),
        row("http://elsewhere/pods?pretty=1", "pods"),
        row("/pods/x", "pods").code(404),
        row("/runningpods/", "pods"),
        row("/healthz", "healthz").and_by_a_reader(),
        row("/healthz/ping", "healthz"),
        row("/healthz/log", "healthz"),
        row("/healthz/syncloop", "healthz"),
        row("/configz", "configz").and_by_a_reader(),
    ];
    let pod = Object::Pod { name: "web", uid: String::new(), subresource: "" };
    if minor >= 37 {
        rows.extend([
            row("/allocatedPods", "pods"),
            row("/allocatedPods/default/web", "pods").object(pod),
            row("/allocatedPods/default/nobody", "pods")
                .object(Object::Pod { name: "nobody", uid: String::new(), subresource: "" })
                .code(404),
        ]);
    } else {
        rows.push(Row::unchecked("GET", "/allocatedPods", 404).object(Object::Node("pods")));
        rows.push(Row::unchecked("GET", "/allocatedPods/default/web", 404).object(pod));
    }
    rows
}

fn own_rights(minor: u32) -> Vec<Row> {
    let row = |target: &str, own| Row::new("GET", target, &[own]);
    let checkpoint = |pod, container: &str| {
        let target = format!("/checkpoint/default/{pod}/{container}");
        let object = Object::Pod { name: pod, uid: String::new(), subresource: "checkpoint" };
        Row::new("POST", target, &["checkpoint"]).object(object).kind(Kind::Checkpoint)
    };
    let mut rows = vec![
        row("/metrics", "metrics").and_by_a_reader(),
        row("/metrics/cadvisor", "metrics"),
        row("/metrics/resource", "metrics"),
        row("/metrics/probes", "metrics"),
        row("/metrics/slis", "metrics"),
        row("/stats/summary", "stats"),
        Row::new("POST", "/stats/summary", &["stats"]).by(&[Caller::With(right("stats")), Caller::With(right("proxy"))]),
        row("/stats/nothing", "stats").code(404),
        row("/logs/", "log").kind(Kind::Logs),
        row("/logs/no-such-file", "log").kind(Kind::Logs).code(404),
    ];
    if minor >= 30 {
        // The runtime needs CRIU, which is not there.
        rows.extend([checkpoint("web", "main").code(500), checkpoint("web", "nobody").code(404), checkpoint("nobody", "main").code(404)]);
    } else {
        // The gate ContainerCheckpoint is off before 1.30.
        rows.push(Row { asks: Vec::new(), ..checkpoint("web", "main").code(404) });
    }
    // The comment in the source that gives /flagz a fallback is wrong.
    if minor >= 36 {
        rows.extend([row("/statusz", "statusz"), row("/flagz", "configz")]);
    } else {
        rows.push(Row::unchecked("GET", "/statusz", 404).object(Object::Node("statusz")));
        rows.push(Row::unchecked("GET", "/flagz", 404).object(Object::Node("configz")));
    }
    rows
}

fn proxy_alone() -> Vec<Row> {
    let row = |target: &str| Row::new("GET", target, &["proxy"]);
    let logs = |pod, container: &str, query: &str| {
        let object = Object::Pod { name: pod, uid: String::new(), subresource: "log" };
        row(&format!("/containerLogs/default/{pod}/{container}{query}")).object(object).kind(Kind::Logs)
    };
    vec![
        logs("web", "main", "?tailLines=1").and_by_a_reader(),
        logs("web", "%6dain", "?tailLines=1"),
        logs("web", "main", "?tailLines=0"),
        logs("web", "main", "?tailLines=one").code(400),
        logs("web", "nobody", "").code(404),
        logs("nobody", "main", "").code(404),
        // The route `/debug/pprof/{subpath:*}` wants a subpath: the index is not served.
        row("/debug/pprof/").kind(Kind::Debug).code(404),
        row("/debug/pprof/cmdline").kind(Kind::Debug).and_by_a_reader(),
        row("/debug/pprof/symbol").kind(Kind::Debug),
        row("/debug/pprof/goroutine?debug=1").kind(Kind::Debug),
        row("/debug/pprof/no-such-profile").kind(Kind::Debug).code(404),
        row("/debug/pprof/profile?seconds=1").kind(Kind::Debug).by(&[Caller::With(right("proxy"))]),
        Row::new("PUT", "/debug/flags/v", &["proxy"]).body("2").kind(Kind::Debug).and_by_a_reader(),
        row("/debug/flags/v").kind(Kind::Debug).code(406),
    ]
}

fn unchecked(minor: u32) -> Vec<Row> {
    let nowhere = |target: &str| Row::unchecked("GET", target, 404);
    // Since Go 1.26, by which 1.36 is built, a redirect keeps the method.
    let elsewhere = |target: &str| Row::unchecked("GET", target, if minor >= 36 { 307 } else { 301 });
    let everybody = [Caller::With(right("proxy")), Caller::Powerless, Caller::Forger, Caller::Nobody];
    [
        nowhere("/"),
        nowhere("/nothing"),
        nowhere("/podsfoo"),
        nowhere("/debug"),
        nowhere("/metrics/nothing").object(Object::Node("metrics")),
        nowhere("/healthz/nothing").object(Object::Node("healthz")),
        nowhere("/configz/x").object(Object::Node("configz")),
        elsewhere("//pods"),
        elsewhere("/./pods"),
        elsewhere("/pods/../metrics").object(Object::Node("pods")),
        elsewhere("/runningpods").object(Object::Node("pods")),
        elsewhere("/logs").object(Object::Node("log")),
        elsewhere("/debug/pprof").object(Object::Node("proxy")),
    ]
    .map(|row| row.by(&everybody))
    .into()
}

/// Methods that are not served, and such that have no verb. Where a plain handler serves the path it serves every method; the
/// routes of go-restful refuse, but only those whom the authorizer let in.
fn methods(minor: u32) -> Vec<Row> {
    let mut rows = Vec::new();
    for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BOGUS", "get"] {
        let finer = |target: &str, finer| Row::new(method, target, &before_proxy(minor, finer)).object(Object::Node(finer));
        let logs = Object::Pod { name: "web", uid: String::new(), subresource: "log" };
        let callers = [Caller::With(right("proxy")), Caller::With(GET_PROXY), Caller::Forger];
        rows.extend([
            finer("/pods", "pods").code(405).by(&callers),
            finer("/healthz", "healthz").by(&callers),
            finer("/configz", "configz").by(&callers),
            Row::new(method, "/metrics", &["metrics"]).by(&[Caller::With(right("metrics")), Caller::With(right("proxy"))]),
            Row::new(method, "/logs/", &["log"]).code(405).kind(Kind::Logs).by(&[Caller::With(right("log"))]),
            Row::new(method, "/containerLogs/default/web/main", &["proxy"]).object(logs).code(405).kind(Kind::Logs).by(&callers),
            Row::unchecked(method, "/nothing", 404).by(&[Caller::Powerless]),
        ]);
    }
    rows
}
