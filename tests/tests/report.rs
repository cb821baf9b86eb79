//! `kubewitness report` with a real API server: what it recommends is taken there, whatever the callers are called.

use std::{
    fs,
    path::Path,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    cluster::Options,
    scenarios::{Bed, play},
};
use serde_json::{Value, json};

#[test]
fn report() {
    let name = format!("e-report-{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    play(&Options::named(&name), &folder, &[("the API server takes the roles of anybody", roles_of_anybody)]);
}

const HEARD_WITHIN: Duration = Duration::from_secs(5);
const AGENT: &str = "system:serviceaccount:default:agent";

/// Callers as certificates and tokens may call them; each sees pods by the fallback.
fn callers() -> Vec<String> {
    let mut callers: Vec<String> = [
        AGENT,
        "jane@example.com",
        "Jane Doe: \"admin\" # {x: [y]}",
        "O'Hara\\n--- \u{202e}\u{1b}[2J",
        "line\nfeed: |\n---\nkind: Secret",
        "système:été 用户",
        "system:serviceaccount:default:Not A ServiceAccount",
        "~",
        "*",
    ]
    .map(str::to_owned)
    .into();
    callers.push("long".repeat(100));
    callers
}

fn roles_of_anybody(bed: &Bed) {
    let lines: Vec<String> = callers().iter().enumerate().map(|(number, user)| event(number, user).to_string()).collect();
    let events = bed.folder.join("events.jsonl");
    fs::write(&events, lines.join("\n") + "\n").expect("events can be written");
    bed.cluster
        .apply(
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: legacy}
rules: [{apiGroups: [''], resources: [nodes/proxy], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: legacy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: legacy}
subjects: [{kind: ServiceAccount, namespace: default, name: agent}]
",
        )
        .expect("kubectl takes it");

    let json: Value = serde_json::from_slice(&reported(bed, &events, "json").stdout).expect("it is JSON");
    let replacements = json["replacements"].as_array().expect("there are replacements");
    assert_eq!(replacements.len(), callers().len(), "{json:#}");
    let agent = replacements.iter().find(|replacement| replacement["subject"]["name"] == "agent").expect("the agent is there");
    assert_eq!(agent["verdict"], "replace", "{agent:#}");
    assert_eq!(agent["steps"][0]["action"], "delete-binding", "{agent:#}");
    assert_eq!(agent["proof"]["holds"], true, "{agent:#}");

    let roles = bed.folder.join("roles.yaml");
    fs::write(&roles, reported(bed, &events, "yaml").stdout).expect("roles can be written");
    let dry = kubectl(bed, &["apply", "--dry-run=server", "--output=name", "--filename", &roles.to_string_lossy()]);
    assert_eq!(dry.lines().count(), 2 * callers().len(), "{dry}");

    kubectl(bed, &["apply", "--filename", &roles.to_string_lossy()]);
    kubectl(bed, &["delete", "clusterrolebinding", "legacy"]);
    for user in callers() {
        let may = |subresource: &str| {
            let question = ["auth", "can-i", "get", "nodes", "--subresource", subresource, "--as", &user];
            let output = bed.cluster.kubectl(question).output().expect("kubectl starts");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        // What HTTP headers cannot carry, nobody can be impersonated with.
        if user.chars().all(|character| !character.is_control()) {
            // The authorizer hears of new objects by a watch.
            let deadline = Instant::now() + HEARD_WITHIN;
            while may("pods") != "yes" || may("proxy") != "no" {
                assert!(Instant::now() < deadline, "{user:?}: {} {}", may("pods"), may("proxy"));
                thread::sleep(Duration::from_millis(100));
            }
            assert_eq!(may("stats"), "no", "{user:?}");
        }
    }
}

fn event(number: usize, user: &str) -> Value {
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
        "auditID": format!("00000000-0000-4000-8000-{number:012}"), "requestURI": "/pods", "verb": "get",
        "user": {"username": user, "groups": ["system:authenticated"]}, "sourceIPs": ["10.0.0.7"],
        "objectRef": {"resource": "nodes", "name": "node1", "apiVersion": "v1", "subresource": "proxy"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2026-03-04T05:06:07.000000Z", "stageTimestamp": "2026-03-04T05:06:07.002000Z",
        "annotations": {
            "authorization.k8s.io/decision": "allow", "kubewitness.dev/access": "fallback", "kubewitness.dev/endpoint": "pods",
            "kubewitness.dev/checks": "get nodes/pods=no-opinion get nodes/proxy=allow", "kubewitness.dev/node": "node1",
            "kubewitness.dev/transport": "plain"
        }
    })
}

fn reported(bed: &Bed, events: &Path, form: &str) -> Output {
    let mut command = bed.cluster.command(Bed::binary());
    command.args(["report", "--rbac", "cluster", "-o", form, "--kubeconfig"]).arg(bed.cluster.kubeconfig()).arg(events);
    let output = command.output().expect("the report runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn kubectl(bed: &Bed, arguments: &[&str]) -> String {
    let output = bed.cluster.kubectl(arguments).output().expect("kubectl starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
