//! The RBAC objects as the API server tells them, one after the other. Pure: updates in, a snapshot out.

use super::{Change, Snapshot};

/// The kinds of objects that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kinds")]
pub enum Kind {
    ClusterRole,
    ClusterRoleBinding,
}

impl Kind {
    /// Its name in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterRole => "ClusterRole",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
        }
    }
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
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// All objects are known, and changes are told.
    current: bool,
    /// They are being listed.
    listing: bool,
}

impl Mirror {
    /// The objects; `None` while they are not all known, or are growing old.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        (self.roles.current && self.bindings.current).then_some(&self.snapshot)
    }

    /// Another number after each change: what was concluded from an earlier one is to be forgotten. A listing that tells what is known
    /// already changes nothing.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes an update.
    pub fn take(&mut self, update: Update) {
        let changed = match update {
            Update::Listing(kind) => {
                self.snapshot.expect_all(kind);
                self.progress(kind).listing = true;
                false
            }
            Update::Change(change) => self.snapshot.apply(change),
            Update::Listed(kind) => {
                let Progress { current, listing } = std::mem::replace(self.progress(kind), Progress { current: true, listing: false });
                listing && self.snapshot.forget_untold(kind) || !current
            }
            Update::Lost(kind) => std::mem::take(self.progress(kind)).current,
        };
        self.generation += u64::from(changed);
    }

    fn progress(&mut self, kind: Kind) -> &mut Progress {
        match kind {
            Kind::ClusterRole => &mut self.roles,
            Kind::ClusterRoleBinding => &mut self.bindings,
        }
    }
}
