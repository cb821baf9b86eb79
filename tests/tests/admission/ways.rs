//! Every way of granting `nodes/proxy`, one by one, and what looks like one and is none.

use kubewitness_tests::scenarios::Bed;
use serde_json::{Value, json};

use crate::client::inside;
use crate::lists::usual_list;
use crate::modes::{Mode, enforce};
use crate::objects::{binding, role, rule, with};
use crate::server::Server;

pub(crate) fn every_way_of_granting_it_is_refused(bed: &Bed) {
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        enforce(cluster, &server, Mode::Deny).await;
        usual_list(cluster, &server).await;
        for object in roles().into_iter().chain(bindings()) {
            let answer = server.would_create(&object).await;
            assert!(answer.is_refused(), "{object}: {answer:?}");
        }
        // The other ways in which an object comes to be.
        let granting = role("kw-way", &[rule(&["get"], &["nodes/proxy"])]);
        let answer = server.would_patch(&granting, &granting).await;
        assert!(answer.is_refused(), "server-side apply: {answer:?}");
        let mut nameless = granting.clone();
        nameless["metadata"] = json!({"generateName": "kw-way-"});
        let answer = server.would_create(&nameless).await;
        assert!(answer.is_refused() && answer.message().contains(": ClusterRole kw-way-"), "a name that is made up: {answer:?}");
    });
}

fn roles() -> Vec<Value> {
    let mut roles = Vec::new();
    for verb in ["get", "create", "update", "patch", "delete", "", "*"] {
        for resource in ["nodes/proxy", "*/proxy", "*"] {
            for group in ["", "*"] {
                roles.push(role("kw-way", &[json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})]));
            }
        }
    }
    let mut of_one_node = rule(&["get"], &["nodes/proxy"]);
    of_one_node["resourceNames"] = json!(["node1"]);
    let mut among_others = rule(&["list", "watch", "get"], &["pods", "nodes", "nodes/proxy"]);
    among_others["apiGroups"] = json!(["apps", ""]);
    let plain = rule(&["get"], &["nodes/proxy"]);
    let granting = role("kw-way", std::slice::from_ref(&plain));
    let mut gathering = granting.clone();
    gathering["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    roles.extend([
        role("kw-way", &[of_one_node]),
        role("kw-way", &[rule(&["get"], &["pods"]), json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]}), among_others]),
        // What a name or a label says proves nothing.
        role("system:controller:kw-way", &[plain]),
        with(granting.clone(), "labels", "kubernetes.io/bootstrapping", "rbac-defaults"),
        with(granting.clone(), "annotations", "rbac.authorization.kubernetes.io/autoupdate", "true"),
        with(granting, "labels", "rbac.authorization.k8s.io/aggregate-to-view", "true"),
        gathering,
    ]);
    roles
}

fn bindings() -> Vec<Value> {
    let mut bindings = Vec::new();
    let granting = [
        "cluster-admin",
        "system:kubelet-api-admin",
        "system:controller:generic-garbage-collector",
        "system:controller:namespace-controller",
        // One that was there before the policies, and that the list names.
        "kw-legacy",
    ];
    let subjects = [
        "ServiceAccount:monitoring/agent",
        "User:jane",
        "User:system:anonymous",
        // A user of this name is that ServiceAccount, but it is not what Kubernetes binds.
        "User:system:serviceaccount:kube-system:namespace-controller",
        "Group:ops",
        "Group:system:authenticated",
        "Group:system:unauthenticated",
        "Group:system:serviceaccounts",
        "Group:system:serviceaccounts:monitoring",
    ];
    for role in granting {
        bindings.extend(subjects.map(|subject| binding("kw-way", role, &[subject])));
        bindings.push(binding("kw-way", role, &["User:kube-apiserver-kubelet-client", "User:jane"]));
    }
    // What Kubernetes gives to one is not for the other.
    bindings.extend([
        binding("kw-way", "cluster-admin", &["User:system:masters"]),
        binding("kw-way", "system:kubelet-api-admin", &["Group:system:masters"]),
        binding("kw-way", "cluster-admin", &["ServiceAccount:kube-system/namespace-controller"]),
        binding("kw-way", "system:controller:namespace-controller", &["ServiceAccount:other/namespace-controller"]),
    ]);
    bindings
}

pub(crate) fn what_grants_nothing_of_it_passes(bed: &Bed) {
    let cluster = &bed.cluster;
    let gets = |resources: &[&str]| role("kw-way", &[rule(&["get"], resources)]);
    let mut of_other_groups = rule(&["*"], &["*", "nodes/proxy"]);
    of_other_groups["apiGroups"] = json!(["apps", "metrics.k8s.io"]);
    let mut no_rules = role("kw-way", &[]);
    no_rules["rules"] = Value::Null;
    let mut absent = no_rules.clone();
    absent.as_object_mut().expect("an object").remove("rules");
    let mut gathering = absent.clone();
    gathering["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let namespaced = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "kw-way", "namespace": "default"},
        "rules": [rule(&["*"], &["*", "nodes/proxy"])],
    });
    let mut in_one_namespace = binding("kw-way", "cluster-admin", &["User:jane"]);
    in_one_namespace["kind"] = json!("RoleBinding");
    in_one_namespace["metadata"]["namespace"] = json!("default");
    let mut without_subjects = binding("kw-way", "cluster-admin", &[]);
    without_subjects.as_object_mut().expect("an object").remove("subjects");
    let passing = [
        gets(&["nodes", "nodes/*", "nodes/status", "proxy", "nodes/proxy/x", "*/*"]),
        gets(&[
            "nodes/metrics",
            "nodes/stats",
            "nodes/log",
            "nodes/pods",
            "nodes/healthz",
            "nodes/configz",
            "nodes/checkpoint",
            "nodes/statusz",
        ]),
        gets(&["pods/proxy", "services/proxy"]),
        // The kubelet asks for neither.
        role("kw-way", &[rule(&["list", "watch"], &["nodes/proxy", "*"])]),
        role("kw-way", &[of_other_groups]),
        role("kw-way", &[json!({"verbs": ["*"], "nonResourceURLs": ["*"]})]),
        role("kw-way", &[]),
        no_rules,
        absent,
        gathering,
        with(gets(&["pods"]), "labels", "rbac.authorization.k8s.io/aggregate-to-view", "true"),
        namespaced,
        in_one_namespace,
        without_subjects,
        binding("kw-way", "cluster-admin", &[]),
        binding("kw-way", "view", &["User:jane", "Group:system:authenticated"]),
        binding("kw-way", "admin", &["ServiceAccount:monitoring/agent"]),
        binding("kw-way", "system:node", &["Group:system:nodes"]),
        binding("kw-way", "system:auth-delegator", &["ServiceAccount:monitoring/agent"]),
        // What Kubernetes and kubeadm set up, and how API servers are let into kubelets.
        binding("kw-way", "cluster-admin", &["Group:system:masters"]),
        binding("kubeadm:cluster-admins", "cluster-admin", &["Group:kubeadm:cluster-admins"]),
        binding("kw-way", "system:controller:namespace-controller", &["ServiceAccount:kube-system/namespace-controller"]),
        binding("kw-way", "system:controller:generic-garbage-collector", &["ServiceAccount:kube-system/generic-garbage-collector"]),
        binding("kw-way", "system:kubelet-api-admin", &["User:kube-apiserver-kubelet-client", "User:kubelet-api", "User:system:apiserver"]),
    ];
    inside(cluster, async || {
        let server = Server::of(cluster).await;
        for object in &passing {
            let answer = server.would_create(object).await;
            assert!(answer.passes() && answer.warnings.is_empty(), "{object}: {answer:?}");
        }
        // All roles of the API server, as they are, can be written again by anybody who may.
        let roles = server.get("/apis/rbac.authorization.k8s.io/v1/clusterroles").await;
        let roles = roles.body["items"].as_array().expect("a list").clone();
        assert!(roles.len() > 50, "{}", roles.len());
        for mut role in roles {
            role["kind"] = json!("ClusterRole");
            role["metadata"]["annotations"]["kw-note"] = json!("seen");
            let answer = server.would_replace(&role, crate::server::As::Administrator).await;
            assert!(answer.passes(), "{role}: {answer:?}");
        }
    });
}
