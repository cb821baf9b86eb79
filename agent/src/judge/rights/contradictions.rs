//! What the kubelet was told that the RBAC objects do not say, and since when.

use std::collections::HashMap;

use crate::observation::Timestamp;
use crate::rbac::{Change, Update};

/// So many are remembered; with one more, all are forgotten, and each counts as new again.
const LIMIT: usize = 4096;

/// Contradictions, each with the time when it was first seen.
#[derive(Debug, Default)]
pub(super) struct Contradictions {
    since: HashMap<Contradiction, Timestamp>,
}

/// A binding and a role that the kubelet named for a user, and that do not explain it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Contradiction {
    binding: Box<str>,
    role: Box<str>,
    user: Box<str>,
}

impl Contradictions {
    /// An object that is written anew may explain for a while what the kubelet was told: whatever names it counts as new.
    pub(super) fn take(&mut self, update: &Update) {
        match update {
            Update::Change(Change::Binding(name, _)) => self.since.retain(|known, _| *known.binding != **name),
            Update::Change(Change::Role(name, _)) => self.since.retain(|known, _| *known.role != **name),
            _ => {}
        }
    }

    /// It was seen; when for the first time.
    pub(super) fn seen(&mut self, binding: &str, role: &str, user: Option<&str>, at: Timestamp) -> Timestamp {
        let contradiction = Contradiction::of(binding, role, user);
        if self.since.len() >= LIMIT && !self.since.contains_key(&contradiction) {
            self.since.clear();
        }
        *self.since.entry(contradiction).or_insert(at)
    }

    /// The objects explain it.
    pub(super) fn resolved(&mut self, binding: &str, role: &str, user: Option<&str>) {
        if !self.since.is_empty() {
            self.since.remove(&Contradiction::of(binding, role, user));
        }
    }
}

impl Contradiction {
    fn of(binding: &str, role: &str, user: Option<&str>) -> Self {
        Self { binding: binding.into(), role: role.into(), user: user.unwrap_or_default().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_bounded() {
        let mut contradictions = Contradictions::default();
        for n in 0..3 * LIMIT {
            contradictions.seen(&n.to_string(), "role", Some("user"), Timestamp(1));
        }
        assert!(contradictions.since.len() <= LIMIT);
    }
}
