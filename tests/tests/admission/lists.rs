//! The list of those who may have it.

use kubewitness_tests::cluster::Cluster;
use kubewitness_tests::scenarios::Bed;
use serde_json::{Value, json};

use crate::client::inside;
use crate::modes::{file, kubectl};
use crate::objects::{binding, role, rule, with};
use crate::server::{Answer, As, Server};

/// Puts this in the place of the list.
fn put_list(cluster: &Cluster, allow: &str, granting: &str) {
    let list = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubewitness-nodes-proxy", "namespace": "kube-system"},
        "data": {"allow": allow, "granting": granting},
    });
    cluster.apply(&list.to_string()).expect("the list can be changed");
}

/// Puts the project's list back, with a role that it cannot know.
pub(crate) async fn usual_list(cluster: &Cluster, server: &Server) {
    kubectl(cluster, &["apply", "-f", &file("params.yaml").display().to_string()]);
    kubectl(
        cluster,
        &[
            "patch",
            "configmap",
            "--namespace=kube-system",
            "kubewitness-nodes-proxy",
            "--patch",
            r#"{"data": {"granting": "kw-legacy\n"}}"#,
        ],
    );
    server.until("the list is not in force", &binding("kw-list", "kw-legacy", &["User:jane"]), Answer::is_refused).await;
    server.until("the list is not in force", &binding("kw-list", "kw-legacy", &["User:kubelet-api"]), Answer::passes).await;
}

pub(crate) fn the_list_allows_what_it_names(bed: &Bed) {
    let cluster = &bed.cluster;
    let granting = |name: &str| role(name, &[rule(&["get"], &["nodes/proxy"])]);
    let gathered = |name: &str| with(granting(name), "labels", "rbac.authorization.k8s.io/aggregate-to-view", "true");
    let allow = "# who may\nClusterRole:kw-allowed\n  ClusterRole:kw-indented \r\nServiceAccount:monitoring/agent\nUser:jane doe\n\
                 Group:ops\nClusterRole:kw-both\nClusterRole:view\n#ClusterRole:kw-commented\nClusterRole:kw-note # why\nClusterRole:*\n\n";
    let passing = [
        granting("kw-allowed"),
        granting("kw-indented"),
        gathered("kw-both"),
        granting("view"),
        binding("kw-list", "cluster-admin", &["ServiceAccount:monitoring/agent", "Group:ops", "User:jane doe"]),
        binding("kw-list", "kw-allowed", &["ServiceAccount:monitoring/agent"]),
        binding("kw-list", "kw-listed", &["Group:ops"]),
        binding("kw-list", "kw-unlisted", &["User:joe"]),
    ];
    let refused = [
        granting("kw-allowed2"),
        granting("KW-allowed"),
        granting("kw-commented"),
        granting("kw-note"),
        granting("kw-any"),
        // Of the roles that its label hands it to, none is on the list but view.
        with(granting("kw-allowed"), "labels", "rbac.authorization.k8s.io/aggregate-to-admin", "true"),
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
        put_list(cluster, allow, "kw-listed\n");
        server.until("the list is not in force", &passing[0], Answer::passes).await;
        for object in &passing {
            let answer = server.would_create(object).await;
            assert!(answer.passes() || answer.code == 409, "{object}: {answer:?}");
        }
        for object in &refused {
            let answer = server.would_create(object).await;
            assert!(answer.is_refused(), "{object}: {answer:?}");
        }
        let labelled = server.would_create(&refused[5]).await;
        let text = "ClusterRole kw-allowed grants nodes/proxy, and its label rbac.authorization.k8s.io/aggregate-to-admin hands that to \
                    everybody who has ClusterRole admin. ";
        assert!(labelled.message().contains(text), "{labelled:?}");

        // A list without its keys is an empty one.
        kubectl(cluster, &["patch", "configmap", "--namespace=kube-system", "kubewitness-nodes-proxy", "--patch", r#"{"data": null}"#]);
        server.until("the empty list is not in force", &passing[0], Answer::is_refused).await;
        assert!(server.would_create(&binding("kw-list", "cluster-admin", &["Group:system:masters"])).await.passes());
        usual_list(cluster, &server).await;
    });
}

pub(crate) fn the_list_cannot_be_deleted_by_mistake(bed: &Bed) {
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        let all = "/api/v1/namespaces/kube-system/configmaps";
        for path in [format!("{all}/kubewitness-nodes-proxy?dryRun=All"), format!("{all}?dryRun=All")] {
            let answer = server.send("DELETE", &path, &Value::Null, As::Administrator).await;
            assert!(answer.is_refused() && answer.message().contains("delete their bindings first"), "{path}: {answer:?}");
        }
        for (namespace, name) in [("kube-system", "another"), ("default", "kubewitness-nodes-proxy")] {
            kubectl(cluster, &["create", "configmap", "--namespace", namespace, name]);
            kubectl(cluster, &["delete", "configmap", "--namespace", namespace, name]);
        }
        // Gone all the same: nothing is judged, and no change of RBAC stands still.
        kubectl(cluster, &["delete", "validatingadmissionpolicybinding", "kubewitness-nodes-proxy-list"]);
        let deleted = async || {
            let answer = server.send("DELETE", &format!("{all}/kubewitness-nodes-proxy"), &Value::Null, As::Administrator).await;
            answer.passes()
        };
        for _ in 0..200 {
            if deleted().await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let granting = role("kw-list", &[rule(&["get"], &["nodes/proxy"])]);
        server.until("without a list nothing is refused", &granting, Answer::passes).await;

        // The commands of docs/policies.md that take the policies away.
        kubectl(cluster, &["delete", "--ignore-not-found", "-f", &file("binding-deny.yaml").display().to_string()]);
        kubectl(cluster, &["delete", "-f", &file("policy.yaml").display().to_string()]);
    });
}
