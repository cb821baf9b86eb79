//! The RBAC objects of a cluster at one time.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Answer, Evidence, Grounds, Obscure, Question, Role, Subject, SubjectKind, Who};

/// The `ClusterRole`s and `ClusterRoleBinding`s of a cluster, as far as they concern `nodes/*`, indexed by subject.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    roles: HashMap<Arc<str>, Role>,
    bindings: HashMap<Arc<str>, Binding>,
    users: HashMap<Arc<str>, Vec<Arc<str>>>,
    groups: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// Bindings that could not be read, and might name anybody.
    unreadable: Vec<Arc<str>>,
}

/// A `ClusterRoleBinding`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The `ClusterRole`; `None` if the binding refers to something else, which grants nothing.
    pub role: Option<Arc<str>>,
    /// Whom it names.
    pub subjects: Box<[Subject]>,
    /// Something in it could not be read.
    pub malformed: bool,
}

/// A change of the RBAC objects.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; each has the object's name first")]
pub enum Change {
    Role(Arc<str>, Role),
    RoleGone(Arc<str>),
    Binding(Arc<str>, Binding),
    BindingGone(Arc<str>),
}

/// The group that is allowed everything before RBAC is asked.
const MASTERS: &str = "system:masters";

impl Snapshot {
    /// The objects that these changes lead to.
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut snapshot = Self::default();
        changes.into_iter().for_each(|change| snapshot.apply(change));
        snapshot
    }

    /// Takes a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            // What has no rule for nodes grants the same as what is not there.
            Change::Role(name, role) if role.rules.is_empty() && !role.malformed => {
                self.roles.remove(&name);
            }
            Change::Role(name, role) => {
                self.roles.insert(name, role);
            }
            Change::RoleGone(name) => {
                self.roles.remove(&name);
            }
            Change::Binding(name, binding) => {
                self.unbind(&name);
                self.bind(name, binding);
            }
            Change::BindingGone(name) => self.unbind(&name),
        }
    }

    /// Whether the caller may do it.
    pub fn may(&self, who: &Who<'_>, question: Question<'_>) -> Answer {
        if who.groups.contains(&MASTERS) {
            return Answer::Allowed(Evidence::Masters);
        }
        match self.grounds(who, question).into_iter().next() {
            Some(grounds) => Answer::Allowed(Evidence::Rule(grounds)),
            None if !who.all_groups_known => Answer::Unknown(Obscure::Groups),
            None => self.obscured(who).map_or(Answer::NoRule, |object| Answer::Unknown(Obscure::Malformed(object))),
        }
    }

    /// All rules that allow it, by the binding's name. `system:masters` is not among them.
    pub fn grounds(&self, who: &Who<'_>, question: Question<'_>) -> Vec<Grounds> {
        let mut grounds: Vec<Grounds> = self.bound(who).filter_map(|(name, binding)| self.ground(name, binding, who, question)).collect();
        grounds.sort();
        grounds.dedup();
        grounds
    }

    /// Whether this binding of this role is among what allows it.
    pub fn explains(&self, who: &Who<'_>, question: Question<'_>, binding: &str, role: &str) -> bool {
        let ground = self.bindings.get_key_value(binding).and_then(|(name, binding)| self.ground(name, binding, who, question));
        ground.is_some_and(|ground| *ground.role == *role)
    }

    /// A role with rules for nodes.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    /// A binding.
    pub fn binding(&self, name: &str) -> Option<&Binding> {
        self.bindings.get(name)
    }

    /// The roles that have rules for nodes, in no order.
    pub fn roles(&self) -> impl Iterator<Item = (&Arc<str>, &Role)> {
        self.roles.iter()
    }

    /// All bindings, in no order.
    pub fn bindings(&self) -> impl Iterator<Item = (&Arc<str>, &Binding)> {
        self.bindings.iter()
    }

    /// The bindings that name the caller; one that names them twice comes twice.
    fn bound<'a>(&'a self, who: &'a Who<'_>) -> impl Iterator<Item = (&'a Arc<str>, &'a Binding)> {
        let of_user = self.users.get(who.user).into_iter();
        let of_groups = who.groups.iter().filter_map(|group| self.groups.get(*group));
        of_user.chain(of_groups).flatten().filter_map(|name| self.bindings.get_key_value(name))
    }

    fn ground(&self, name: &Arc<str>, binding: &Binding, who: &Who<'_>, question: Question<'_>) -> Option<Grounds> {
        let (name_of_role, role) = self.roles.get_key_value(binding.role.as_ref()?)?;
        let allowing = role.rules.iter().find(|rule| rule.allows(question.verb, question.subresource, question.node))?;
        let subject = binding.subjects.iter().find(|subject| names(subject, who))?;
        Some(Grounds { binding: name.clone(), role: name_of_role.clone(), rule: allowing.index, subject: subject.clone() })
    }

    /// An object that could not be read and might allow anything to the caller.
    fn obscured(&self, who: &Who<'_>) -> Option<Arc<str>> {
        let role = |binding: &Binding| {
            let (name, role) = self.roles.get_key_value(binding.role.as_ref()?)?;
            role.malformed.then(|| format!("ClusterRole/{name}").into())
        };
        let binding = self.unreadable.first().map(|name| format!("ClusterRoleBinding/{name}").into());
        binding.or_else(|| self.bound(who).find_map(|(_, binding)| role(binding)))
    }

    fn bind(&mut self, name: Arc<str>, binding: Binding) {
        if binding.malformed {
            self.unreadable.push(name.clone());
        }
        for subject in &binding.subjects {
            let bindings = self.index(subject.kind).entry(subject.name.clone()).or_insert_with(|| Vec::with_capacity(1));
            if !bindings.contains(&name) {
                bindings.push(name.clone());
            }
        }
        self.bindings.insert(name, binding);
    }

    fn unbind(&mut self, name: &str) {
        let Some(binding) = self.bindings.remove(name) else { return };
        self.unreadable.retain(|other| **other != *name);
        for subject in &binding.subjects {
            let index = self.index(subject.kind);
            if let Some(bindings) = index.get_mut(&subject.name) {
                bindings.retain(|other| **other != *name);
                if bindings.is_empty() {
                    index.remove(&subject.name);
                }
            }
        }
    }

    /// Where bindings of such subjects are found: a `ServiceAccount` by its username.
    fn index(&mut self, kind: SubjectKind) -> &mut HashMap<Arc<str>, Vec<Arc<str>>> {
        match kind {
            SubjectKind::User | SubjectKind::ServiceAccount => &mut self.users,
            SubjectKind::Group => &mut self.groups,
        }
    }
}

/// `appliesToUser` (`pkg/registry/rbac/validation/rule.go`)
fn names(subject: &Subject, who: &Who<'_>) -> bool {
    match subject.kind {
        SubjectKind::User | SubjectKind::ServiceAccount => *subject.name == *who.user,
        SubjectKind::Group => who.groups.iter().any(|group| **group == *subject.name),
    }
}
