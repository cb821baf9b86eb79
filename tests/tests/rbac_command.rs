//! `kubewitness rbac` on a real API server, and on what `kubectl` prints of it. `cargo xtask test --only e2e`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kubewitness_tests::cluster::Options;
use kubewitness_tests::scenarios::{Bed, play};
use serde_json::{Value, json};

#[test]
fn rbac_command() {
    let name = format!("f-rbac-{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rbac-command");
    play(
        &Options::named(&name),
        &folder,
        &[
            ("a fresh cluster has nothing but what Kubernetes sets up", a_fresh_cluster),
            ("the roles that every API server makes are known", builtin_roles),
            ("the cluster and its manifests say the same", cluster_and_manifests),
        ],
    );
}

const OBJECTS: &str = "clusterroles,clusterrolebindings";

/// What `kubectl` prints of these objects.
fn printed(bed: &Bed, what: &str, format: &str) -> String {
    let output = bed.cluster.kubectl(["get", what, "--output", format]).output().expect("kubectl starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("manifests are text")
}

/// `kubewitness rbac` with these arguments, and the manifests on standard input.
fn of_manifests(arguments: &[&str], manifests: &str) -> Output {
    let mut command = Command::new(Bed::binary());
    command.arg("rbac").args(arguments).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubewitness starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let text = manifests.to_owned();
    // It reads all before it writes, and what it writes to standard error may fill a pipe all the same.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("kubewitness ends");
    writer.join().expect("the writer does not panic").expect("kubewitness reads its input");
    output
}

/// `kubewitness rbac` with these arguments on the cluster.
fn of_cluster(bed: &Bed, arguments: &[&str]) -> Output {
    bed.cluster
        .command(Bed::binary())
        .arg("rbac")
        .arg("--kubeconfig")
        .arg(bed.cluster.kubeconfig())
        .args(arguments)
        .output()
        .expect("kubewitness starts")
}

fn findings(output: &Output) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let mut findings = report["findings"].as_array().expect("there are findings, be it none").clone();
    for finding in &mut findings {
        for object in ["clusterRole", "clusterRoleBinding"] {
            if let Some(fields) = finding.get_mut(object).and_then(Value::as_object_mut) {
                fields.retain(|field, _| field == "name");
            }
        }
    }
    findings
}

fn a_fresh_cluster(bed: &Bed) {
    let output = of_manifests(&["-o", "json", "--fail-on", "warning"], &printed(bed, OBJECTS, "yaml"));
    let findings = findings(&output);
    let who: Vec<_> = findings.iter().map(|finding| (finding["id"].as_str().unwrap(), finding["who"].as_str().unwrap())).collect();
    // The testbed, too, gives the API server what kubeadm gives it.
    for expected in
        ["Group:system:masters", "ServiceAccount:kube-system/generic-garbage-collector", "ServiceAccount:kube-system/namespace-controller"]
    {
        assert!(who.contains(&("nodes-proxy-builtin", expected)), "{expected}: {who:?}");
    }
    assert!(who.iter().all(|(id, _)| *id == "nodes-proxy-builtin"), "{who:?}");
    assert_eq!(output.status.code(), Some(0));
}

/// Each role of a fresh API server is bound to a user of its own: by the bindings alone the same is told as with the roles beside them.
fn builtin_roles(bed: &Bed) {
    let roles: Value = serde_json::from_str(&printed(bed, "clusterroles", "json")).expect("kubectl prints JSON");
    let roles = roles["items"].as_array().expect("it is a list");
    let default = |role: &&Value| role["metadata"]["labels"]["kubernetes.io/bootstrapping"] == "rbac-defaults";
    let names: Vec<_> = roles.iter().filter(default).map(|role| role["metadata"]["name"].as_str().expect("roles have names")).collect();
    assert!(names.len() > 50, "{names:?}");
    let binding = |name: &&str| {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
        let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("u-{name}")});
        json!({"kind": "ClusterRoleBinding", "metadata": {"name": format!("b-{name}")}, "roleRef": role, "subjects": [subject]})
    };
    let bindings: Vec<_> = names.iter().map(binding).collect();
    let alone = json!({"kind": "List", "items": bindings}).to_string();
    let all = [bindings, roles.clone()].concat();
    let together = json!({"kind": "List", "items": all}).to_string();
    let told = |manifests: &str| -> BTreeMap<String, Value> {
        let findings = findings(&of_manifests(&["-o", "json"], manifests));
        let bound = findings.into_iter().filter(|finding| finding["subject"].is_object());
        bound.map(|finding| (finding["who"].to_string(), json!([finding["id"], finding["verbs"], finding["byWildcard"]]))).collect()
    };
    let known = told(&together);
    assert!(known.len() >= 4, "{known:?}");
    assert_eq!(told(&alone), known);
}

/// No controller runs in the testbed that would gather rules: `f-gathering` has none, and that is what the API server says.
const MORE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: f-agent, labels: {f-gather: "yes"}}
rules:
  - {apiGroups: [""], resources: [nodes/proxy, nodes/metrics], verbs: [get, list]}
  - {apiGroups: [""], resources: [nodes/proxy], resourceNames: [node1], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: f-gathering}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {f-gather: "yes"}}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: f-unbound}
rules:
  - {apiGroups: ["*"], resources: ["*/proxy"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: f-agent}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: f-agent}
subjects:
  - {kind: ServiceAccount, name: agent, namespace: default}
  - {apiGroup: rbac.authorization.k8s.io, kind: Group, name: ops}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: f-gathering}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: f-gathering}
subjects:
  - {apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}
"#;

fn cluster_and_manifests(bed: &Bed) {
    bed.cluster.apply(MORE).expect("the API server takes the objects");
    let live = of_cluster(bed, &["-o", "json", "--fail-on", "critical"]);
    assert_eq!(live.status.code(), Some(3), "{}", String::from_utf8_lossy(&live.stderr));
    for format in ["yaml", "json"] {
        let printed = of_manifests(&["-o", "json", "--fail-on", "critical"], &printed(bed, OBJECTS, format));
        assert_eq!(printed.status.code(), Some(3), "{}", String::from_utf8_lossy(&printed.stderr));
        assert_eq!(findings(&printed), findings(&live), "{format}");
    }
    let told: Vec<_> =
        findings(&live).iter().map(|finding| format!("{} {}", finding["id"].as_str().unwrap(), finding["who"].as_str().unwrap())).collect();
    for expected in
        ["nodes-proxy-get ServiceAccount:default/agent", "nodes-proxy-get Group:ops", "nodes-proxy-unbound-wildcard ClusterRole:f-unbound"]
    {
        assert!(told.iter().any(|told| told == expected), "{expected}: {told:?}");
    }

    let allow = ["--allow", "ServiceAccount:default/agent,Group:ops", "--allow", "jane", "--fail-on", "warning", "-o", "sarif"];
    let allowed = of_cluster(bed, &allow);
    assert_eq!(allowed.status.code(), Some(0), "{}", String::from_utf8_lossy(&allowed.stderr));
    let sarif: Value = serde_json::from_slice(&allowed.stdout).expect("SARIF is JSON");
    let results = sarif["runs"][0]["results"].as_array().expect("there are results");
    assert!(results.iter().all(|result| result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].is_string()));
    let text = of_cluster(bed, &["-o", "text"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("ServiceAccount default/agent\n    may get, patch nodes/proxy of every node\n"));
}
