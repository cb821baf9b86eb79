//! Everybody who reaches a subresource of nodes, and by what. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Rule, Snapshot, Subject, VerbSet};
use crate::kubelet::Subresource;

/// Who reaches a subresource, in the order of subjects, bindings and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Each rule that gives it to somebody, once for each subject and binding. `system:masters` is here only where a binding names it.
    pub holders: Vec<Holder>,
    /// Each rule that would give it, in a role that no `ClusterRoleBinding` gives to anybody. A `RoleBinding` gives nothing of it: nodes
    /// have no namespace.
    pub unbound: Vec<ByRule>,
    /// Objects that could not be read whole, and may give it.
    pub doubts: Vec<Doubt>,
}

/// A subject gets the subresource by a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Who.
    pub subject: Subject,
    /// The `ClusterRoleBinding`.
    pub binding: Arc<str>,
    /// The rule.
    pub by: ByRule,
}

/// A rule that gives the subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByRule {
    /// The `ClusterRole`.
    pub role: Arc<str>,
    /// The rule's place in the role, from 0.
    pub rule: u16,
    /// The verbs. Those that the kubelet never asks for are not among them.
    pub verbs: VerbSet,
    /// The nodes by name; `None` for all.
    pub nodes: Option<Box<[Box<str>]>>,
    /// The resource is written as `*` or `*/subresource`, not by its name.
    pub by_wildcard: bool,
}

/// An object that could not be read whole: what it gives beyond what is listed is unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// A binding whose role or some of whose subjects could not be read.
    Binding {
        /// The `ClusterRoleBinding`.
        binding: Arc<str>,
    },
    /// A role of which a rule could not be read, and who has it.
    Role {
        /// The subject that the binding names.
        subject: Subject,
        /// The `ClusterRoleBinding`.
        binding: Arc<str>,
        /// The `ClusterRole`.
        role: Arc<str>,
    },
}

impl Reach {
    /// Everybody who reaches this subresource by the objects of a snapshot.
    pub fn of(snapshot: &Snapshot, subresource: Subresource) -> Self {
        let mut reach = Self::default();
        let mut bound = BTreeSet::new();
        for (binding_name, binding) in snapshot.bindings() {
            if binding.malformed {
                reach.doubts.push(Doubt::Binding { binding: binding_name.clone() });
            }
            let Some(role_name) = binding.role else { continue };
            let Some(role) = snapshot.role(&role_name) else { continue };
            for subject in &binding.subjects {
                bound.insert(role_name.clone());
                let giving = giving(&role.rules, &role_name, subresource);
                reach.holders.extend(giving.map(|by| Holder { subject: subject.clone(), binding: binding_name.clone(), by }));
                if role.malformed {
                    let (binding, role) = (binding_name.clone(), role_name.clone());
                    reach.doubts.push(Doubt::Role { subject: subject.clone(), binding, role });
                }
            }
        }
        for (name, role) in snapshot.roles().filter(|(name, _)| !bound.contains(*name)) {
            reach.unbound.extend(giving(&role.rules, name, subresource));
        }
        reach.holders.sort();
        reach.holders.dedup();
        reach.unbound.sort();
        reach.doubts.sort();
        reach.doubts.dedup();
        reach
    }
}

fn giving(rules: &[Rule], role: &Arc<str>, subresource: Subresource) -> impl Iterator<Item = ByRule> {
    rules.iter().filter(move |rule| rule.subresources.contains(subresource)).map(move |rule| ByRule {
        role: role.clone(),
        rule: rule.index,
        verbs: rule.verbs,
        nodes: rule.nodes.clone(),
        by_wildcard: rule.subresources.by_wildcard(subresource),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubelet::Verb;
    use crate::rbac::{Answer, Change, Object, Question, Who};

    fn change(value: &Value) -> Change {
        Object::parse(value).expect("the object has a kind and a name").into_change()
    }

    fn role(name: &str, rules: &Value) -> Change {
        change(&json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}))
    }

    fn binding(name: &str, role: &str, subjects: &Value) -> Change {
        let role = json!({"kind": "ClusterRole", "name": role});
        change(&json!({"kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": role, "subjects": subjects}))
    }

    fn rule(resources: &[&str], verbs: &[&str]) -> Value {
        json!({"apiGroups": [""], "resources": resources, "verbs": verbs})
    }

    fn by(role: &str, index: u16, verbs: &[&str], by_wildcard: bool) -> ByRule {
        ByRule { role: role.into(), rule: index, verbs: VerbSet::parse(verbs.iter().copied()), nodes: None, by_wildcard }
    }

    #[test]
    fn who_by_which_binding_and_rule() {
        let agent = json!([{"kind": "ServiceAccount", "namespace": "logs", "name": "agent"}]);
        let people = json!([{"kind": "User", "name": "jane"}, {"kind": "Group", "name": "ops"}, {"kind": "User", "name": "jane"}]);
        let mut one_node = rule(&["nodes/proxy"], &["get"]);
        one_node["resourceNames"] = json!(["worker-1"]);
        let snapshot = Snapshot::of([
            role("reader", &json!([rule(&["pods"], &["get"]), rule(&["nodes/proxy", "nodes/metrics"], &["get", "list"])])),
            role("everything", &json!([rule(&["*"], &["*"])])),
            role("any-proxy", &json!([one_node, rule(&["*/proxy"], &["create"])])),
            role("spare", &json!([rule(&["nodes/proxy"], &["get"])])),
            role("finer", &json!([rule(&["nodes/metrics", "nodes", "nodes/*"], &["*"])])),
            binding("b-agent", "reader", &agent),
            binding("a-agent", "any-proxy", &agent),
            binding("people", "everything", &people),
            binding("no-subjects", "spare", &json!([])),
            binding("fine", "finer", &people),
            binding("missing", "not-there", &people),
        ]);
        let reach = Reach::of(&snapshot, Subresource::Proxy);
        let agent = Subject::service_account("logs", "agent");
        let holder = |subject: &Subject, binding: &str, by| Holder { subject: subject.clone(), binding: binding.into(), by };
        let on_one_node = ByRule { nodes: Some(["worker-1".into()].into()), ..by("any-proxy", 0, &["get"], false) };
        assert_eq!(
            reach.holders,
            [
                holder(&agent, "a-agent", on_one_node),
                holder(&agent, "a-agent", by("any-proxy", 1, &["create"], true)),
                holder(&agent, "b-agent", by("reader", 1, &["get"], false)),
                holder(&Subject::user("jane"), "people", by("everything", 0, &["*"], true)),
                holder(&Subject::group("ops"), "people", by("everything", 0, &["*"], true)),
            ]
        );
        assert_eq!(reach.unbound, [by("spare", 0, &["get"], false)]);
        assert_eq!(reach.doubts, []);
    }

    #[test]
    fn what_cannot_be_read_is_a_doubt() {
        let jane = json!([{"kind": "User", "name": "jane"}]);
        let snapshot = Snapshot::of([
            role("broken", &json!([rule(&["nodes/proxy"], &["get"]), "not a rule"])),
            binding("to-broken", "broken", &jane),
            binding("half", "broken", &json!([{"kind": "User", "name": "joe"}, 7])),
        ]);
        let reach = Reach::of(&snapshot, Subresource::Proxy);
        let subjects: Vec<_> = reach.holders.iter().map(|holder| &*holder.subject.name).collect();
        assert_eq!(subjects, ["jane", "joe"]);
        let of =
            |subject: &str, binding: &str| Doubt::Role { subject: Subject::user(subject), binding: binding.into(), role: "broken".into() };
        assert_eq!(reach.doubts, [Doubt::Binding { binding: "half".into() }, of("jane", "to-broken"), of("joe", "half")]);
    }

    /// A few words of each kind, so that rules overlap.
    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let resources = prop::sample::subsequence(vec!["nodes/proxy", "*/proxy", "*", "nodes/*", "nodes/stats"], 0..3);
        let verbs = prop::sample::subsequence(vec!["get", "create", "*", "list"], 0..3);
        let of_role = prop::collection::vec((resources, verbs).prop_map(|(resources, verbs)| rule(&resources, &verbs)), 0..3);
        let roles = ("[rs]", of_role).prop_map(|(name, rules)| role(&name, &json!(rules)));
        let subjects = prop::collection::vec("[uv]".prop_map(|name| json!({"kind": "User", "name": name})), 0..3);
        let bindings = ("[ab]", "[rst]", subjects).prop_map(|(name, role, subjects)| binding(&name, &role, &json!(subjects)));
        prop::collection::vec(prop_oneof![roles, bindings], 0..10)
    }

    proptest! {
        /// Whoever is listed may do it, and whoever may do it is listed.
        #[test]
        fn the_list_and_the_evaluator_agree(changes in changes()) {
            let snapshot = Snapshot::of(changes);
            for subresource in [Subresource::Proxy, Subresource::Stats] {
                let reach = Reach::of(&snapshot, subresource);
                for user in ["u", "v"] {
                    let subject = Subject::user(user);
                    let granted = reach.holders.iter().filter(|holder| holder.subject == subject).fold(VerbSet::default(), |set, holder| set.union(holder.by.verbs));
                    for verb in [Verb::Get, Verb::Create, Verb::None] {
                        let who = Who { user, groups: &[], all_groups_known: true };
                        let answer = snapshot.may(&who, Question { verb, subresource, node: "n" });
                        prop_assert_eq!(matches!(answer, Answer::Allowed(_)), granted.contains(verb), "{:?} {:?} {:?}", user, verb, subresource);
                    }
                }
            }
        }
    }
}
