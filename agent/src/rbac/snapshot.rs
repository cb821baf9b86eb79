//! The RBAC objects of a cluster at one time.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::packed::Packed;
use super::{Answer, Evidence, Grounds, Kind, Obscure, Question, Role, Subject, SubjectKind, Who};
use crate::kubelet::Verb;

/// The `ClusterRole`s and `ClusterRoleBinding`s of a cluster, as far as they concern `nodes/*`, indexed by subject.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    roles: HashMap<Arc<str>, Role>,
    /// Roles that a listing has not told yet.
    untold_roles: HashSet<Arc<str>>,
    bindings: HashMap<Arc<str>, Packed>,
    /// The names of the roles that bindings refer to, each kept once, and how many refer to it.
    referred: HashMap<Arc<str>, u32>,
    /// Which bindings name a subject: the hash of the subject, and the binding. Names that share a hash are told apart in the binding.
    by_subject: BTreeSet<(u64, Arc<str>)>,
    /// Bindings that could not be read whole.
    unreadable: Vec<Arc<str>>,
}

/// A `ClusterRoleBinding`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// The `ClusterRole`; `None` if the binding refers to something else, which grants nothing.
    pub role: Option<Arc<str>>,
    /// Whom it names.
    pub subjects: Box<[Subject]>,
    /// Something in it could not be read. With a role, that is whom it names; without one and without subjects it may be anything;
    /// without one and with subjects, it is what these are given.
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
        for change in changes {
            snapshot.apply(change);
        }
        snapshot
    }

    /// Takes a change; `false` if all was so already.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            // What has no rule for nodes grants the same as what is not there.
            Change::Role(name, role) if role.rules.is_empty() && !role.malformed => self.roles.remove(&name).is_some(),
            Change::Role(name, role) => {
                self.untold_roles.remove(&name);
                let changed = self.roles.get(&name) != Some(&role);
                if changed {
                    self.roles.insert(name, role);
                }
                changed
            }
            Change::RoleGone(name) => self.roles.remove(&name).is_some(),
            Change::Binding(name, binding) => self.bind(name, binding),
            Change::BindingGone(name) => self.unbind(&name),
        }
    }

    /// From here on all objects of a kind are told anew.
    pub(super) fn expect_all(&mut self, kind: Kind) {
        match kind {
            Kind::ClusterRole => self.untold_roles = self.roles.keys().cloned().collect(),
            Kind::ClusterRoleBinding => self.bindings.values_mut().for_each(|binding| binding.set_untold(true)),
        }
    }

    /// All were told: those that were not are gone. `false` if there are none.
    pub(super) fn forget_untold(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::ClusterRole => {
                let before = self.roles.len();
                let untold = std::mem::take(&mut self.untold_roles);
                self.roles.retain(|name, _| !untold.contains(name));
                self.roles.len() < before
            }
            Kind::ClusterRoleBinding => {
                let untold = self.bindings.iter().filter(|(_, binding)| binding.is_untold());
                let untold: Vec<_> = untold.map(|(name, _)| name.clone()).collect();
                for name in &untold {
                    self.unbind(name);
                }
                !untold.is_empty()
            }
        }
    }

    /// Whether the caller may do it.
    pub fn may(&self, who: &Who<'_>, question: Question<'_>) -> Answer {
        if who.groups.contains(&MASTERS) {
            return Answer::Allowed(Evidence::Masters);
        }
        match self.grounds(who, question).into_iter().next() {
            Some(grounds) => Answer::Allowed(Evidence::Rule(grounds)),
            None if question.verb == Verb::Unknown => Answer::Unknown(Obscure::Request),
            None if !who.all_groups_known => Answer::Unknown(Obscure::Groups),
            None => self.obscured(who, question).map_or(Answer::NoRule, |object| Answer::Unknown(Obscure::Malformed(object))),
        }
    }

    /// What allows it, by the binding's name: of each binding the first subject and the first rule, as the API server takes them.
    /// `system:masters` is not among them.
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
    pub fn binding(&self, name: &str) -> Option<Binding> {
        self.bindings.get(name).map(Packed::unpack)
    }

    /// The roles that have rules for nodes, in no order.
    pub fn roles(&self) -> impl Iterator<Item = (&Arc<str>, &Role)> {
        self.roles.iter()
    }

    /// All bindings, in no order.
    pub fn bindings(&self) -> impl Iterator<Item = (&Arc<str>, Binding)> {
        self.bindings.iter().map(|(name, binding)| (name, binding.unpack()))
    }

    /// The bindings that name the caller; one that names them twice comes twice.
    pub fn bindings_of<'a>(&'a self, who: &'a Who<'_>) -> impl Iterator<Item = (&'a Arc<str>, Binding)> {
        self.bound(who).map(|(name, binding)| (name, binding.unpack()))
    }

    fn bound<'a>(&'a self, who: &'a Who<'_>) -> impl Iterator<Item = (&'a Arc<str>, &'a Packed)> {
        let hashes = std::iter::once(hash(false, who.user)).chain(who.groups.iter().map(|group| hash(true, group)));
        let names = hashes.flat_map(|hash| self.by_subject.range((hash, Arc::default())..).take_while(move |(other, _)| *other == hash));
        names.filter_map(|(_, name)| self.bindings.get_key_value(name)).filter(|(_, binding)| binding.names(who))
    }

    fn ground(&self, name: &Arc<str>, binding: &Packed, who: &Who<'_>, question: Question<'_>) -> Option<Grounds> {
        let (role_name, role) = self.roles.get_key_value(binding.role()?)?;
        let allowing = role.allowing(question)?;
        Some(Grounds { binding: name.clone(), role: role_name.clone(), rule: allowing.index, subject: binding.subject(who)? })
    }

    /// An object that could not be read and might allow this to the caller.
    fn obscured(&self, who: &Who<'_>, question: Question<'_>) -> Option<Arc<str>> {
        let of_caller = self.bound(who).find_map(|(name, binding)| match binding.role() {
            Some(role) => self.roles.get(role).filter(|it| it.malformed).map(|_| format!("ClusterRole/{role}")),
            None => binding.malformed().then(|| format!("ClusterRoleBinding/{name}")),
        });
        let of_anybody = || {
            let mut bindings = self.unreadable.iter().filter_map(|name| self.bindings.get_key_value(name));
            let found = bindings.find(|(_, binding)| match binding.role() {
                Some(role) => self.roles.get(role).is_some_and(|role| role.malformed || role.allowing(question).is_some()),
                None => !binding.has_subjects(),
            });
            found.map(|(name, _)| format!("ClusterRoleBinding/{name}"))
        };
        of_caller.or_else(of_anybody).map(Arc::from)
    }

    fn bind(&mut self, name: Arc<str>, mut binding: Binding) -> bool {
        if let Some((shared, _)) = binding.role.as_ref().and_then(|role| self.referred.get_key_value(role)) {
            binding.role = Some(shared.clone());
        }
        let packed = Packed::of(&binding);
        if let Some(present) = self.bindings.get_mut(&name) {
            present.set_untold(false);
            if *present == packed {
                return false;
            }
            self.unbind(&name);
        }
        if binding.malformed {
            self.unreadable.push(name.clone());
        }
        if let Some(role) = binding.role {
            *self.referred.entry(role).or_default() += 1;
        }
        self.by_subject.extend(binding.subjects.iter().map(|subject| (hash_of(subject), name.clone())));
        self.bindings.insert(name, packed);
        true
    }

    fn unbind(&mut self, name: &str) -> bool {
        let Some((name, binding)) = self.bindings.remove_entry(name) else { return false };
        self.unreadable.retain(|other| *other != name);
        if let Some(Entry::Occupied(mut references)) = binding.role().map(|role| self.referred.entry(role.clone())) {
            *references.get_mut() -= 1;
            if *references.get() == 0 {
                references.remove();
            }
        }
        for subject in &binding.unpack().subjects {
            self.by_subject.remove(&(hash_of(subject), name.clone()));
        }
        true
    }
}

/// A `ServiceAccount` is found by its username.
fn hash_of(subject: &Subject) -> u64 {
    hash(subject.kind == SubjectKind::Group, &subject.name)
}

fn hash(is_group: bool, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (is_group, name).hash(&mut hasher);
    hasher.finish()
}
