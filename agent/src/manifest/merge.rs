//! The objects of manifests as one snapshot, as if they all were applied, with what cannot be known from files alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::{Manifests, Place, RoleManifest};
use crate::rbac::{Binding, Object, Role, Rule, Snapshot, builtin};

/// A snapshot, and where it is from.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The objects. Roles that may give more than is here are marked as malformed.
    pub snapshot: Snapshot,
    /// Why they may.
    pub unsure: BTreeMap<Arc<str>, Unsure>,
    /// Where each rule is, by role and place in it.
    pub rules: BTreeMap<(Arc<str>, u16), Place>,
    /// Where each role is.
    pub roles: BTreeMap<Arc<str>, Place>,
    /// Where each binding is.
    pub bindings: BTreeMap<Arc<str>, Place>,
}

/// Why it cannot be told what a role gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsure {
    /// It gathers rules of other roles by their labels (`aggregationRule`), and those may be elsewhere.
    Gathers,
    /// It is not in the manifests, and Kubernetes does not make it itself.
    Elsewhere,
}

impl Manifests {
    /// All objects. Of roles that come more than once all rules count, and of bindings all subjects: which one is applied last is not known.
    pub fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        let mut roles: BTreeMap<Arc<str>, Role> = BTreeMap::new();
        for manifest in &self.roles {
            let gathered = self.roles.iter().filter(|other| is_gathered(manifest, other));
            let role = roles.entry(manifest.name.clone()).or_default();
            for part in std::iter::once(manifest).chain(gathered) {
                objects.add_rules(&manifest.name, role, part);
            }
            if !manifest.gathers.is_empty() {
                role.malformed = true;
                objects.unsure.insert(manifest.name.clone(), Unsure::Gathers);
            }
            objects.roles.entry(manifest.name.clone()).or_insert_with(|| manifest.place.clone());
        }
        let mut bindings: BTreeMap<Arc<str>, Binding> = BTreeMap::new();
        for manifest in &self.bindings {
            let known = bindings.get(&manifest.name);
            let merged = known.map_or_else(|| manifest.binding.clone(), |known| both(known, &manifest.binding));
            bindings.insert(manifest.name.clone(), merged);
            objects.bindings.entry(manifest.name.clone()).or_insert_with(|| manifest.place.clone());
        }
        for name in bindings.values().filter_map(|binding| binding.role.clone()) {
            roles.entry(name.clone()).or_insert_with(|| {
                builtin::role(&name).unwrap_or_else(|| {
                    objects.unsure.insert(name.clone(), Unsure::Elsewhere);
                    elsewhere(&name)
                })
            });
        }
        let roles = roles.into_iter().map(|(name, role)| Object::Role(name, role).into_change());
        let bindings = bindings.into_iter().map(|(name, binding)| Object::Binding(name, binding).into_change());
        objects.snapshot = Snapshot::of(roles.chain(bindings));
        objects
    }
}

impl Objects {
    /// Adds the rules of a manifest to a role. Those that come second get numbers of their own.
    fn add_rules(&mut self, name: &Arc<str>, role: &mut Role, from: &RoleManifest) {
        role.malformed |= from.role.malformed;
        role.other_rules |= from.role.other_rules;
        let mut rules = std::mem::take(&mut role.rules).into_vec();
        let taken = rules.iter().map(|rule| rule.index.saturating_add(1)).max().unwrap_or(0);
        for (rule, place) in from.role.rules.iter().zip(&from.rules) {
            let index = rule.index.saturating_add(taken);
            self.rules.entry((name.clone(), index)).or_insert_with(|| place.clone());
            rules.push(Rule { index, ..rule.clone() });
        }
        role.rules = rules.into();
    }
}

/// Whether one role takes the rules of another, as far as labels tell.
fn is_gathered(by: &RoleManifest, other: &RoleManifest) -> bool {
    let selectors = by.gathers.iter().flatten();
    other.name != by.name && selectors.into_iter().any(|wanted| wanted.iter().all(|(key, value)| other.labels.get(key) == Some(value)))
}

/// Two bindings of one name. A binding's role cannot be changed, so of two with different roles it is unknown which one there is.
fn both(one: &Binding, other: &Binding) -> Binding {
    let same = one.role == other.role;
    Binding {
        role: one.role.clone().filter(|_| same),
        subjects: one.subjects.iter().chain(&other.subjects).cloned().collect(),
        malformed: one.malformed || other.malformed || !same,
    }
}

/// A role of which nothing is known.
fn elsewhere(name: &str) -> Role {
    let unreadable = json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": "elsewhere"});
    match Object::parse(&unreadable) {
        Ok(Object::Role(_, role)) => role,
        _ => Role::default(),
    }
}
