//! How `nodes/proxy` is taken away from a caller: one step for each binding that gives it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Caller;
use crate::kubelet::Subresource;
use crate::rbac::{self, Binding, Change, Role, Rule, Snapshot, Subject, SubjectKind};

/// What to do about one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The `ClusterRoleBinding`.
    pub binding: Arc<str>,
    /// Its `ClusterRole`.
    pub role: Arc<str>,
    /// The rules of the role that give `nodes/proxy`, from 0.
    pub rules: Vec<u16>,
    /// The subject of the binding that the caller is.
    pub subject: Subject,
    /// What to do.
    pub action: Action,
    /// Others whom the action leaves as they are, or affects; see [`Action`].
    pub others: Vec<Subject>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Delete the binding: it names nobody else, and the role gives nothing but rights on `nodes/*`.
    DeleteBinding,
    /// Take the subject out of the binding: the others keep what they have.
    RemoveSubject,
    /// Take `nodes/proxy` out of the rules of the role, which gives other rights too. The others lose it as well.
    EditRole,
    /// The caller has it as a member of a group, and the others who are named have it by the same binding: nothing can be done for the
    /// caller alone.
    Group,
    /// The rule says `*` or `*/proxy`, which cannot be narrowed by taking something out: the caller needs another role for what it does
    /// besides.
    Wildcard,
    /// The role could not be read whole.
    Unreadable,
}

/// The steps for a caller who holds `nodes/proxy` by these grants.
pub(super) fn steps(caller: &Caller, grants: &[&rbac::Holder], snapshot: &Snapshot, bound_to: &BoundTo) -> Vec<Step> {
    let mut by_subject: BTreeMap<(&Arc<str>, &Subject), &rbac::Holder> = BTreeMap::new();
    for grant in grants.iter().filter(|grant| caller.is(&grant.subject)) {
        by_subject.entry((&grant.binding, &grant.subject)).or_insert(grant);
    }
    by_subject.into_values().filter_map(|grant| step(caller, grant, snapshot, bound_to)).collect()
}

/// The subjects of each role, by whatever binding.
pub(super) struct BoundTo(BTreeMap<Arc<str>, Vec<Subject>>);

impl BoundTo {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut all: BTreeMap<Arc<str>, Vec<Subject>> = BTreeMap::new();
        for (_, Binding { role, subjects, .. }) in snapshot.bindings() {
            if let Some(role) = role.filter(|role| snapshot.role(role).is_some()) {
                all.entry(role).or_default().extend(subjects);
            }
        }
        for subjects in all.values_mut() {
            subjects.sort();
            subjects.dedup();
        }
        Self(all)
    }

    fn role(&self, role: &str) -> &[Subject] {
        self.0.get(role).map_or(&[], Vec::as_slice)
    }
}

fn step(caller: &Caller, grant: &rbac::Holder, snapshot: &Snapshot, bound_to: &BoundTo) -> Option<Step> {
    let role = snapshot.role(&grant.by.role)?;
    let binding = snapshot.binding(&grant.binding)?;
    let giving: Vec<&Rule> = role.rules.iter().filter(|rule| rule.subresources.contains(Subresource::Proxy)).collect();
    let is_caller = |subject: &Subject| subject.kind != SubjectKind::Group && caller.is(subject);
    let others = |subjects: &[Subject]| subjects.iter().filter(|subject| !is_caller(subject)).cloned().collect::<Vec<_>>();
    let bound = others(&binding.subjects);
    let (action, others) = if grant.subject.kind == SubjectKind::Group {
        (Action::Group, bound.into_iter().filter(|other| *other != grant.subject).collect())
    } else if giving.iter().any(|rule| rule.subresources.by_wildcard(Subresource::Proxy)) {
        (Action::Wildcard, bound)
    } else if role.malformed || binding.malformed {
        (Action::Unreadable, bound)
    } else if role.other_rules {
        (Action::EditRole, others(bound_to.role(&grant.by.role)))
    } else if bound.is_empty() {
        (Action::DeleteBinding, bound)
    } else {
        (Action::RemoveSubject, bound)
    };
    Some(Step {
        binding: grant.binding.clone(),
        role: grant.by.role.clone(),
        rules: giving.iter().map(|rule| rule.index).collect(),
        subject: grant.subject.clone(),
        action,
        others,
    })
}

impl Action {
    /// A word for programs.
    pub const fn id(self) -> &'static str {
        match self {
            Self::DeleteBinding => "delete-binding",
            Self::RemoveSubject => "remove-subject",
            Self::EditRole => "edit-role",
            Self::Group => "group",
            Self::Wildcard => "wildcard",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Step {
    /// What the RBAC objects become by it; `None` if it is nothing that can be said in advance.
    pub(super) fn change(&self, snapshot: &Snapshot) -> Option<Change> {
        match self.action {
            Action::DeleteBinding => Some(Change::BindingGone(self.binding.clone())),
            Action::RemoveSubject => {
                let binding = snapshot.binding(&self.binding)?;
                let subjects = binding.subjects.iter().filter(|subject| **subject != self.subject).cloned().collect();
                Some(Change::Binding(self.binding.clone(), Binding { subjects, ..binding.clone() }))
            }
            Action::EditRole => {
                let role = snapshot.role(&self.role)?;
                let rules =
                    role.rules.iter().map(|rule| Rule { subresources: rule.subresources.without(Subresource::Proxy), ..rule.clone() });
                let rules = rules.filter(|rule| !rule.subresources.is_empty()).collect();
                Some(Change::Role(self.role.clone(), Role { rules, ..role.clone() }))
            }
            Action::Group | Action::Wildcard | Action::Unreadable => None,
        }
    }
}
