//! Who asked for what, as far as a check tells it.

use std::sync::Arc;

use crate::kubelet::Verb;
use crate::observation::{Check, Text, Timestamp, User};
use crate::rbac::Who;

/// The caller of a check, and what every question about it has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) user: &'a Arc<User>,
    pub(super) verb: Verb,
    /// The node's name, if all of it was seen.
    pub(super) node: Option<&'a str>,
    /// When the kubelet had its answer.
    pub(super) time: Timestamp,
}

impl<'a> Asker<'a> {
    pub(super) fn of(check: &'a Check) -> Self {
        Self { user: &check.user, verb: check.verb.whole().map_or(Verb::Unknown, Verb::parse), node: check.node.whole(), time: check.time }
    }

    /// The username, if all of it was seen.
    pub(super) fn name(&self) -> Option<&'a str> {
        self.user.name.whole()
    }

    /// The groups of which all was seen.
    pub(super) fn groups(&self) -> Vec<&'a str> {
        self.user.groups.iter().filter_map(Text::whole).collect()
    }

    /// `groups` are those of [`Self::groups`].
    pub(super) fn who(&self, groups: &'a [&'a str]) -> Who<'a> {
        Who { user: self.name().unwrap_or_default(), groups, all_groups_known: self.user.all_groups_known() }
    }

    /// Whether they are known to be let in before RBAC is asked.
    pub(super) fn is_master(&self) -> bool {
        self.user.groups.iter().any(|group| group.whole() == Some("system:masters"))
    }
}
