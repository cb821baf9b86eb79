//! Random roles, bindings, callers and questions, the same for the same seed.

use kubewitness::kubelet::{Subresource, Verb};
use kubewitness_tests::random::Random;
use serde_json::{Value, json};

/// Random objects and questions.
pub(crate) trait Objects {
    /// A `ClusterRole`.
    fn role(&mut self, number: u64) -> Value;
    /// A `ClusterRoleBinding`. It may refer to a role that is not there, now or ever.
    fn binding(&mut self, number: u64) -> Value;
    /// Somebody who asks.
    fn asked(&mut self) -> Asked;
}

/// Somebody who asks for something.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) user: &'static str,
    pub(crate) groups: Vec<&'static str>,
    pub(crate) verb: Verb,
    pub(crate) subresource: Subresource,
    pub(crate) node: &'static str,
}

pub(crate) const ROLES: u64 = 14;
pub(crate) const BINDINGS: u64 = 40;

const USERS: [&str; 7] = [
    "jane",
    "joe",
    "system:anonymous",
    "system:serviceaccount:a:b",
    "system:serviceaccount:a:c",
    "system:serviceaccount:b:b",
    "system:serviceaccount:a:b:c",
];
const GROUPS: [&str; 6] =
    ["dev", "ops", "system:authenticated", "system:serviceaccounts", "system:serviceaccounts:a", "system:serviceaccounts:b"];
const VERBS: [Verb; 6] = [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::None];
const NODES: [&str; 3] = ["node1", "node2", "node3"];

impl Objects for Random {
    fn role(&mut self, number: u64) -> Value {
        let rules = self.some(4, rule);
        json!({"kind": "ClusterRole", "metadata": {"name": format!("kw-random-{number}")}, "rules": rules})
    }

    fn binding(&mut self, number: u64) -> Value {
        let role = format!("kw-random-{}", self.below(ROLES + 2));
        let subjects = self.some(3, subject);
        json!({
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("kw-random-{number}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": subjects,
        })
    }

    fn asked(&mut self) -> Asked {
        let mut groups = self.some(3, |random| random.one(&GROUPS));
        if self.once_in(20) {
            groups.push("system:masters");
        }
        let subresource = if self.once_in(2) { Subresource::Proxy } else { self.one(&Subresource::ALL) };
        Asked { user: self.one(&USERS), groups, verb: self.one(&VERBS), subresource, node: self.one(&NODES) }
    }
}

fn rule(random: &mut Random) -> Value {
    let verbs = random.at_least_one(3, |random| {
        random.one(&["get", "get", "get", "create", "update", "patch", "delete", "*", "", "list", "watch", "GET", "get*", "proxy"])
    });
    if random.once_in(12) {
        return json!({"verbs": verbs, "nonResourceURLs": [random.one(&["*", "/metrics", "/exec/*"])]});
    }
    let groups = if random.once_in(4) {
        random.at_least_one(2, |random| random.one(&["", "*", "apps", "metrics.k8s.io", "core", "v1"]))
    } else {
        vec![""]
    };
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": random.at_least_one(4, resource)});
    if random.once_in(4) {
        rule["resourceNames"] = json!(random.some(2, |random| random.one(&["node1", "node2", "node3", "", "*", "node"])));
    }
    rule
}

fn resource(random: &mut Random) -> String {
    if random.once_in(5) {
        let odd = ["*", "*/*", "nodes", "nodes/*", "nodes/", "/proxy", "proxy", "nodes/spec", "nodes/logs", "nodes/proxy/x", "Nodes/proxy"];
        return random.one(&odd).to_owned();
    }
    let resource = random.one(&["nodes", "nodes", "nodes", "nodes", "*", "pods", "node"]);
    let subresource = if random.once_in(3) { Subresource::Proxy } else { random.one(&Subresource::ALL) };
    format!("{resource}/{}", subresource.as_str())
}

fn subject(random: &mut Random) -> Value {
    let group = "rbac.authorization.k8s.io";
    match random.below(5) {
        0 | 1 => {
            let namespace = random.one(&["a", "b"]);
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": random.one(&["b", "c"])})
        }
        2 | 3 => json!({"kind": "User", "apiGroup": group, "name": random.one(&[&USERS[..], &GROUPS[..2], &["*"]].concat())}),
        _ => {
            json!({"kind": "Group", "apiGroup": group, "name": random.one(&[&GROUPS[..], &USERS[..1], &["*", "system:masters"]].concat())})
        }
    }
}
