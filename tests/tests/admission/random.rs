//! Random roles and bindings, the same for the same seed.

use kubewitness_tests::random::{Random as Numbers, seed};
use serde_json::{Value, json};

use crate::objects::{binding, role};

/// A source of random objects.
pub(crate) struct Random(Numbers);

/// What bindings are made of. Some are on the list, some are Kubernetes' own.
const SUBJECTS: [&str; 12] = [
    "User:jane",
    "User:kubelet-api",
    "User:kube-apiserver-kubelet-client",
    "User:system:serviceaccount:kube-system:namespace-controller",
    "Group:system:masters",
    "Group:kubeadm:cluster-admins",
    "Group:kubelet-api",
    "Group:system:authenticated",
    "ServiceAccount:kube-system/namespace-controller",
    "ServiceAccount:kube-system/generic-garbage-collector",
    "ServiceAccount:default/legacy",
    "ServiceAccount:default/kubelet-api",
];

/// Kubernetes' own roles that bindings are to.
pub(crate) const BUILT_IN: [&str; 6] = [
    "cluster-admin",
    "system:kubelet-api-admin",
    "system:controller:namespace-controller",
    "system:controller:generic-garbage-collector",
    "system:node",
    "view",
];
/// And those of the test.
pub(crate) const OWN: [&str; 2] = ["kw-legacy", "kw-ordinary"];

impl Random {
    /// With a seed that is printed, and that `KUBEWITNESS_SEED` gives.
    pub(crate) fn new() -> Self {
        let seed = seed();
        eprintln!("KUBEWITNESS_SEED={seed} asks the same again");
        Self(Numbers::new(seed))
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).expect("an index")
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        self.0.one(of)
    }

    fn words(&mut self, most: usize, of: &[&'static str]) -> Vec<&'static str> {
        (0..=self.below(most)).map(|_| self.one(of)).collect()
    }

    pub(crate) fn role(&mut self, name: &str) -> Value {
        let rules: Vec<_> = (0..self.below(4)).map(|_| self.rule()).collect();
        role(name, &rules)
    }

    fn rule(&mut self) -> Value {
        let verbs = self
            .words(2, &["get", "get", "create", "update", "patch", "delete", "*", "", "list", "watch", "GET", "get*", "proxy", "connect"]);
        if self.below(12) == 0 {
            return json!({"verbs": verbs, "nonResourceURLs": [self.one(&["*", "/metrics", "/exec/*"])]});
        }
        let groups = if self.below(4) == 0 { self.words(1, &["", "*", "apps", "core", "v1", "*.k8s.io"]) } else { vec![""] };
        let odd =
            ["*", "*/*", "nodes", "nodes/*", "nodes/", "/proxy", "proxy", "nodes/proxy/x", "Nodes/proxy", "nodes/spec", "nodes/proxy "];
        let usual =
            ["nodes/proxy", "nodes/proxy", "*/proxy", "nodes/metrics", "nodes/stats", "pods/proxy", "services/proxy", "*/log", "pods"];
        let resources = if self.below(4) == 0 { self.words(1, &odd) } else { self.words(2, &usual) };
        let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
        if self.below(4) == 0 {
            let names: Vec<_> = (0..self.below(3)).map(|_| self.one(&["node1", "node2", "", "*"])).collect();
            rule["resourceNames"] = json!(names);
        }
        rule
    }

    /// Another role of the same name, which has some of the rules.
    pub(crate) fn changed(&mut self, of: &Value) -> Value {
        let mut changed = of.clone();
        let rules = changed["rules"].as_array_mut().expect("a list of rules");
        for _ in 0..=self.below(3) {
            match self.below(5) {
                0 | 1 => rules.push(self.rule()),
                2 if !rules.is_empty() => drop(rules.remove(self.below(rules.len()))),
                3 if !rules.is_empty() => {
                    let at = self.below(rules.len());
                    let other = self.rule();
                    let field = self.one(&["verbs", "resourceNames", "resourceNames", "apiGroups"]);
                    if rules[at]["resources"].is_array() && other["resources"].is_array() {
                        rules[at][field] = other[field].clone();
                    }
                }
                _ => rules.reverse(),
            }
        }
        changed
    }

    pub(crate) fn binding(&mut self, name: &str) -> Value {
        let subjects = self.words(2, &SUBJECTS);
        binding(name, self.one(&[&BUILT_IN[..], &OWN].concat()), &subjects)
    }
}
