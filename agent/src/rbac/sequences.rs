//! The objects after any sequence of changes, compared with what a plain reading of the last state of each says.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{
    Binding, Change, Grounds, Kind, Mirror, Question, Role, Rule, Snapshot, Subject, SubjectKind, SubresourceSet, Update, VerbSet, Who,
};
use crate::kubelet::{Subresource, Verb};

/// What is there in the end.
#[derive(Clone, Debug, Default)]
struct Final {
    roles: BTreeMap<Arc<str>, Role>,
    bindings: BTreeMap<Arc<str>, Binding>,
}

impl Final {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Role(name, role) => drop(self.roles.insert(name, role)),
            Change::RoleGone(name) => drop(self.roles.remove(&name)),
            Change::Binding(name, binding) => drop(self.bindings.insert(name, binding)),
            Change::BindingGone(name) => drop(self.bindings.remove(&name)),
        }
    }

    /// `VisitRulesFor` (`pkg/registry/rbac/validation/rule.go`), word by word.
    fn grounds(&self, who: &Who<'_>, question: Question<'_>) -> Vec<Grounds> {
        let mut grounds = Vec::new();
        for (name, binding) in &self.bindings {
            let applies = |subject: &&Subject| match subject.kind {
                SubjectKind::Group => who.groups.contains(&&*subject.name),
                SubjectKind::User | SubjectKind::ServiceAccount => who.user == &*subject.name,
            };
            let Some(subject) = binding.subjects.iter().find(applies) else { continue };
            let Some((role_name, role)) = binding.role.as_ref().and_then(|role| self.roles.get_key_value(role)) else { continue };
            for rule in &role.rules {
                if rule.allows(question.verb, question.subresource, question.node) {
                    grounds.push(Grounds { binding: name.clone(), role: role_name.clone(), rule: rule.index, subject: subject.clone() });
                    break;
                }
            }
        }
        grounds
    }

    fn changes(&self) -> impl Iterator<Item = Change> {
        let roles = self.roles.iter().map(|(name, role)| Change::Role(name.clone(), role.clone()));
        roles.chain(self.bindings.iter().map(|(name, binding)| Change::Binding(name.clone(), binding.clone())))
    }
}

const BOTH: [Kind; 2] = [Kind::ClusterRole, Kind::ClusterRoleBinding];
const USERS: [&str; 4] = ["jane", "joe", "system:serviceaccount:a:b", "system:serviceaccount:a:c"];
const GROUPS: [&str; 3] = ["system:authenticated", "dev", "system:serviceaccounts"];

fn name(of: &'static [&'static str]) -> impl Strategy<Value = Arc<str>> {
    select(of).prop_map(Arc::from)
}

fn rule() -> impl Strategy<Value = Rule> {
    let words = select(vec!["nodes/proxy", "nodes/metrics", "*/proxy", "*"]);
    (0..3_u16, select(vec!["get", "create", "*"]), words, proptest::option::of(select(vec!["n1", "n2"]))).prop_map(
        |(index, verb, word, node)| Rule {
            index,
            verbs: VerbSet::parse([verb]),
            subresources: SubresourceSet::parse([word]),
            nodes: node.map(|node| Box::from([Box::from(node)])),
        },
    )
}

fn role() -> impl Strategy<Value = Role> {
    (proptest::collection::vec(rule(), 0..3), any::<bool>(), proptest::bool::weighted(0.1))
        .prop_map(|(rules, other_rules, malformed)| Role { rules: rules.into(), other_rules, malformed })
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        select(&USERS[..]).prop_map(Subject::user),
        select(&GROUPS[..]).prop_map(Subject::group),
        select(vec!["b", "c"]).prop_map(|name| Subject::service_account("a", name)),
    ]
}

fn binding() -> impl Strategy<Value = Binding> {
    let role = proptest::option::weighted(0.9, name(&["r1", "r2", "r3"]));
    (role, proptest::collection::vec(subject(), 0..4), proptest::bool::weighted(0.1)).prop_map(|(role, subjects, malformed)| Binding {
        role,
        subjects: subjects.into(),
        malformed,
    })
}

fn change() -> impl Strategy<Value = Change> {
    const ROLES: &[&str] = &["r1", "r2", "r3"];
    const BINDINGS: &[&str] = &["b1", "b2", "b3", "b4", "b5"];
    prop_oneof![
        3 => (name(ROLES), role()).prop_map(|(name, role)| Change::Role(name, role)),
        1 => name(ROLES).prop_map(Change::RoleGone),
        5 => (name(BINDINGS), binding()).prop_map(|(name, binding)| Change::Binding(name, binding)),
        2 => name(BINDINGS).prop_map(Change::BindingGone),
    ]
}

fn kind_of(change: &Change) -> Kind {
    match change {
        Change::Role(..) | Change::RoleGone(_) => Kind::ClusterRole,
        Change::Binding(..) | Change::BindingGone(_) => Kind::ClusterRoleBinding,
    }
}

/// Every question that tells two snapshots apart.
fn expect_same(snapshot: &Snapshot, expected: &Final) {
    let anew = Snapshot::of(expected.changes());
    let everybody = [&[][..], &GROUPS[..1], &GROUPS[1..], &["system:masters"]];
    for (user, groups) in USERS.iter().flat_map(|user| everybody.map(|groups| (*user, groups))) {
        for (all_groups_known, verb, subresource, node) in [
            (true, Verb::Get, Subresource::Proxy, "n1"),
            (true, Verb::None, Subresource::Metrics, "n2"),
            (false, Verb::Create, Subresource::Proxy, "n3"),
        ] {
            let (who, question) = (Who { user, groups, all_groups_known }, Question { verb, subresource, node });
            assert_eq!(snapshot.grounds(&who, question), expected.grounds(&who, question), "{who:?} {question:?}");
            // Which of several unreadable objects is named depends on the order in which they came.
            assert_eq!(std::mem::discriminant(&snapshot.may(&who, question)), std::mem::discriminant(&anew.may(&who, question)));
        }
    }
    let bindings: BTreeMap<_, _> = snapshot.bindings().map(|(name, binding)| (name.clone(), binding)).collect();
    assert_eq!(bindings, expected.bindings);
    assert!(expected.bindings.iter().all(|(name, binding)| snapshot.binding(name).as_ref() == Some(binding)));
    let roles: BTreeMap<_, _> = snapshot.roles().map(|(name, role)| (name.clone(), role.clone())).collect();
    let relevant = expected.roles.iter().filter(|(_, role)| !role.rules.is_empty() || role.malformed);
    assert_eq!(roles, relevant.map(|(name, role)| (name.clone(), role.clone())).collect());
}

proptest! {
    #[test]
    fn any_sequence_of_changes_leads_to_what_its_last_objects_say(changes in proptest::collection::vec(change(), 0..40)) {
        let (mut snapshot, mut expected) = (Snapshot::default(), Final::default());
        for change in changes {
            snapshot.apply(change.clone());
            expected.apply(change);
        }
        expect_same(&snapshot, &expected);
    }

    /// A listing tells what is there, in any order, with changes in between; what it does not tell is gone.
    #[test]
    fn after_a_listing_there_is_what_it_told(
        before in proptest::collection::vec(change(), 0..30),
        listed in subsequence((0..8_usize).collect::<Vec<_>>(), 0..8),
        during in proptest::collection::vec(change(), 0..10),
    ) {
        let mut mirror = Mirror::default();
        for kind in BOTH {
            mirror.take(Update::Listing(kind));
        }
        for change in &before {
            mirror.take(Update::Change(change.clone()));
        }
        prop_assert!(mirror.snapshot().is_none());
        for kind in BOTH {
            mirror.take(Update::Listed(kind));
        }
        let known = mirror.snapshot().cloned().expect("both kinds are listed");

        let mut all = Final::default();
        for change in before {
            all.apply(change);
        }
        expect_same(&known, &all);

        let mut expected = Final::default();
        for kind in BOTH {
            mirror.take(Update::Listing(kind));
        }
        prop_assert!(mirror.snapshot().is_some(), "what was known stays while it is listed anew");
        let told = all.changes().enumerate().filter(|(place, _)| listed.contains(place)).map(|(_, change)| change);
        for change in told.chain(during) {
            expected.apply(change.clone());
            mirror.take(Update::Change(change));
        }
        for kind in BOTH {
            mirror.take(Update::Listed(kind));
        }
        expect_same(mirror.snapshot().expect("listed again"), &expected);
    }

    /// What is lost is not asked; a listing that breaks off and begins anew drops nothing that the second one told.
    #[test]
    fn what_is_lost_is_unknown_until_it_is_listed_again(changes in proptest::collection::vec(change(), 0..20), lost in select(vec![Kind::ClusterRole, Kind::ClusterRoleBinding])) {
        let mut mirror = Mirror::default();
        for kind in BOTH {
            mirror.take(Update::Listing(kind));
            mirror.take(Update::Listed(kind));
        }
        let generation = mirror.generation();
        mirror.take(Update::Lost(lost));
        prop_assert!(mirror.snapshot().is_none());
        prop_assert!(mirror.generation() > generation);

        mirror.take(Update::Listing(lost));
        changes.iter().filter(|change| kind_of(change) == lost).for_each(|change| mirror.take(Update::Change(change.clone())));
        mirror.take(Update::Lost(lost));
        mirror.take(Update::Listing(lost));
        let mut expected = Final::default();
        for change in changes.into_iter().filter(|change| kind_of(change) == lost) {
            mirror.take(Update::Change(change.clone()));
            expected.apply(change);
        }
        prop_assert!(mirror.snapshot().is_none(), "not before it is listed whole");
        mirror.take(Update::Listed(lost));
        expect_same(mirror.snapshot().expect("listed again"), &expected);
    }
}
