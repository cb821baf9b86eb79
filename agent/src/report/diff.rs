//! What changes in a caller's rights on `nodes/*`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Caller;
use crate::rbac::Snapshot;

/// One line of the difference: verbs on a resource that come, go or stay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// What becomes of them.
    pub change: Change,
    /// The resource as rules have it: `nodes/pods`, `*/proxy`, `*`.
    pub resource: String,
    /// The verbs, as far as the kubelet asks for them.
    pub verbs: Vec<&'static str>,
    /// By what the caller has them before.
    pub before: Vec<Way>,
    /// And afterwards.
    pub after: Vec<Way>,
}

/// What becomes of a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Change {
    Goes,
    Comes,
    Stays,
}

/// By what a caller has a right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The `ClusterRoleBinding`.
    pub binding: Arc<str>,
    /// The `ClusterRole`.
    pub role: Arc<str>,
    /// The rule's place in the role, from 0.
    pub rule: u16,
}

#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
struct Ways {
    before: Vec<Way>,
    after: Vec<Way>,
}

/// The difference between a caller's rights by these objects and by those, in the order of [`Change`] and resource.
pub(super) fn diff(caller: &Caller, before: &Snapshot, after: &Snapshot) -> Vec<Line> {
    let mut rights: BTreeMap<(String, &'static str), Ways> = BTreeMap::new();
    each(caller, before, |right, way| rights.entry(right).or_default().before.push(way));
    each(caller, after, |right, way| rights.entry(right).or_default().after.push(way));
    let mut lines: BTreeMap<(String, Ways), Vec<&'static str>> = BTreeMap::new();
    for ((resource, verb), mut ways) in rights {
        ways.before.sort();
        ways.after.sort();
        lines.entry((resource, ways)).or_default().push(verb);
    }
    let line = |((resource, Ways { before, after }), verbs): ((String, Ways), _)| {
        let change = match (before.is_empty(), after.is_empty()) {
            (true, _) => Change::Comes,
            (_, true) => Change::Goes,
            _ => Change::Stays,
        };
        Line { change, resource, verbs, before, after }
    };
    let mut lines: Vec<Line> = lines.into_iter().map(line).collect();
    lines.sort();
    lines
}

fn each(caller: &Caller, snapshot: &Snapshot, mut tell: impl FnMut((String, &'static str), Way)) {
    for (name, binding) in snapshot.bindings() {
        if !binding.subjects.iter().any(|subject| caller.is(subject)) {
            continue;
        }
        let Some((role, rules)) = binding.role.as_ref().and_then(|role| Some((role, &snapshot.role(role)?.rules))) else { continue };
        for rule in rules {
            for resource in rule.subresources.words() {
                for verb in rule.verbs.words() {
                    let way = Way { binding: name.clone(), role: role.clone(), rule: rule.index };
                    tell((resource.clone(), verb), way);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::Subject;
    use crate::report::testing::{binding, cluster, role};

    #[test]
    fn what_comes_goes_and_stays() {
        let u = [Subject::user("u")];
        let other = binding("other", "old", &[Subject::user("v")]);
        let old = role("old", &[(&["nodes/proxy", "nodes/metrics", "nodes"], &["get", "create", "list"])]);
        let new = role("new", &[(&["nodes/metrics", "nodes/pods"], &["get"])]);
        let before = cluster("v1.36.0", &[old.clone(), new.clone(), binding("b", "old", &u), other.clone()]).snapshot;
        let after = cluster("v1.36.0", &[old, new, binding("c", "new", &u), other]).snapshot;
        let shown =
            |ways: &[Way]| ways.iter().map(|way| format!("{}/{}/{}", way.binding, way.role, way.rule)).collect::<Vec<_>>().join(" ");
        let lines = diff(&Caller::new("u", None), &before, &after);
        let lines: Vec<_> = lines
            .iter()
            .map(|line| {
                format!("{:?} {} {} {:?}→{:?}", line.change, line.resource, line.verbs.join(","), shown(&line.before), shown(&line.after))
            })
            .collect();
        assert_eq!(
            lines,
            [
                r#"Goes nodes/metrics create "b/old/0"→"""#,
                r#"Goes nodes/proxy create,get "b/old/0"→"""#,
                r#"Comes nodes/pods get ""→"c/new/0""#,
                r#"Stays nodes/metrics get "b/old/0"→"c/new/0""#,
            ]
        );
    }
}
