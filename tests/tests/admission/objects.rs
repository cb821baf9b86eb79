//! RBAC objects in few words.

use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";

/// A `ClusterRole` with these rules.
pub(crate) fn role(name: &str, rules: &[Value]) -> Value {
    json!({"apiVersion": VERSION, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

/// A rule for resources of the core API group.
pub(crate) fn rule(verbs: &[&str], resources: &[&str]) -> Value {
    json!({"apiGroups": [""], "resources": resources, "verbs": verbs})
}

/// A `ClusterRoleBinding` of a `ClusterRole`. Subjects are written as `kubewitness rbac --allow` writes them.
pub(crate) fn binding(name: &str, role: &str, subjects: &[&str]) -> Value {
    let subjects: Vec<_> = subjects.iter().map(|word| subject(word)).collect();
    json!({
        "apiVersion": VERSION,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    })
}

fn subject(word: &str) -> Value {
    let (kind, name) = word.split_once(':').expect("the kind comes first");
    match name.split_once('/') {
        Some((namespace, name)) if kind == "ServiceAccount" => json!({"kind": kind, "namespace": namespace, "name": name}),
        _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
    }
}

/// The object with something put into its metadata.
pub(crate) fn with(mut object: Value, field: &str, key: &str, value: &str) -> Value {
    object["metadata"][field][key] = json!(value);
    object
}
