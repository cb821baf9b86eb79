//! Objects that were there before the policies: they stay, they can be edited, and they do not grow.

use kubewitness_tests::scenarios::Bed;
use serde_json::{Value, json};

use crate::client::inside;
use crate::objects::{binding, role, rule, with};
use crate::server::{As, Server};

/// The controller that copies rules into roles with an `aggregationRule`.
const GATHERER: As = As::User("system:serviceaccount:kube-system:clusterrole-aggregation-controller");

fn legacy() -> Value {
    let mut of_one_node = rule(&["create"], &["*/proxy"]);
    of_one_node["resourceNames"] = json!(["node1", "node2"]);
    role("kw-legacy", &[rule(&["get", "list"], &["nodes", "nodes/proxy"]), of_one_node])
}

fn held() -> Value {
    binding("kw-legacy", "kw-legacy", &["ServiceAccount:default/legacy", "Group:ops"])
}

pub(crate) fn a_cluster_has_roles_before_it_has_policies(bed: &Bed) {
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        for object in [legacy(), held(), role("kw-ordinary", &[rule(&["get"], &["pods"])])] {
            server.put(&object).await;
        }
    });
}

pub(crate) fn what_is_there_can_be_edited_and_not_widened(bed: &Bed) {
    let cluster = &bed.cluster;
    let legacy_with = |change: &dyn Fn(&mut Value)| {
        let mut object = legacy();
        change(&mut object["rules"]);
        object
    };
    let passing = [
        with(legacy(), "annotations", "note", "seen"),
        with(legacy(), "labels", "helm.sh/chart", "legacy-2.0.0"),
        legacy_with(&|rules| rules.as_array_mut().expect("a list").push(rule(&["*"], &["pods"]))),
        legacy_with(&|rules| rules.as_array_mut().expect("a list").reverse()),
        legacy_with(&|rules| rules[0]["verbs"] = json!(["watch", "get"])),
        // More, but not of nodes/proxy.
        legacy_with(&|rules| rules[0]["resources"] = json!(["*"])),
        legacy_with(&|rules| rules[0]["resourceNames"] = json!(["node3"])),
        legacy_with(&|rules| rules[1]["resourceNames"] = json!(["node2"])),
        legacy_with(&|rules| *rules = json!([])),
        with(held(), "annotations", "note", "seen"),
        binding("kw-legacy", "kw-legacy", &["Group:ops"]),
        binding("kw-legacy", "kw-legacy", &[]),
    ];
    let refused = [
        legacy_with(&|rules| rules[0]["verbs"] = json!(["get", "create"])),
        legacy_with(&|rules| rules[0]["verbs"] = json!(["*"])),
        legacy_with(&|rules| rules[1]["resourceNames"] = json!(["node1", "node3"])),
        legacy_with(&|rules| rules[1]["resourceNames"] = json!([])),
        legacy_with(&|rules| rules.as_array_mut().expect("a list").push(rule(&["patch"], &["*"]))),
        with(legacy(), "labels", "rbac.authorization.k8s.io/aggregate-to-edit", "true"),
        binding("kw-legacy", "kw-legacy", &["Group:ops", "User:jane"]),
        binding("kw-legacy", "kw-legacy", &["ServiceAccount:other/legacy"]),
        binding("cluster-admin", "cluster-admin", &["Group:system:masters", "User:jane"]),
    ];
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        for object in passing {
            let answer = server.would_replace(&object, As::Administrator).await;
            assert!(answer.passes(), "{object}: {answer:?}");
        }
        for object in refused {
            let answer = server.would_replace(&object, As::Administrator).await;
            assert!(answer.is_refused(), "{object}: {answer:?}");
        }
        let patch = json!({"rules": [rule(&["get"], &["nodes/proxy"])]});
        let answer = server.would_patch(&role("kw-ordinary", &[]), &patch).await;
        assert!(answer.is_refused(), "{answer:?}");

        // What the gathering controller writes is judged as what everybody writes.
        let mut view = server.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/view").await.body;
        view["rules"] = json!([rule(&["get"], &["pods"])]);
        let answer = server.would_replace(&view, GATHERER).await;
        assert!(answer.passes(), "{answer:?}");
        view["rules"] = json!([rule(&["get"], &["pods"]), rule(&["get"], &["nodes/proxy"])]);
        let answer = server.would_replace(&view, GATHERER).await;
        assert!(answer.is_refused() && answer.message().contains("ClusterRole view grants nodes/proxy: rules[1]"), "{answer:?}");
    });
}
