//! Who asked for what, as far as a check tells it.

use crate::kubelet::Verb;
use crate::observation::{Check, Text, Timestamp};
use crate::rbac::Who;

/// The caller of a check, and what every question about it has in common.
#[derive(Clone, Debug)]
pub(super) struct Asker<'a> {
    /// The username, if all of it was seen.
    pub(super) user: Option<&'a str>,
    /// The groups of which all was seen.
    pub(super) groups: Vec<&'a str>,
    pub(super) all_groups_known: bool,
    pub(super) verb: Verb,
    /// The node's name, if all of it was seen.
    pub(super) node: Option<&'a str>,
    /// When the kubelet had its answer.
    pub(super) time: Timestamp,
}

impl<'a> Asker<'a> {
    pub(super) fn of(check: &'a Check) -> Self {
        Self {
            user: check.user.name.whole(),
            groups: check.user.groups.iter().filter_map(Text::whole).collect(),
            all_groups_known: check.user.all_groups_known(),
            verb: check.verb.whole().map_or(Verb::Unknown, Verb::parse),
            node: check.node.whole(),
            time: check.time,
        }
    }

    pub(super) fn who(&self) -> Who<'_> {
        Who { user: self.user.unwrap_or_default(), groups: &self.groups, all_groups_known: self.all_groups_known }
    }

    /// Whether they are known to be let in before RBAC is asked.
    pub(super) fn is_master(&self) -> bool {
        self.groups.contains(&"system:masters")
    }
}
