//! The RBAC objects as the API server tells them, one after the other. Pure: updates in, a snapshot out.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Change, Snapshot};

/// The kinds of objects that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kinds")]
pub enum Kind {
    ClusterRole,
    ClusterRoleBinding,
}

/// What the API server told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// All objects of the kind will be told now.
    Listing(Kind),
    /// An object, new or not.
    Change(Change),
    /// They all were told; from here on changes come as they happen.
    Listed(Kind),
    /// Nothing is heard of this kind any more; what was told is growing old.
    Lost(Kind),
}

/// Follows the updates.
#[derive(Debug, Default)]
pub struct Mirror {
    snapshot: Snapshot,
    roles: Progress,
    bindings: Progress,
    generation: u64,
}

/// How far one kind is.
#[derive(Debug, Default)]
struct Progress {
    current: bool,
    /// What the listing told so far.
    told: Option<HashSet<Arc<str>>>,
}

impl Mirror {
    /// The objects; `None` while they are not all known, or are growing old.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        (self.roles.current && self.bindings.current).then_some(&self.snapshot)
    }

    /// Another number after each change: what was concluded from an earlier one is to be forgotten.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes an update.
    pub fn take(&mut self, update: Update) {
        self.generation += 1;
        match update {
            Update::Listing(kind) => self.progress(kind).told = Some(HashSet::new()),
            Update::Change(change) => {
                let (kind, name) = match &change {
                    Change::Role(name, _) | Change::RoleGone(name) => (Kind::ClusterRole, name.clone()),
                    Change::Binding(name, _) | Change::BindingGone(name) => (Kind::ClusterRoleBinding, name.clone()),
                };
                if let Some(told) = &mut self.progress(kind).told {
                    told.insert(name);
                }
                self.snapshot.apply(change);
            }
            Update::Listed(kind) => {
                if let Some(told) = self.progress(kind).told.take() {
                    self.forget_all_but(kind, &told);
                }
                self.progress(kind).current = true;
            }
            Update::Lost(kind) => *self.progress(kind) = Progress::default(),
        }
    }

    fn forget_all_but(&mut self, kind: Kind, told: &HashSet<Arc<str>>) {
        let gone: Vec<Change> = match kind {
            Kind::ClusterRole => {
                self.snapshot.roles().filter(|(name, _)| !told.contains(*name)).map(|(name, _)| Change::RoleGone(name.clone())).collect()
            }
            Kind::ClusterRoleBinding => {
                self.snapshot.binding_names().filter(|name| !told.contains(*name)).map(|name| Change::BindingGone(name.clone())).collect()
            }
        };
        for change in gone {
            self.snapshot.apply(change);
        }
    }

    fn progress(&mut self, kind: Kind) -> &mut Progress {
        match kind {
            Kind::ClusterRole => &mut self.roles,
            Kind::ClusterRoleBinding => &mut self.bindings,
        }
    }
}
