use super::*;
use crate::judge::Finding;
use crate::kubelet::{AccessKind, Endpoint, MetricsPage, Verb};
use crate::rbac::Subject;
use crate::report::testing::{Scene, binding, cluster, role, sa};
use crate::report::{Cluster, Note};

/// A legacy agent that can be moved, a terminal that cannot, a grant that nobody uses, and the API server.
fn scene() -> (Scene, Cluster) {
    let mut scene = Scene::new()
        .used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 12960)
        .used(&sa("agent"), Endpoint::Healthz, AccessKind::Fallback, Verb::Get, 864)
        .used(&sa("agent"), Endpoint::Metrics(MetricsPage::Cadvisor), AccessKind::Single, Verb::Get, 25920)
        .used(&sa("agent"), Endpoint::Configz, AccessKind::Denied, Verb::Create, 2)
        .used(&sa("console"), Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 3)
        .used(&sa("console"), Endpoint::ContainerLogs(None), AccessKind::ProxyOnly, Verb::Get, 40)
        .used(&sa("console"), Endpoint::Stats, AccessKind::Single, Verb::Get, 7)
        .used("kube-apiserver-kubelet-client", Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 5)
        .found(&sa("console"), Finding::UnloggedExec, 3)
        .found(&sa("agent"), Finding::NodesProxyFallback, 13824);
    scene.0.notes.push(Note { id: "cut-line", count: 1, text: "A line was cut short: events.jsonl:7.".to_owned() });
    let agent = Subject::service_account("mon", "agent");
    let console = Subject::service_account("mon", "console");
    let objects = [
        role("agent", &[(&["nodes/proxy", "nodes/metrics"], &["get"])]),
        role("console", &[(&["pods", "nodes/proxy"], &["get", "create"]), (&["nodes/stats"], &["get"])]),
        role("system:kubelet-api-admin", &[(&["nodes/proxy"], &["*"])]),
        binding("agent", "agent", &[agent, Subject::service_account("mon", "spare")]),
        binding("console", "console", &[console, Subject::group("support")]),
        binding("kubelet-admin", "system:kubelet-api-admin", &[Subject::user("kube-apiserver-kubelet-client")]),
    ];
    (scene, cluster("v1.36.3", &objects))
}

#[test]
fn show() {
    let (scene, cluster) = scene();
    let report = scene.report(Some(&cluster));
    println!("{}", text(&report, 80, Paint::Plain));
    println!("=======\n{}", text(&report, 120, Paint::Plain));
    println!("=======\n{}", text(&scene.report(None), 80, Paint::Plain));
    println!("=======\n{}", crate::report::manifest::manifests(&report));
    println!("{}", serde_json::to_string_pretty(&crate::report::document::Document::of(&report)).unwrap());
}
