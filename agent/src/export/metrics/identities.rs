//! The only open label, closed.

use std::collections::HashSet;

/// The identities that have series of their own: the first ones, up to a limit.
#[derive(Debug)]
pub(super) struct Identities {
    limit: usize,
    known: HashSet<String>,
}

impl Identities {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, known: HashSet::new() }
    }

    /// The label of an identity: its name, or `other` for those who came too late.
    pub(super) fn label<'a>(&mut self, name: &'a str) -> &'a str {
        if self.known.contains(name) {
            return name;
        }
        if self.known.len() >= self.limit {
            return "other";
        }
        self.known.insert(name.to_owned());
        name
    }
}
