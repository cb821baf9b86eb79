//! Manifests as people apply them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewitness::judge;
use kubewitness::kubelet::{AccessKind, Endpoint, Verb};
use kubewitness::rbac::{Object, Snapshot};
use kubewitness::report::{self, IdentitySeen, NodeSeen, Observed, Origin, Report, Use, Who, manifest};
use kubewitness_tests::cluster::Cluster;
use kubewitness_tests::scenarios::Bed;
use serde_json::{Value, json};

use crate::client::inside;
use crate::objects::{binding, role, rule, with};
use crate::server::{As, Server};

/// What `kubectl create --dry-run=server` said of the `ClusterRole`s and `ClusterRoleBinding`s of a file.
struct Said {
    created: BTreeSet<String>,
    refused: BTreeSet<String>,
}

fn said(cluster: &Cluster, path: &Path) -> Said {
    let output = cluster.kubectl(["create", "--dry-run=server", "-f"]).arg(path).output().expect("kubectl starts");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let kinds = |line: &str| line.starts_with("clusterrole");
    let created = out.lines().filter_map(|line| line.strip_suffix(" created (server dry run)")).filter(|line| kinds(line));
    let created = created.map(|line| line.replace(".rbac.authorization.k8s.io", "")).collect();
    // clusterroles.rbac.authorization.k8s.io "NAME" is forbidden: ValidatingAdmissionPolicy 'POLICY' with …
    let refused = errors.lines().filter_map(|line| {
        let (object, reason) = line.split_once("\" is forbidden: ValidatingAdmissionPolicy 'kubewitness-nodes-proxy-")?;
        let (kinds, name) = object.rsplit_once(" \"")?;
        assert!(reason.starts_with("roles'") || reason.starts_with("bindings'"), "{line}");
        Some(format!("{}/{name}", kinds.rsplit(' ').next()?.replace("s.rbac.authorization.k8s.io", "")))
    });
    Said { created, refused: refused.collect() }
}

pub(crate) fn manifests_of_charts(bed: &Bed) {
    let cluster = &bed.cluster;
    let of_agent = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/tests/manifests").join(name);
    let ordinary = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admission/ordinary.yaml");
    let cases: [(PathBuf, usize, &[&str]); 6] = [
        (of_agent("log-shipper.yaml"), 1, &["clusterrole/release-log-shipper"]),
        (of_agent("metrics-server-and-scraper.yaml"), 4, &["clusterrole/scraper"]),
        (of_agent("node-agent.yaml"), 2, &["clusterrole/node-agent", "clusterrole/node-agent-debug"]),
        (
            of_agent("operator.yaml"),
            5,
            &[
                "clusterrole/collector",
                "clusterrole/gathered",
                "clusterrole/operator-manager",
                "clusterrole/read-everything",
                "clusterrolebinding/dashboard",
            ],
        ),
        (of_agent("everyone.json"), 1, &["clusterrole/kubelet"]),
        (ordinary, 10, &[]),
    ];
    for (path, created, refused) in cases {
        let said = said(cluster, &path);
        assert_eq!(said.refused.iter().map(String::as_str).collect::<Vec<_>>(), refused, "{}", path.display());
        assert_eq!(said.created.len(), created, "{}: {:?}", path.display(), said.created);
    }
}

/// An agent that reads everything that it can by `nodes/proxy`, on kubelets that know the finer rights.
pub(crate) fn the_roles_that_the_report_recommends_pass(bed: &Bed) {
    let cluster = &bed.cluster;
    let user = "system:serviceaccount:monitoring:agent";
    let objects = [
        role("agent", &[rule(&["get", "list"], &["nodes/proxy", "nodes", "pods"])]),
        binding("agent", "agent", &["ServiceAccount:monitoring/agent"]),
    ];
    let changes = objects.iter().map(|object| Object::parse(object).expect("objects of RBAC").into_change());
    let nodes = BTreeMap::from([("node1".to_owned(), Some("v1.36.3".to_owned()))]);
    let known = report::Cluster { source: "the cluster".to_owned(), snapshot: Snapshot::of(changes), is_whole: true, nodes: Some(nodes) };
    let report = Report::new(&ten_days(user), &origin(), Some(&known));
    let yaml = manifest::manifests(&report);
    assert!(yaml.contains("nodes/pods") && yaml.contains("nodes/healthz") && !yaml.contains("- nodes/proxy"), "{yaml}");
    let path = bed.folder.join("recommended.yaml");
    std::fs::write(&path, &yaml).expect("it can be written");
    let said = said(cluster, &path);
    assert!(said.refused.is_empty(), "{:?}: {yaml}", said.refused);
    assert_eq!(said.created.len(), 2, "{:?}: {yaml}", said.created);
}

/// What was seen of it in ten days, in which all was watched.
fn ten_days(user: &str) -> Observed {
    let window = ("2026-11-01T00:00:00Z".parse().expect("a time"), "2026-11-11T00:00:00Z".parse().expect("a time"));
    let watched = Some(Duration::from_hours(240));
    let node = NodeSeen { seen: Some(window), requests: 900, lost: Some(0), watched, ..NodeSeen::default() };
    let who = Who::User(user.to_owned());
    let identity = IdentitySeen { nodes: ["node1".to_owned()].into(), ..IdentitySeen::default() };
    let reads = [Endpoint::Pods, Endpoint::Healthz, Endpoint::Configz]
        .map(|endpoint| (Use { who: who.clone(), endpoint, access: AccessKind::Fallback, verb: Verb::Get }, 300));
    Observed {
        window: Some(window),
        uses: reads.into(),
        identities: [(who.clone(), identity)].into(),
        nodes: [("node1".to_owned(), node)].into(),
        ..Observed::default()
    }
}

fn origin() -> Origin {
    let api_server_users = judge::Policy::API_SERVER_USERS.map(str::to_owned).to_vec();
    Origin { source: "events".to_owned(), api_server_log: true, api_server_users }
}

/// A role of 200 kB is far within what an expression may cost, and so is one of many rules for `nodes/proxy` that is left as it is. What
/// costs more is refused.
pub(crate) fn large_roles(bed: &Bed) {
    let words: Vec<_> = (0..20).map(|number| format!("resources-{number}")).collect();
    let ordinary = json!({"apiGroups": ["example.com", "apps", ""], "resources": words, "verbs": ["get", "list", "watch", "create"]});
    let large = |last: Value| role("kw-large", &[vec![ordinary.clone(); 500], vec![last]].concat());
    let of_node = |number: usize| {
        let mut rule = rule(&["get"], &["nodes/proxy"]);
        rule["resourceNames"] = json!([format!("node-{number}")]);
        rule
    };
    let of_each_node = role("kw-large", &(0..400).map(of_node).collect::<Vec<_>>());
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        let answer = server.would_create(&large(ordinary.clone())).await;
        assert!(answer.passes(), "{}", answer.message());
        let answer = server.would_create(&large(rule(&["get"], &["nodes/proxy"]))).await;
        assert!(answer.is_refused() && answer.message().contains("rules[500] gives get on nodes/proxy"), "{}", answer.message());

        server.put(&of_each_node).await;
        let noted = with(of_each_node.clone(), "annotations", "note", "seen");
        let answer = server.would_replace(&noted, As::Administrator).await;
        assert!(answer.passes(), "{}", answer.message());
        let mut reversed = of_each_node;
        reversed["rules"].as_array_mut().expect("a list").reverse();
        let answer = server.would_replace(&reversed, As::Administrator).await;
        assert!(!answer.passes() && answer.message().contains("cost limit"), "{} {}", answer.code, answer.message());
    });
}
