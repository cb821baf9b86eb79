//! What the RBAC objects say about a caller, before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Caller, Right};
use crate::kubelet::{Subresource, Verb};
use crate::rbac::{Answer, Binding, Change, Evidence, Grounds, Obscure, Question, Snapshot};

/// What the RBAC objects say once the new role is there and the steps are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Rights that were seen to be used and would not be allowed, with the reason where it cannot be told.
    pub missing: Vec<(Right, Option<Obscure>)>,
    /// The rules by which the caller still holds `nodes/proxy`.
    pub still: Vec<Grounds>,
    /// Why it cannot be told whether the caller still holds it.
    pub unclear: Option<Obscure>,
}

/// Each verb that the kubelet asks for.
const VERBS: [Verb; 6] = [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::None];

/// A node that no rule names.
const ANY_NODE: &str = "";

impl Proof {
    pub(super) fn of(
        caller: &Caller,
        after: &Snapshot,
        rights: &BTreeMap<Right, Option<BTreeSet<String>>>,
        seen_on: Option<&BTreeSet<String>>,
    ) -> Self {
        let mut proof = Self::default();
        let mentioned = mentioned(after);
        for (right, limits) in rights {
            let nodes: BTreeSet<&str> = match (limits, seen_on) {
                (Some(limits), _) => limits.iter().map(String::as_str).collect(),
                (None, None) => [ANY_NODE].into(),
                // All nodes that no rule names are alike.
                (None, Some(seen_on)) => seen_on.iter().map(|node| mentioned.get(node.as_str()).copied().unwrap_or(ANY_NODE)).collect(),
            };
            let answer = |node| caller.ask(|who| after.may(who, Question { verb: right.verb, subresource: right.subresource, node }));
            let no = nodes.into_iter().map(answer).find_map(|answer| match answer {
                Answer::Allowed(_) => None,
                Answer::NoRule => Some((*right, None)),
                Answer::Unknown(why) => Some((*right, Some(why))),
            });
            proof.missing.extend(no);
        }
        let mut still = BTreeSet::new();
        for node in mentioned.iter().copied().chain([ANY_NODE]) {
            for verb in VERBS {
                let question = Question { verb, subresource: Subresource::Proxy, node };
                match caller.ask(|who| after.may(who, question)) {
                    Answer::Allowed(Evidence::Rule(_)) => still.extend(caller.ask(|who| after.grounds(who, question))),
                    Answer::Unknown(why) => proof.unclear = Some(why),
                    Answer::Allowed(Evidence::Masters) | Answer::NoRule => {}
                }
            }
        }
        proof.still = still.into_iter().collect();
        proof
    }

    /// Whether all that was seen stays allowed and `nodes/proxy` is gone.
    pub fn holds(&self) -> bool {
        self.missing.is_empty() && self.still.is_empty() && self.unclear.is_none()
    }
}

/// The objects that concern a caller, and those that could not be read and might.
pub(super) fn around(caller: &Caller, snapshot: &Snapshot, unreadable: &[(Arc<str>, Binding)]) -> Snapshot {
    let mut bindings = unreadable.to_vec();
    caller.ask(|who| bindings.extend(snapshot.bindings_of(who).map(|(name, binding)| (name.clone(), binding))));
    let roles: BTreeSet<_> = bindings.iter().filter_map(|(_, binding)| binding.role.clone()).collect();
    let roles = roles.into_iter().filter_map(|name| Some(Change::Role(name.clone(), snapshot.role(&name)?.clone()))).collect::<Vec<_>>();
    Snapshot::of(roles.into_iter().chain(bindings.into_iter().map(|(name, binding)| Change::Binding(name, binding))))
}

/// The nodes to which the caller's present rights are limited, of those by which such requests are let in; `None` if they are not.
pub(super) fn limits(caller: &Caller, before: &Snapshot, right: Right) -> Option<BTreeSet<String>> {
    let mut nodes = BTreeSet::new();
    let mut found = false;
    for (_, binding) in before.bindings().filter(|(_, binding)| binding.subjects.iter().any(|subject| caller.is(subject))) {
        let role = binding.role.and_then(|role| before.role(&role));
        for rule in role.into_iter().flat_map(|role| &role.rules) {
            let lets_in = rule.subresources.contains(right.subresource) || rule.subresources.contains(Subresource::Proxy);
            if rule.verbs.contains(right.verb) && lets_in {
                found = true;
                nodes.extend(rule.nodes.as_ref()?.iter().map(ToString::to_string));
            }
        }
    }
    found.then_some(nodes)
}

fn mentioned(snapshot: &Snapshot) -> BTreeSet<&str> {
    let rules = snapshot.roles().flat_map(|(_, role)| &role.rules);
    rules.filter_map(|rule| rule.nodes.as_ref()).flatten().map(|node| &**node).collect()
}
