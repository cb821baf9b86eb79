//! What changes in a caller's rights on `nodes/*`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Caller;
use crate::rbac::Snapshot;

/// One line of the difference: a resource of a rule that the caller has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The resource as the rule has it: `nodes/pods`, `*/proxy`, `*`.
    pub resource: String,
    /// The verbs, as far as the kubelet asks for them.
    pub verbs: Vec<&'static str>,
    /// The `ClusterRoleBinding`.
    pub binding: Arc<str>,
    /// The `ClusterRole`.
    pub role: Arc<str>,
    /// The rule's place in the role, from 0.
    pub rule: u16,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Change {
    Goes,
    Comes,
    Stays,
}

/// The difference between a caller's rights by these objects and by those.
pub(super) fn diff(caller: &Caller, before: &Snapshot, after: &Snapshot) -> Vec<(Change, Line)> {
    let mut changes: BTreeMap<Line, Change> = lines(caller, before).into_iter().map(|line| (line, Change::Goes)).collect();
    for line in lines(caller, after) {
        changes.entry(line).and_modify(|change| *change = Change::Stays).or_insert(Change::Comes);
    }
    let mut lines: Vec<(Change, Line)> = changes.into_iter().map(|(line, change)| (change, line)).collect();
    lines.sort();
    lines
}

fn lines(caller: &Caller, snapshot: &Snapshot) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, binding) in snapshot.bindings() {
        if !binding.subjects.iter().any(|subject| caller.is(subject)) {
            continue;
        }
        let Some((role, rules)) = binding.role.as_ref().and_then(|role| Some((role, &snapshot.role(role)?.rules))) else { continue };
        for rule in rules {
            lines.extend(rule.subresources.words().into_iter().map(|resource| {
                let (binding, role) = (name.clone(), role.clone());
                Line { resource, verbs: rule.verbs.words(), binding, role, rule: rule.index }
            }));
        }
    }
    lines
}
