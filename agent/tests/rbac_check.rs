//! `kubewitness rbac` on manifests that are shaped like those of well-known charts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use kubewitness::check::{Policy, Report};
use kubewitness::judge::{self, Severity};
use kubewitness::manifest::Manifests;
use proptest::prelude::*;
use serde_json::Value;

const FILES: [&str; 5] = ["log-shipper.yaml", "metrics-server-and-scraper.yaml", "node-agent.yaml", "operator.yaml", "everyone.json"];

fn text(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(file)).expect("the fixture can be read")
}

fn policy() -> Policy {
    Policy { api_server_users: judge::Policy::API_SERVER_USERS.map(str::to_owned).to_vec(), allow: Vec::new() }
}

fn report_of(manifests: Manifests, policy: &Policy) -> Report {
    Report::new(&manifests.objects(), Some(manifests), policy)
}

fn report(file: &str) -> Report {
    let mut manifests = Manifests::default();
    manifests.take(file, text(file).as_bytes());
    report_of(manifests, &policy())
}

/// `id who right role:line`
fn lines(report: &Report) -> Vec<String> {
    let line = |finding: &kubewitness::check::Finding| {
        let place = finding.place().map_or_else(|| "-".to_owned(), |place| place.line.to_string());
        format!("{} {} {} {place}", finding.kind.id(), finding.who(), finding.verbs.words().join(","))
    };
    report.findings.iter().map(line).collect()
}

#[test]
fn charts() {
    let expected: [(&str, &[&str]); 5] = [
        ("log-shipper.yaml", &["nodes-proxy-get ServiceAccount:logging/release-log-shipper get 36"]),
        ("metrics-server-and-scraper.yaml", &["nodes-proxy-get ServiceAccount:monitoring/scraper get 7"]),
        (
            "node-agent.yaml",
            &[
                "nodes-proxy-get ServiceAccount:agents/node-agent get 16",
                "nodes-proxy-create ServiceAccount:agents/node-agent-debug get 16",
                "nodes-proxy-create ServiceAccount:agents/node-agent-debug create 31",
            ],
        ),
        (
            "operator.yaml",
            &[
                "nodes-proxy-get Group:auditors get 17",
                "nodes-proxy-wildcard ServiceAccount:dashboard/dashboard * 60",
                "nodes-proxy-wildcard ServiceAccount:operator/manager * 8",
                "nodes-proxy-other-verbs User:jane update 49",
                "nodes-proxy-unknown User:jane  85",
                "nodes-proxy-unknown User:jane  32",
                "nodes-proxy-unbound ClusterRole:collector get 28",
                "nodes-proxy-unbound-wildcard ClusterRole:gathered update 49",
                "nodes-proxy-builtin Group:system:masters * 60",
            ],
        ),
        (
            "everyone.json",
            &[
                "nodes-proxy-for-everyone User:system:anonymous * 22",
                "nodes-proxy-for-everyone Group:system:serviceaccounts:ci * 22",
                "nodes-proxy-create ServiceAccount:ci/runner * 22",
                "nodes-proxy-builtin User:kube-apiserver-kubelet-client * 22",
            ],
        ),
    ];
    for (file, expected) in expected {
        let report = report(file);
        assert_eq!(report.manifests.as_ref().map(|manifests| manifests.problems.len()), Some(0), "{file}");
        assert_eq!(lines(&report), expected, "{file}");
    }
}

#[test]
fn remarks_tell_what_the_kind_does_not() {
    let remarks = |file: &str| report(file).findings.into_iter().filter_map(|finding| finding.remark).collect::<Vec<_>>();
    assert_eq!(
        remarks("operator.yaml"),
        [
            "ClusterRole/of-another-chart is not here.",
            "ClusterRole/gathering gathers rules of other roles by label, and they may be elsewhere.",
            "Its label adds its rules to ClusterRole/admin: whoever has that for the whole cluster has it.",
        ]
    );
    assert_eq!(remarks("node-agent.yaml"), ["It has create by another binding."]);
    assert_eq!(remarks("everyone.json"), ["This is the API server, by --apiserver-user."]);
    let collector = report("operator.yaml").findings.into_iter().find(|finding| finding.who() == "ClusterRole:collector").unwrap();
    assert_eq!(collector.right(), "get nodes/proxy of the nodes worker-1, worker-2");
}

#[test]
fn what_is_allowed_does_not_fail() {
    let mut manifests = Manifests::default();
    manifests.take("f", text("node-agent.yaml").as_bytes());
    let allow = ["ServiceAccount:agents/node-agent", "system:serviceaccount:agents:node-agent-debug", "User:nobody"];
    let policy = Policy { allow: allow.map(str::to_owned).to_vec(), ..policy() };
    let report = report_of(manifests, &policy);
    assert_eq!((report.gravest(), report.count(Severity::Critical), report.findings.len()), (None, 0, 3));
    assert_eq!(report.needless, ["User:nobody"]);
    assert!(report.text(false).contains("3 allowed"));
    let suppressed = sarif(&report)["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|result| result["suppressions"][0]["kind"] == "external")
        .count();
    assert_eq!(suppressed, 3);
}

#[test]
fn a_role_that_comes_twice_gives_what_either_gives() {
    let role = |resource: &str| {
        format!("kind: ClusterRole\nmetadata: {{name: r}}\nrules: [{{apiGroups: [''], resources: [{resource}], verbs: [get]}}]\n")
    };
    let binding = |role: &str, user: &str| {
        format!(
            "kind: ClusterRoleBinding\nmetadata: {{name: b}}\nroleRef: {{kind: ClusterRole, name: {role}}}\nsubjects: [{{kind: User, name: {user}}}]\n"
        )
    };
    let report_of_texts = |texts: &[String]| {
        let mut manifests = Manifests::default();
        for text in texts {
            manifests.take("f", text.as_bytes());
        }
        report_of(manifests, &policy())
    };
    let twice = report_of_texts(&[role("pods"), role("nodes/proxy"), binding("r", "u"), binding("r", "v")]);
    assert_eq!(lines(&twice), ["nodes-proxy-get User:u get 3", "nodes-proxy-get User:v get 3"]);
    let contradicting = report_of_texts(&[role("nodes/proxy"), binding("r", "u"), binding("view", "u")]);
    assert_eq!(lines(&contradicting), ["nodes-proxy-unknown ClusterRoleBinding:b  1", "nodes-proxy-unbound ClusterRole:r get 3"]);
}

/// What a group has that the subject is in by its nature, the subject has.
#[test]
fn groups_that_everybody_of_a_kind_is_in() {
    let give = |to: &str| {
        let role = |name: &str, verb: &str| {
            format!(
                "kind: ClusterRole\nmetadata: {{name: {name}}}\nrules: [{{apiGroups: [''], resources: [nodes/proxy], verbs: [{verb}]}}]\n"
            )
        };
        let binding = |role: &str, subject: &str| {
            format!(
                "kind: ClusterRoleBinding\nmetadata: {{name: {role}}}\nroleRef: {{kind: ClusterRole, name: {role}}}\nsubjects: [{{{subject}}}]\n"
            )
        };
        let agent = "kind: ServiceAccount, namespace: n, name: agent";
        let documents = [role("reads", "get"), role("creates", "create"), binding("reads", agent), binding("creates", to)];
        let mut manifests = Manifests::default();
        manifests.take("f", documents.join("---\n").as_bytes());
        let report = report_of(manifests, &policy());
        report.findings.iter().find(|finding| finding.who() == "ServiceAccount:n/agent").map(|finding| finding.kind.id())
    };
    for (to, id) in [
        ("kind: Group, name: 'system:serviceaccounts:n'", "nodes-proxy-create"),
        ("kind: Group, name: 'system:serviceaccounts'", "nodes-proxy-create"),
        ("kind: Group, name: 'system:authenticated'", "nodes-proxy-create"),
        ("kind: User, name: 'system:serviceaccount:n:agent'", "nodes-proxy-create"),
        ("kind: Group, name: 'system:serviceaccounts:m'", "nodes-proxy-get"),
        ("kind: Group, name: ops", "nodes-proxy-get"),
    ] {
        assert_eq!(give(to), Some(id), "{to}");
    }
}

#[test]
fn text_is_narrow_and_inert() {
    for file in FILES {
        let text = report(file).text(false);
        let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 80 && !line.contains(file)).collect();
        assert_eq!(wide, Vec::<&str>::new());
    }
    let hostile = "kind: ClusterRoleBinding\nmetadata: {name: \"b\\e[2J\"}\nroleRef: {kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: User, name: \"u\\u202e\\n\"}]\n";
    let mut manifests = Manifests::default();
    manifests.take("f\u{1b}", hostile.as_bytes());
    let report = report_of(manifests, &policy());
    assert_eq!(report.findings.len(), 1);
    for text in [report.text(false), report.json().unwrap(), report.sarif().unwrap()] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
    assert!(report.text(true).contains("\u{1b}[1;33m"));
}

fn json(report: &Report) -> Value {
    serde_json::from_str(&report.json().unwrap()).unwrap()
}

fn sarif(report: &Report) -> Value {
    serde_json::from_str(&report.sarif().unwrap()).unwrap()
}

#[test]
fn json_is_what_is_documented() {
    let json = json(&report("log-shipper.yaml"));
    assert_eq!(json["version"], "kubewitness.dev/rbac/v1");
    assert_eq!(json["summary"], serde_json::json!({"critical": 1, "warning": 0, "info": 0, "allowed": 0}));
    assert_eq!(json["source"]["leftOut"], serde_json::json!({"ConfigMap": 1, "ServiceAccount": 1}));
    let role = serde_json::json!({"name": "release-log-shipper", "file": "log-shipper.yaml", "line": 36, "template": "log-shipper/templates/clusterrole.yaml"});
    let finding = &json["findings"][0];
    assert_eq!(finding["clusterRole"], role);
    assert_eq!(finding["subject"], serde_json::json!({"kind": "ServiceAccount", "namespace": "logging", "name": "release-log-shipper"}));
    assert_eq!((&finding["verbs"], &finding["nodes"]), (&serde_json::json!(["get"]), &Value::Null));

    let documented =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rbac.md")).expect("the documentation can be read");
    let fields = FILES.iter().flat_map(|file| keys(&self::json(&report(file)), "")).filter(|field| !field.starts_with("source.leftOut."));
    let missing: BTreeSet<_> = fields.filter(|field| !documented.contains(&format!("`{field}`"))).collect();
    assert_eq!(missing, BTreeSet::new());
}

/// `findings[].subject.name`, of each field that is there.
fn keys(value: &Value, path: &str) -> BTreeSet<String> {
    match value {
        Value::Object(fields) => {
            let below = |(key, value): (&String, &Value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let mut all = keys(value, &path);
                all.insert(path);
                all
            };
            fields.iter().flat_map(below).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| keys(item, &format!("{path}[]"))).collect(),
        _ => BTreeSet::new(),
    }
}

/// What GitHub's code scanning asks for.
#[test]
fn sarif_points_at_the_place_and_is_the_same_after_lines_moved() {
    let results = |text: &str| {
        let mut manifests = Manifests::default();
        manifests.take("./deploy dir/rbac.yaml", text.as_bytes());
        sarif(&report_of(manifests, &policy()))
    };
    let plain = text("log-shipper.yaml");
    let (first, moved) = (results(&plain), results(&format!("# one more line\n{plain}")));
    assert_eq!((&first["version"], &first["$schema"]), (&"2.1.0".into(), &"https://json.schemastore.org/sarif-2.1.0.json".into()));
    let driver = &first["runs"][0]["tool"]["driver"];
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        for field in ["id", "shortDescription", "fullDescription", "help", "defaultConfiguration", "properties"] {
            assert!(!rule[field].is_null(), "{rule}");
        }
        assert!(rule["properties"]["security-severity"].as_str().unwrap().parse::<f32>().is_ok());
    }
    let result = &first["runs"][0]["results"][0];
    assert_eq!(rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()]["id"], result["ruleId"]);
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "deploy%20dir/rbac.yaml");
    assert_eq!(
        (&place["region"]["startLine"], &result["relatedLocations"][0]["physicalLocation"]["region"]["startLine"]),
        (&36.into(), &43.into())
    );
    let moved = &moved["runs"][0]["results"][0];
    assert_eq!(moved["locations"][0]["physicalLocation"]["region"]["startLine"], 37);
    assert_eq!(moved["partialFingerprints"], result["partialFingerprints"]);
}

#[test]
fn sarif_of_standard_input_points_at_the_template() {
    let mut manifests = Manifests::default();
    manifests.take(kubewitness::manifest::STDIN, text("log-shipper.yaml").as_bytes());
    let sarif = sarif(&report_of(manifests, &policy()));
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "log-shipper/templates/clusterrole.yaml");
    assert_eq!(place["region"]["startLine"], 1);
}

/// Every document of all fixtures but the JSON one.
fn documents() -> Vec<String> {
    FILES[..4]
        .iter()
        .flat_map(|file| text(file).split("\n---\n").map(|document| document.trim_start_matches("---\n").to_owned()).collect::<Vec<_>>())
        .collect()
}

/// Without places, which files and order change.
fn essentials(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        writeln!(text, "{} {finding} {:?} {:?}", finding.kind.id(), finding.nodes, finding.remark).unwrap();
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_and_files_change_nothing(order in Just(documents()).prop_shuffle(), cuts in prop::collection::vec(any::<bool>(), 64)) {
        let mut whole = Manifests::default();
        whole.take("f", documents().join("\n---\n").as_bytes());
        let mut cut = Manifests::default();
        let mut file = String::new();
        for (document, end) in order.iter().zip(cuts) {
            writeln!(file, "---\n{document}").unwrap();
            if end {
                cut.take("g", file.as_bytes());
                file.clear();
            }
        }
        cut.take("h", file.as_bytes());
        prop_assert_eq!(essentials(&report_of(whole, &policy())), essentials(&report_of(cut, &policy())));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut manifests = Manifests::default();
        manifests.take("f", &bytes);
        let report = report_of(manifests, &policy());
        prop_assert!(report.json().is_ok() && report.sarif().is_ok() && !report.text(true).is_empty());
    }

    /// Bytes of a real manifest, some of them others: deeper into the reader than bytes of chance.
    #[test]
    fn broken_manifests_are_read_without_a_panic(file in 0..FILES.len(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), length in any::<prop::sample::Index>()) {
        let mut bytes = text(FILES[file]).into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.index(bytes.len()) + 1);
        let mut manifests = Manifests::default();
        manifests.take("f", &bytes);
        let report = report_of(manifests, &policy());
        prop_assert!(report.json().is_ok() && report.sarif().is_ok() && !report.text(true).is_empty());
    }
}
