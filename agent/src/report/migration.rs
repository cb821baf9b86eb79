//! How far the identities are from doing without `nodes/proxy`.

use std::collections::{BTreeMap, BTreeSet};

use super::{ByAccess, Observed, Origin, Replacement, Verdict, Who};

/// Identities by what is left to do. The API server, which needs `nodes/proxy`, is none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// Identities that were let in by other rights alone and are not known to hold `nodes/proxy`, but by what Kubernetes itself sets up.
    pub free: u64,
    /// The others, by verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Their requests.
    pub requests: ByAccess,
}

impl Migration {
    pub(super) fn of(observed: &Observed, origin: &Origin, replacements: &[Replacement]) -> Self {
        let mut migration = Self::default();
        for replacement in replacements {
            *migration.verdicts.entry(replacement.verdict).or_default() += 1;
        }
        let named: BTreeSet<&str> = replacements.iter().map(|replacement| &*replacement.subject.name).collect();
        let mut free = BTreeSet::new();
        for (seen, count) in &observed.uses {
            let Who::User(user) = &seen.who else { continue };
            if origin.is_api_server(user) {
                continue;
            }
            migration.requests.add(seen.access, *count);
            if seen.access.is_allowed() && !named.contains(user.as_str()) {
                free.insert(user);
            }
        }
        migration.free = free.len() as u64;
        migration
    }

    /// All identities that count.
    pub fn identities(&self) -> u64 {
        self.free + self.verdicts.values().sum::<u64>()
    }
}
