//! The body of the fuzz target, which a test calls too.

use serde_json::Value;

use super::{Answer, Change, Evidence, Kind, Mirror, Object, Question, Reach, Subject, SubjectKind, Update, Who};
use crate::kubelet::{Subresource, Verb};

const SUBRESOURCES: [Subresource; 4] = [Subresource::Proxy, Subresource::Pods, Subresource::Metrics, Subresource::Log];

/// Takes hostile objects, JSON in a line each, as an API server would tell them, twice; a line that begins with `-` is an object that is
/// gone. Whatever they are, it returns, and the same objects lead to the same answers.
///
/// # Panics
///
/// If somebody reaches a subresource in one way of asking and not in the other.
pub fn fuzz_entry(bytes: &[u8]) {
    let mut mirror = Mirror::default();
    for _ in 0..2 {
        for kind in [Kind::ClusterRole, Kind::ClusterRoleBinding] {
            mirror.take(Update::Listing(kind));
        }
        for change in bytes.split(|byte| *byte == b'\n').filter_map(change) {
            mirror.take(Update::Change(change));
        }
        for kind in [Kind::ClusterRole, Kind::ClusterRoleBinding] {
            mirror.take(Update::Listed(kind));
        }
    }
    let snapshot = mirror.snapshot().expect("all was listed");
    for subresource in SUBRESOURCES {
        for holder in Reach::of(snapshot, subresource).holders {
            let node = holder.by.nodes.as_ref().and_then(|nodes| nodes.first()).map_or("node1", |node| &**node);
            // A caller that the subject stands for.
            let groups = [&*holder.subject.name];
            let is_group = holder.subject.kind == SubjectKind::Group;
            let who = if is_group {
                Who { user: "somebody", groups: &groups, all_groups_known: true }
            } else {
                Who { user: &holder.subject.name, groups: &[], all_groups_known: true }
            };
            for verb in [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete] {
                let asked = Question { verb, subresource, node };
                let gives = snapshot.role(&holder.by.role).is_some_and(|role| role.allowing(asked).is_some());
                // A ServiceAccount without a namespace, or with a name that no username can hold, matches nobody.
                let can_be = holder.subject.as_service_account().is_none_or(|_| Subject::of_username(who.user) == holder.subject);
                assert!(
                    !gives || !can_be || matches!(snapshot.may(&who, asked), Answer::Allowed(_)),
                    "{holder:?} does not reach {asked:?}"
                );
            }
        }
    }
    let nobody = Who { user: "", groups: &[], all_groups_known: true };
    let asked = Question { verb: Verb::Get, subresource: Subresource::Proxy, node: "node1" };
    assert!(!matches!(snapshot.may(&nobody, asked), Answer::Allowed(Evidence::Masters)));
}

fn change(line: &[u8]) -> Option<Change> {
    let (gone, line) = line.strip_prefix(b"-").map_or((false, line), |line| (true, line));
    let change = Object::parse(&serde_json::from_slice::<Value>(line).ok()?).ok()?.into_change();
    Some(match change {
        Change::Role(name, _) if gone => Change::RoleGone(name),
        Change::Binding(name, _) if gone => Change::BindingGone(name),
        there => there,
    })
}
