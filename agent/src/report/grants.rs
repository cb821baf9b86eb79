//! Who holds `nodes/proxy` by RBAC, and what they were seen to do with it.

use std::collections::BTreeMap;

use super::{Caller, Observed, Origin, Use, Who};
use crate::kubelet::{AccessKind, Verb};
use crate::rbac::{self, Subject, SubjectKind, builtin};

/// A subject that holds `nodes/proxy`, by one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The subject, the binding and the rule.
    pub grant: rbac::Holder,
    /// What kind of holder it is.
    pub kind: HolderKind,
    /// Requests of the subject that only `nodes/proxy` let in, straight to a kubelet.
    pub used: Seen,
    /// Calls of exec, attach, run and portForward among them.
    pub execs: Seen,
    /// Requests that the subject sent through the API server's `nodes/proxy`.
    pub through_api_server: u64,
}

/// Who it is that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderKind {
    /// A workload or a person.
    Ordinary,
    /// The API server, which needs it.
    ApiServer,
    /// `system:masters`, who would be let in without the binding too.
    Masters,
    /// A part of Kubernetes, or of kubeadm, that has it by what they set up.
    BuiltIn,
}

/// How often something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// So often, at least once.
    Times(u64),
    /// Not once.
    Never,
    /// It cannot be told: there are requests that may be of this subject.
    Unknown,
}

impl Holder {
    /// Whether it could run commands in every pod of the nodes: `get` is enough, by WebSocket.
    pub fn can_exec(&self) -> bool {
        self.grant.by.verbs.contains(Verb::Get) || self.grant.by.verbs.contains(Verb::Create)
    }

    /// Whether the grant is one that somebody gave and nobody was seen to need.
    pub fn is_unused(&self) -> bool {
        self.kind == HolderKind::Ordinary && self.used == Seen::Never && self.through_api_server == 0
    }

    /// Whether it could exec and was not seen to.
    pub fn could_exec_and_never_did(&self) -> bool {
        self.can_exec() && self.kind != HolderKind::ApiServer && self.execs == Seen::Never
    }
}

/// What one identity did with `nodes/proxy`.
#[derive(Clone, Copy, Default)]
struct Tally {
    used: u64,
    execs: u64,
    unclear: bool,
    through_api_server: u64,
}

pub(super) fn holders(observed: &Observed, origin: &Origin, grants: Vec<rbac::Holder>) -> Vec<Holder> {
    let tallies = tallies(observed);
    let callers: Vec<(Caller, Tally)> = tallies
        .iter()
        .filter_map(|(who, tally)| match who {
            Who::User(user) if !origin.is_api_server(user) => Some((Caller::new(user, observed.identities.get(*who)), *tally)),
            _ => None,
        })
        .collect();
    // Requests of nobody that cannot be told are said once, as a caveat: otherwise one lost record would make every answer unknown.
    let unnamed = tallies.get(&Who::Others).is_some_and(|tally| tally.used > 0 || tally.unclear);
    let mut groups = BTreeMap::new();
    let of = |grant: rbac::Holder| {
        let tally = match grant.subject.kind {
            SubjectKind::Group => *groups.entry(grant.subject.name.clone()).or_insert_with(|| of_group(&grant.subject, &callers)),
            _ => tallies.get(&Who::User(grant.subject.name.to_string())).copied().unwrap_or_default(),
        };
        let seen = |count| match count {
            0 if tally.unclear || unnamed => Seen::Unknown,
            0 => Seen::Never,
            count => Seen::Times(count),
        };
        let (used, execs) = (seen(tally.used), seen(tally.execs));
        Holder { kind: kind(&grant, origin), grant, used, execs, through_api_server: tally.through_api_server }
    };
    grants.into_iter().map(of).collect()
}

fn tallies(observed: &Observed) -> BTreeMap<&Who, Tally> {
    let mut tallies: BTreeMap<&Who, Tally> = BTreeMap::new();
    for (who, seen) in &observed.identities {
        tallies.entry(who).or_default().through_api_server = seen.through_api_server;
    }
    for (seen, count) in &observed.uses {
        let tally = tallies.entry(&seen.who).or_default();
        tally.unclear |= seen.access == AccessKind::Unknown;
        if uses_proxy(seen) {
            tally.used += count;
            tally.execs += if seen.endpoint.is_exec_class() { *count } else { 0 };
        }
    }
    tallies
}

fn of_group(group: &Subject, callers: &[(Caller, Tally)]) -> Tally {
    callers.iter().filter(|(caller, _)| caller.may_be(group)).fold(Tally::default(), |sum, (caller, tally)| {
        if caller.is(group) {
            Tally {
                used: sum.used + tally.used,
                execs: sum.execs + tally.execs,
                unclear: sum.unclear || tally.unclear,
                through_api_server: sum.through_api_server + tally.through_api_server,
            }
        } else {
            Tally { unclear: sum.unclear || tally.used > 0 || tally.unclear || tally.through_api_server > 0, ..sum }
        }
    })
}

/// Whether only `nodes/proxy` let it in.
pub(super) const fn uses_proxy(seen: &Use) -> bool {
    matches!(seen.access, AccessKind::Fallback | AccessKind::ProxyOnly)
}

fn kind(grant: &rbac::Holder, origin: &Origin) -> HolderKind {
    let subject = &grant.subject;
    if subject.kind == SubjectKind::User && origin.is_api_server(&subject.name) {
        HolderKind::ApiServer
    } else if *subject == Subject::group("system:masters") {
        HolderKind::Masters
    } else if builtin::is_holder(subject, &grant.by.role) {
        HolderKind::BuiltIn
    } else {
        HolderKind::Ordinary
    }
}
