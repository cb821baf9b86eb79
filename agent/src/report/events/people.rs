//! Those who called, by number, so that counting them copies no names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use memchr::arch::all::is_equal;

use super::line::User;
use crate::report::{IdentitySeen, Who};

/// The most identities that are kept apart, and the most groups and bindings of one. The rest is counted as others.
pub(super) const MOST_PEOPLE: usize = 100_000;
const MOST_WORDS: usize = 1_000;

/// The number of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Person(u32);

/// All callers.
#[derive(Debug)]
pub(super) struct People {
    numbers: HashMap<String, Person, RandomState>,
    known: Vec<(Who, Known)>,
}

/// What is known of a caller.
#[derive(Debug, Default)]
pub(super) struct Known {
    groups: Option<BTreeSet<String>>,
    /// The groups of the last event, as they were written: nearly always those of the next.
    groups_before: String,
    /// Numbers of nodes.
    pub(super) nodes: BTreeSet<usize>,
    granted_by: BTreeMap<String, u64>,
    pub(super) through_api_server: u64,
    /// It is more than a name that was once met.
    pub(super) seen: bool,
}

/// A name was beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl People {
    const NOBODY: Person = Person(0);
    const OTHERS: Person = Person(1);

    pub(super) fn new() -> Self {
        Self { numbers: HashMap::default(), known: vec![(Who::Nobody, Known::default()), (Who::Others, Known::default())] }
    }

    /// The caller of this name; nobody has none. The error is that of being beyond the limit, and the caller is among the others then.
    pub(super) fn named(&mut self, name: &str) -> (Person, Result<(), TooMany>) {
        if name.is_empty() {
            return (Self::NOBODY, Ok(()));
        }
        if let Some(person) = self.numbers.get(name) {
            return (*person, Ok(()));
        }
        match u32::try_from(self.known.len()) {
            Ok(number) if self.numbers.len() < MOST_PEOPLE => {
                self.numbers.insert(name.to_owned(), Person(number));
                self.known.push((Who::User(name.to_owned()), Known::default()));
                (Person(number), Ok(()))
            }
            _ => (Self::OTHERS, Err(TooMany)),
        }
    }

    pub(super) fn known(&mut self, person: Person) -> &mut Known {
        &mut self.known[person.0 as usize].1
    }

    pub(super) fn who(&self, person: Person) -> &Who {
        &self.known[person.0 as usize].0
    }

    /// What is known of all who were seen, with the names of these nodes.
    pub(super) fn told(self, nodes: &[String]) -> BTreeMap<Who, IdentitySeen> {
        let told = |known: Known| IdentitySeen {
            groups: known.groups,
            nodes: known.nodes.into_iter().filter_map(|node| nodes.get(node).cloned()).collect(),
            granted_by: known.granted_by,
            through_api_server: known.through_api_server,
        };
        self.known.into_iter().filter(|(_, known)| known.seen).map(|(who, known)| (who, told(known))).collect()
    }
}

impl Known {
    pub(super) fn in_groups(&mut self, user: &User) -> Result<(), TooMany> {
        let kept = self.groups.get_or_insert_default();
        let written = user.groups_as_written();
        // The `memcmp` of a static binary (musl) goes byte by byte.
        if written.is_some_and(|written| is_equal(written.as_bytes(), self.groups_before.as_bytes())) {
            return Ok(());
        }
        self.groups_before.clear();
        self.groups_before.push_str(written.unwrap_or_default());
        for group in user.groups() {
            if !kept.contains(group) {
                if kept.len() >= MOST_WORDS {
                    return Err(TooMany);
                }
                kept.insert(group.to_owned());
            }
        }
        Ok(())
    }

    pub(super) fn granted_by(&mut self, grant: &str) -> Result<(), TooMany> {
        if let Some(count) = self.granted_by.get_mut(grant) {
            *count += 1;
        } else if self.granted_by.len() < MOST_WORDS {
            self.granted_by.insert(grant.to_owned(), 1);
        } else {
            return Err(TooMany);
        }
        Ok(())
    }
}
