//! The least role that covers a set of rights.

use std::collections::{BTreeMap, BTreeSet};

use super::Right;
use crate::kubelet::{Subresource, Verb};
use crate::rbac::{self, Binding, Subject, SubresourceSet, VerbSet};

/// A `ClusterRole` and its `ClusterRoleBinding`, both of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRole {
    /// Their name.
    pub name: String,
    /// Whom it is for.
    pub subject: Subject,
    /// Its rules; never `nodes/proxy`.
    pub rules: Vec<NewRule>,
}

/// A rule for the core group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRule {
    /// The subresources of nodes.
    pub subresources: BTreeSet<Subresource>,
    /// The verbs: `*` alone, or each by name.
    pub verbs: Vec<&'static str>,
    /// `resourceNames`: the nodes to which the caller's present rights are limited; `None` for all.
    pub nodes: Option<BTreeSet<String>>,
}

impl NewRole {
    /// The role for these rights, each with the nodes that it is limited to.
    pub(super) fn new(name: String, subject: Subject, rights: &BTreeMap<Right, Option<BTreeSet<String>>>) -> Self {
        let mut verbs: BTreeMap<(Subresource, &Option<BTreeSet<String>>), BTreeSet<Verb>> = BTreeMap::new();
        for (right, nodes) in rights {
            verbs.entry((right.subresource, nodes)).or_default().insert(right.verb);
        }
        let mut rules: Vec<NewRule> = Vec::new();
        for ((subresource, nodes), verbs) in verbs {
            let verbs = words(&verbs);
            match rules.iter_mut().find(|rule| rule.verbs == verbs && rule.nodes == *nodes) {
                Some(rule) => _ = rule.subresources.insert(subresource),
                None => rules.push(NewRule { subresources: [subresource].into(), verbs, nodes: nodes.clone() }),
            }
        }
        Self { name, subject, rules }
    }

    /// The RBAC objects that it stands for.
    pub(super) fn changes(&self) -> [rbac::Change; 2] {
        let rule = |(index, rule): (usize, &NewRule)| rbac::Rule {
            index: u16::try_from(index).unwrap_or(u16::MAX),
            verbs: VerbSet::parse(rule.verbs.iter().copied()),
            subresources: SubresourceSet::parse(rule.resources().iter().map(String::as_str)),
            nodes: rule.nodes.as_ref().map(|nodes| nodes.iter().map(|node| node.as_str().into()).collect()),
        };
        let rules = self.rules.iter().enumerate().map(rule).collect();
        let name: std::sync::Arc<str> = self.name.as_str().into();
        let binding = Binding { role: Some(name.clone()), subjects: [self.subject.clone()].into(), malformed: false };
        [rbac::Change::Role(name.clone(), rbac::Role { rules, ..rbac::Role::default() }), rbac::Change::Binding(name, binding)]
    }
}

impl NewRule {
    /// `resources`, in the order of their names.
    pub fn resources(&self) -> Vec<String> {
        let mut resources: Vec<String> = self.subresources.iter().map(|subresource| format!("nodes/{}", subresource.as_str())).collect();
        resources.sort();
        resources
    }
}

fn words(verbs: &BTreeSet<Verb>) -> Vec<&'static str> {
    if verbs.contains(&Verb::None) { vec!["*"] } else { verbs.iter().map(|verb| verb.as_str()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_with_the_same_verbs_are_one_rule() {
        let of = |subresource, verb| (Right { subresource, verb }, None);
        let limited = |subresource, verb| (Right { subresource, verb }, Some(BTreeSet::from(["n1".to_owned()])));
        let rights = BTreeMap::from([
            of(Subresource::Stats, Verb::Get),
            of(Subresource::Stats, Verb::Create),
            of(Subresource::Metrics, Verb::Get),
            of(Subresource::Metrics, Verb::None),
            of(Subresource::Pods, Verb::Get),
            of(Subresource::Healthz, Verb::Get),
            limited(Subresource::Configz, Verb::Get),
        ]);
        let new = NewRole::new("r".into(), Subject::user("u"), &rights);
        let rules: Vec<_> = new.rules.iter().map(|rule| (rule.resources().join(" "), rule.verbs.join(" "), rule.nodes.is_some())).collect();
        let rule = |resources: &str, verbs: &str, limited| (resources.to_owned(), verbs.to_owned(), limited);
        assert_eq!(
            rules,
            [
                rule("nodes/stats", "get create", false),
                rule("nodes/metrics", "*", false),
                rule("nodes/healthz nodes/pods", "get", false),
                rule("nodes/configz", "get", true),
            ]
        );
    }
}
