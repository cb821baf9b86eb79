//! What Kubernetes itself grants on `nodes/proxy`: the roles that each API server makes, and who has them.
//!
//! From `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` (`policy.go`, `controller_policy.go`) and kubeadm, 1.29 to 1.37; a test
//! compares it with a running API server.

use serde_json::json;

use super::{Object, Role, Subject, SubjectKind};

/// Roles of every API server that give something on `nodes/proxy`: resources and verbs.
const GIVING: [(&str, &str, &[&str]); 4] = [
    ("cluster-admin", "*", &["*"]),
    ("system:controller:generic-garbage-collector", "*", &["get", "patch", "update", "delete"]),
    ("system:controller:namespace-controller", "*", &["get", "delete"]),
    ("system:kubelet-api-admin", "nodes/proxy", &["*"]),
];

/// Roles of every API server that give nothing on it. `admin`, `edit` and `view` take in what others add to them by label.
const NOT_GIVING: [&str; 29] = [
    "admin",
    "edit",
    "view",
    "system:aggregate-to-admin",
    "system:aggregate-to-edit",
    "system:aggregate-to-view",
    "system:auth-delegator",
    "system:basic-user",
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
    "system:certificates.k8s.io:kube-apiserver-client-approver",
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
    "system:certificates.k8s.io:kubelet-serving-approver",
    "system:certificates.k8s.io:legacy-unknown-approver",
    "system:discovery",
    "system:heapster",
    "system:kube-aggregator",
    "system:kube-controller-manager",
    "system:kube-dns",
    "system:kube-scheduler",
    "system:monitoring",
    "system:node",
    "system:node-bootstrapper",
    "system:node-problem-detector",
    "system:node-proxier",
    "system:persistent-volume-provisioner",
    "system:public-info-viewer",
    "system:service-account-issuer-discovery",
    "system:volume-scheduler",
];

/// Roles that begin with `system:controller:` and give nothing on it.
const CONTROLLERS: [&str; 36] = [
    "attachdetach-controller",
    "certificate-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "device-taint-eviction-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "horizontal-pod-autoscaler",
    "job-controller",
    "legacy-service-account-token-cleaner",
    "node-controller",
    "persistent-volume-binder",
    "pod-garbage-collector",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "route-controller",
    "selinux-warning-controller",
    "service-account-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
];

/// Who has them by what Kubernetes and kubeadm set up.
const HOLDERS: [(SubjectKind, &str, &str); 4] = [
    (SubjectKind::Group, "system:masters", "cluster-admin"),
    (SubjectKind::Group, "kubeadm:cluster-admins", "cluster-admin"),
    (
        SubjectKind::ServiceAccount,
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:controller:generic-garbage-collector",
    ),
    (SubjectKind::ServiceAccount, "system:serviceaccount:kube-system:namespace-controller", "system:controller:namespace-controller"),
];

/// The role of this name that each API server makes, as far as it concerns `nodes/proxy`; `None` if none is known to be made.
pub fn role(name: &str) -> Option<Role> {
    let rules = match GIVING.iter().find(|(giving, _, _)| *giving == name) {
        Some((_, resources, verbs)) => json!([{"apiGroups": [""], "resources": [resources], "verbs": verbs}]),
        None if NOT_GIVING.contains(&name) || name.strip_prefix("system:controller:").is_some_and(|name| CONTROLLERS.contains(&name)) => {
            json!([])
        }
        None => return None,
    };
    match Object::parse(&json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})) {
        Ok(Object::Role(_, role)) => Some(role),
        _ => None,
    }
}

/// Whether Kubernetes itself makes a role that gives `nodes/proxy`.
pub fn gives(role: &str) -> bool {
    GIVING.iter().any(|(giving, _, _)| *giving == role)
}

/// Whether Kubernetes itself gives this role to this subject.
pub fn is_holder(subject: &Subject, role: &str) -> bool {
    HOLDERS.iter().any(|(kind, name, held)| *kind == subject.kind && *name == &*subject.name && *held == role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::{Subresource, Verb};

    #[test]
    fn roles() {
        let reaches = |name: &str, verb| role(name).map(|role| role.rules.iter().any(|rule| rule.allows(verb, Subresource::Proxy, "n")));
        assert_eq!(reaches("cluster-admin", Verb::Create), Some(true));
        assert_eq!(reaches("system:controller:namespace-controller", Verb::Get), Some(true));
        assert_eq!(reaches("system:controller:namespace-controller", Verb::Create), Some(false));
        assert_eq!(reaches("view", Verb::Get), Some(false));
        assert_eq!(reaches("viewer", Verb::Get), None);
    }

    #[test]
    fn a_role_of_another_is_not_builtin() {
        assert!(is_holder(&Subject::group("system:masters"), "cluster-admin"));
        assert!(!is_holder(&Subject::user("system:masters"), "cluster-admin"));
        assert!(!is_holder(&Subject::service_account("kube-system", "namespace-controller"), "cluster-admin"));
    }
}
