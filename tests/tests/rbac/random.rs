//! Random roles, bindings, callers and questions, the same for the same seed.

use kubewitness::kubelet::{Subresource, Verb};
use serde_json::{Value, json};

/// A source of random numbers: `SplitMix64` (Steele, Lea, Flood, 2014).
pub(crate) struct Random(u64);

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

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 up to, but not including, `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("an index")]
    }

    fn some<T>(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }

    fn at_least_one<T>(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..=self.below(most)).map(|_| one(self)).collect()
    }

    pub(crate) fn role(&mut self, number: u64) -> Value {
        let rules = self.some(4, Self::rule);
        json!({"kind": "ClusterRole", "metadata": {"name": format!("kw-random-{number}")}, "rules": rules})
    }

    fn rule(&mut self) -> Value {
        let verbs = self.at_least_one(3, |random| {
            random.one(&["get", "get", "get", "create", "update", "patch", "delete", "*", "", "list", "watch", "GET", "get*", "proxy"])
        });
        if self.once_in(12) {
            return json!({"verbs": verbs, "nonResourceURLs": [self.one(&["*", "/metrics", "/exec/*"])]});
        }
        let groups = if self.once_in(4) {
            self.at_least_one(2, |random| random.one(&["", "*", "apps", "metrics.k8s.io", "core", "v1"]))
        } else {
            vec![""]
        };
        let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": self.at_least_one(4, Self::resource)});
        if self.once_in(4) {
            rule["resourceNames"] = json!(self.some(2, |random| random.one(&["node1", "node2", "node3", "", "*", "node"])));
        }
        rule
    }

    fn resource(&mut self) -> String {
        if self.once_in(5) {
            let odd =
                ["*", "*/*", "nodes", "nodes/*", "nodes/", "/proxy", "proxy", "nodes/spec", "nodes/logs", "nodes/proxy/x", "Nodes/proxy"];
            return self.one(&odd).to_owned();
        }
        let resource = self.one(&["nodes", "nodes", "nodes", "nodes", "*", "pods", "node"]);
        let subresource = if self.once_in(3) { Subresource::Proxy } else { self.one(&Subresource::ALL) };
        format!("{resource}/{}", subresource.as_str())
    }

    /// It may refer to a role that is not there, now or ever.
    pub(crate) fn binding(&mut self, number: u64) -> Value {
        let role = format!("kw-random-{}", self.below(ROLES + 2));
        let subjects = self.some(3, Self::subject);
        json!({
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("kw-random-{number}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": subjects,
        })
    }

    fn subject(&mut self) -> Value {
        let group = "rbac.authorization.k8s.io";
        match self.below(5) {
            0 | 1 => {
                let namespace = self.one(&["a", "b"]);
                json!({"kind": "ServiceAccount", "namespace": namespace, "name": self.one(&["b", "c"])})
            }
            2 | 3 => json!({"kind": "User", "apiGroup": group, "name": self.one(&[&USERS[..], &GROUPS[..2], &["*"]].concat())}),
            _ => {
                json!({"kind": "Group", "apiGroup": group, "name": self.one(&[&GROUPS[..], &USERS[..1], &["*", "system:masters"]].concat())})
            }
        }
    }

    pub(crate) fn asked(&mut self) -> Asked {
        let mut groups = self.some(3, |random| random.one(&GROUPS));
        if self.once_in(20) {
            groups.push("system:masters");
        }
        let subresource = if self.once_in(2) { Subresource::Proxy } else { self.one(&Subresource::ALL) };
        Asked { user: self.one(&USERS), groups, verb: self.one(&VERBS), subresource, node: self.one(&NODES) }
    }
}
