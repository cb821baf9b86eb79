//! The modes, and that an API server in the gravest of them can start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kubewitness_tests::cluster::Cluster;
use kubewitness_tests::scenarios::Bed;
use serde_json::Value;

use crate::client::inside;
use crate::objects::{binding, role, rule};
use crate::server::{Answer, Server};

/// The annotation in the API server's audit log.
const ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";

/// How the policies are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Audit,
    Warn,
    Deny,
}

/// A file of the policies.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/policies/nodes-proxy").join(name)
}

/// Runs `kubectl` as the administrator and gives what it says, on both ways out.
///
/// # Panics
///
/// If it fails.
pub(crate) fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.kubectl(arguments).output().expect("kubectl starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
    said
}

/// Installs the policies in a mode, by the commands of `docs/policies.md`, and waits until they are in force.
pub(crate) async fn enforce(cluster: &Cluster, server: &Server, mode: Mode) {
    let [policy, list] = ["policy.yaml", "params.yaml"].map(|name| file(name).display().to_string());
    kubectl(cluster, &["apply", "-f", &policy, "-f", &list]);
    let name = match mode {
        Mode::Audit => "binding-audit.yaml",
        Mode::Warn => "binding-warn.yaml",
        Mode::Deny => "binding-deny.yaml",
    };
    kubectl(cluster, &["apply", "-f", &file(name).display().to_string()]);
    for object in granting() {
        server.until(&format!("{mode:?} is not in force"), &object, |answer| in_force(cluster, mode, answer)).await;
    }
}

/// One object for each policy that would refuse it.
fn granting() -> [Value; 2] {
    [
        role("kw-sentinel", &[rule(&["get", "list"], &["nodes", "nodes/proxy"])]),
        binding("kw-sentinel", "cluster-admin", &["User:kw-sentinel"]),
    ]
}

fn in_force(cluster: &Cluster, mode: Mode, answer: &Answer) -> bool {
    match mode {
        Mode::Audit => {
            answer.passes()
                && answer.warnings.is_empty()
                && annotations(cluster).iter().any(|it| it.contains("\"validationActions\":[\"Audit\"]"))
        }
        Mode::Warn => answer.passes() && !answer.warnings.is_empty(),
        Mode::Deny => answer.is_refused(),
    }
}

/// What the annotations in the audit log say about the objects of [`granting`].
fn annotations(cluster: &Cluster) -> Vec<String> {
    let log = fs::read_to_string(cluster.audit_log()).expect("there is an audit log");
    // The last line may not be whole yet.
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let events = whole.lines().filter(|line| line.contains(ANNOTATION) && line.contains("kw-sentinel"));
    let event = |line| serde_json::from_str::<Value>(line).expect("an event a line");
    events.map(|line| event(line)["annotations"][ANNOTATION].as_str().expect("it is text").to_owned()).collect()
}

pub(crate) fn audit_and_warn_let_it_through_and_say_it(bed: &Bed) {
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        enforce(cluster, &server, Mode::Audit).await;
        let in_role = "ClusterRole kw-sentinel grants nodes/proxy: rules[0] gives get on nodes/proxy. ";
        let in_binding = "ClusterRoleBinding kw-sentinel gives nodes/proxy to User:kw-sentinel: ClusterRole cluster-admin grants it. ";
        let deadline = Instant::now() + Duration::from_secs(10);
        while ![in_role, in_binding].iter().all(|text| annotations(cluster).iter().any(|it| it.contains(text))) {
            assert!(Instant::now() < deadline, "{:?}", annotations(cluster));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        enforce(cluster, &server, Mode::Warn).await;
        let [of_role, of_binding] = granting();
        for (object, text) in [(of_role, in_role), (of_binding, in_binding)] {
            let answer = server.would_create(&object).await;
            assert!(answer.passes(), "{answer:?}");
            let [warning] = &answer.warnings[..] else { panic!("{answer:?}") };
            assert!(
                warning.contains(text) && warning.contains("nodes/metrics") && warning.contains("ClusterRole kubewitness-nodes-proxy: "),
                "{warning}"
            );
        }
        let ordinary = server.would_create(&role("kw-ordinary", &[rule(&["get"], &["pods"])])).await;
        assert!(ordinary.warnings.is_empty(), "{ordinary:?}");
        let output =
            kubectl(cluster, &["create", "clusterrole", "kw-sentinel", "--verb=get", "--resource=nodes/proxy", "--dry-run=server"]);
        assert!(output.contains("Warning: ") && output.contains(in_role), "{output}");
    });
}

/// Roles of the API server that grant it, and the bindings that it makes of them.
const BUILTIN: [&str; 3] = ["cluster-admin", "system:controller:generic-garbage-collector", "system:controller:namespace-controller"];

pub(crate) fn the_api_server_makes_its_roles_anew_at_its_start(bed: &Bed) {
    let cluster = &bed.cluster;
    for kind in ["clusterrole", "clusterrolebinding"] {
        kubectl(cluster, &[&["delete", kind][..], &BUILTIN[..]].concat());
    }
    // This one is there, without what it must have.
    let reduced = role("system:kubelet-api-admin", &[rule(&["get"], &["nodes"])]);
    inside(cluster, async || Server::of(cluster).await.put(&reduced).await);
    cluster.kill_api_server().expect("it ends");
    cluster.start_api_server().expect("it becomes ready, and that is when it has its roles");
    for kind in ["clusterrole", "clusterrolebinding"] {
        kubectl(cluster, &[&["get", kind][..], &BUILTIN[..]].concat());
    }
    assert!(kubectl(cluster, &["get", "clusterrole", "system:kubelet-api-admin", "--output=yaml"]).contains("nodes/proxy"));
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        for object in granting() {
            server.until("deny is not in force after the start", &object, Answer::is_refused).await;
        }
    });
}
