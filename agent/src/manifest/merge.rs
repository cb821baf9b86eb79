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

/// Comparisons of labels, for all roles that gather together. Beyond it is unknown what they gather, as it is at any rate.
const COMPARISONS: usize = 10_000_000;

impl Manifests {
    /// All objects. Of roles that come more than once all rules count, and of bindings all subjects: which one is applied last is not known.
    pub fn objects(&self) -> Objects {
        let mut objects = Objects::default();
        let mut roles = self.merged_roles(&mut objects);
        let bindings = self.merged_bindings(&mut objects);
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

    fn merged_roles(&self, objects: &mut Objects) -> BTreeMap<Arc<str>, Role> {
        let gatherable: Vec<_> = self.roles.iter().filter(|role| !role.labels.is_empty() && !role.rules.is_empty()).collect();
        let mut comparisons = 0;
        let mut parts: BTreeMap<Arc<str>, Vec<&RoleManifest>> = BTreeMap::new();
        for manifest in &self.roles {
            let of_name = parts.entry(manifest.name.clone()).or_default();
            of_name.push(manifest);
            objects.roles.entry(manifest.name.clone()).or_insert_with(|| manifest.place.clone());
            if !manifest.gathers.is_empty() {
                objects.unsure.insert(manifest.name.clone(), Unsure::Gathers);
                comparisons += gatherable.len();
                if comparisons <= COMPARISONS {
                    of_name.extend(gatherable.iter().filter(|other| is_gathered(manifest, other)));
                }
            }
        }
        parts.into_iter().map(|(name, parts)| (name.clone(), objects.merged_role(&name, &parts))).collect()
    }

    fn merged_bindings(&self, objects: &mut Objects) -> BTreeMap<Arc<str>, Binding> {
        let mut parts: BTreeMap<Arc<str>, Vec<&Binding>> = BTreeMap::new();
        for manifest in &self.bindings {
            parts.entry(manifest.name.clone()).or_default().push(&manifest.binding);
            objects.bindings.entry(manifest.name.clone()).or_insert_with(|| manifest.place.clone());
        }
        parts.into_iter().map(|(name, parts)| (name, merged_binding(&parts))).collect()
    }
}

impl Objects {
    /// The rules of manifests of one role. Those of the second and of further ones get numbers of their own.
    fn merged_role(&mut self, name: &Arc<str>, parts: &[&RoleManifest]) -> Role {
        let mut role = Role { malformed: self.unsure.contains_key(name), ..Role::default() };
        let mut rules: Vec<Rule> = Vec::new();
        for part in parts {
            role.malformed |= part.role.malformed;
            role.other_rules |= part.role.other_rules;
            let taken = rules.last().map_or(0, |rule| rule.index.saturating_add(1));
            for (rule, place) in part.role.rules.iter().zip(&part.rules) {
                let index = rule.index.saturating_add(taken);
                self.rules.entry((name.clone(), index)).or_insert_with(|| place.clone());
                rules.push(Rule { index, ..rule.clone() });
            }
        }
        role.rules = rules.into();
        role
    }
}

/// Whether one role takes the rules of another, as far as labels tell.
fn is_gathered(by: &RoleManifest, other: &RoleManifest) -> bool {
    let mut selectors = by.gathers.iter().flatten();
    other.name != by.name && selectors.any(|wanted| wanted.iter().all(|(key, value)| other.labels.get(key) == Some(value)))
}

/// Bindings of one name. A binding's role cannot be changed, so of several with different roles it is unknown which one there is.
fn merged_binding(parts: &[&Binding]) -> Binding {
    let role = parts.first().and_then(|binding| binding.role.clone());
    let same = parts.iter().all(|binding| binding.role == role);
    Binding {
        role: role.filter(|_| same),
        subjects: parts.iter().flat_map(|binding| binding.subjects.iter().cloned()).collect(),
        malformed: !same || parts.iter().any(|binding| binding.malformed),
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
