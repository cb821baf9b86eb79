//! The list of those who may have it.

use std::time::Duration;

use kubewitness_tests::cluster::Cluster;
use kubewitness_tests::scenarios::Bed;
use serde_json::{Value, json};

use crate::client::inside;
use crate::modes::{Mode, enforce, file, kubectl};
use crate::objects::{binding, role, rule, with};
use crate::server::{Answer, As, Server};

const LIST: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/kubewitness-nodes-proxy";

/// A list of these who may have it, and of these roles that grant it.
fn list(allow: &[&str], grants: &[&str]) -> Value {
    let names = |verb: &str, names: &[&str]| json!({"apiGroups": ["kubewitness.dev"], "resources": ["nodes-proxy"], "verbs": [verb], "resourceNames": names});
    role("kubewitness-nodes-proxy", &[names("allow", allow), names("grants", grants)])
}

/// Puts the project's list back, with a role that it cannot know.
pub(crate) async fn usual_list(cluster: &Cluster, server: &Server) {
    kubectl(cluster, &["apply", "-f", &file("params.yaml").display().to_string()]);
    let patch = r#"[{"op": "add", "path": "/rules/1/resourceNames", "value": ["kw-legacy"]}]"#;
    kubectl(cluster, &["patch", "clusterrole", "kubewitness-nodes-proxy", "--type=json", "--patch", patch]);
    server.until("the list is not in force", &binding("kw-list", "kw-legacy", &["User:jane"]), Answer::is_refused).await;
    server.until("the list is not in force", &binding("kw-list", "kw-legacy", &["User:kubelet-api"]), Answer::passes).await;
}

pub(crate) fn the_list_allows_what_it_names(bed: &Bed) {
    let cluster = &bed.cluster;
    let granting = |name: &str| role(name, &[rule(&["get"], &["nodes/proxy"])]);
    let gathered = |name: &str| with(granting(name), "labels", "rbac.authorization.k8s.io/aggregate-to-view", "true");
    let mut allow = list(
        &[
            "ClusterRole:kw-allowed",
            "ServiceAccount:monitoring/agent",
            "User:jane doe",
            "ClusterRole:kw-both",
            "ClusterRole:view",
            "ClusterRole:*",
        ],
        &["kw-listed"],
    );
    // A second rule adds to the first. One for another resource, group or verb does not: they may be for others to give.
    let more = list(&["Group:ops"], &[])["rules"][0].clone();
    let others = [("resources", "pods"), ("resources", "*"), ("apiGroups", "example.com"), ("apiGroups", "*"), ("verbs", "*")];
    let others = others.map(|(field, word)| {
        let mut other = list(&["ClusterRole:kw-other"], &[])["rules"][0].clone();
        other[field] = json!([word]);
        other
    });
    allow["rules"].as_array_mut().expect("a list").extend([more].into_iter().chain(others));
    let passing = [
        granting("kw-allowed"),
        gathered("kw-both"),
        granting("view"),
        binding("kw-list", "cluster-admin", &["ServiceAccount:monitoring/agent", "Group:ops", "User:jane doe"]),
        binding("kw-list", "kw-allowed", &["ServiceAccount:monitoring/agent"]),
        binding("kw-list", "kw-listed", &["Group:ops"]),
        binding("kw-list", "kw-unlisted", &["User:joe"]),
    ];
    // Of the roles that its label hands it to, none is on the list.
    let handing = with(granting("kw-allowed"), "labels", "rbac.authorization.k8s.io/aggregate-to-admin", "true");
    let refused = [
        granting("kw-allowed2"),
        granting("KW-allowed"),
        granting("kw-any"),
        granting("kw-other"),
        gathered("kw-other"),
        // Whoever is bound to a role that may grant it must be on the list too.
        binding("kw-list", "kw-allowed", &["User:joe"]),
        binding("kw-list", "kw-listed", &["User:ops"]),
        binding("kw-list", "cluster-admin", &["ServiceAccount:other/agent"]),
        binding("kw-list", "cluster-admin", &["User:system:serviceaccount:monitoring:agent"]),
        // A list of one's own replaces the project's.
        binding("kw-list", "cluster-admin", &["User:kubelet-api"]),
    ];
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        server.put(&allow).await;
        server.until("the list is not in force", &passing[0], Answer::passes).await;
        for object in &passing {
            let answer = server.would_create(object).await;
            assert!(answer.passes() || answer.code == 409, "{object}: {answer:?}");
        }
        for object in &refused {
            let answer = server.would_create(object).await;
            assert!(answer.is_refused(), "{object}: {answer:?}");
        }
        let answer = server.would_create(&handing).await;
        let text = "ClusterRole kw-allowed grants nodes/proxy, and its label rbac.authorization.k8s.io/aggregate-to-admin hands that to \
                    everybody who has ClusterRole admin. ";
        assert!(answer.is_refused() && answer.message().contains(text), "{answer:?}");

        let mut empty = list(&[], &[]);
        empty["rules"] = Value::Null;
        server.put(&empty).await;
        server.until("the empty list is not in force", &passing[0], Answer::is_refused).await;
        assert!(server.would_create(&binding("kw-list", "cluster-admin", &["Group:system:masters"])).await.passes());
        usual_list(cluster, &server).await;
    });
}

/// Who may write every `ClusterRole` and has no more rights cannot put anybody onto the list: Kubernetes itself sees to that.
pub(crate) fn the_list_is_not_for_everybody_who_edits_roles(bed: &Bed) {
    let editing = json!({
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
        "verbs": ["get", "list", "create", "update", "patch", "delete"],
    });
    let cluster = &bed.cluster;
    for object in [role("kw-editor", &[editing]), binding("kw-editor", "kw-editor", &["User:kw-editor"])] {
        cluster.apply(&object.to_string()).expect("it grants nothing of nodes/proxy");
    }
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        let text = "attempting to grant RBAC permissions not currently held";
        let by_editor = async || server.would_replace(&list(&["User:kw-editor"], &[]), As::Plain("kw-editor")).await;
        // Until the API server knows what the editor may do, it says so in other words.
        for _ in 0..100 {
            if by_editor().await.message().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?}", by_editor().await);
    });
}

pub(crate) fn the_list_is_kept_and_all_can_be_taken_away(bed: &Bed) {
    let cluster = &bed.cluster;
    let granting = role("kw-list", &[rule(&["get"], &["nodes/proxy"])]);
    // The commands of docs/policies.md.
    let uninstall = || {
        for name in ["binding-deny.yaml", "policy.yaml"] {
            kubectl(cluster, &["delete", "-f", &file(name).display().to_string()]);
        }
    };
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        for path in [format!("{LIST}?dryRun=All"), LIST.replace("/kubewitness-nodes-proxy", "?dryRun=All")] {
            let answer = server.send("DELETE", &path, &Value::Null, As::Administrator).await;
            assert!(answer.is_refused() && answer.message().contains("delete their bindings first"), "{path}: {answer:?}");
        }
        assert_eq!(server.send("DELETE", &format!("{LIST}-2"), &Value::Null, As::Administrator).await.code, 404);

        uninstall();
        server.until("what was taken away still refuses", &granting, Answer::passes).await;
        kubectl(cluster, &["delete", "-f", &file("params.yaml").display().to_string()]);

        // Installed again, it is the new list that counts. API servers keep an old one for ever if it is a ConfigMap
        // (kubernetes/kubernetes#130887).
        enforce(cluster, &server, Mode::Deny).await;
        server.put(&list(&["ClusterRole:kw-list"], &[])).await;
        server.until("the new list is not in force", &granting, Answer::passes).await;

        // Gone in spite of all: nothing is judged, and no change of RBAC stands still.
        kubectl(cluster, &["delete", "validatingadmissionpolicybinding", "kubewitness-nodes-proxy-list"]);
        for _ in 0..200 {
            if server.send("DELETE", LIST, &Value::Null, As::Administrator).await.passes() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.until("without a list nothing is refused", &role("kw-other", &[rule(&["*"], &["*"])]), Answer::passes).await;
    });
}
