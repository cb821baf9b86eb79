//! From what was seen to what to do: who used which endpoint and which right, what was wrong, and the role that would be enough.
//!
//! Pure but for the sources, [`read_events`] and [`prometheus`]: they give an [`Observed`], which goes in with the RBAC objects, where they
//! are known, and a [`Report`] comes out; [`text`](mod@text), [`html`](mod@html), [`document`] and [`manifest`] write it.

mod advice;
mod caller;
mod coverage;
mod diff;
pub mod document;
mod events;
mod files;
mod fuzz;
mod grants;
pub mod html;
pub mod manifest;
mod migration;
mod names;
mod observed;
pub mod prometheus;
mod proof;
mod release;
mod replacement;
mod rights;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod text;
mod timeline;
mod upgrade;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use advice::{Advice, Instead, Right, advice};
pub use caller::Caller;
pub use coverage::{Caveat, Coverage, Node};
pub use diff::{Change, Line, Way};
pub use events::{Collector, LONGEST_LINE, REMEMBERED, fuzz_entry};
pub(crate) use events::{Event, Heard, Lines, Seen as SeenRequests, Stage};
pub use files::{EventsError, Progress, read_events};
pub(crate) use files::{Part, read_parts};
pub use grants::{Holder, HolderKind, Seen};
pub use migration::Migration;
pub use observed::{Example, Found, IdentitySeen, NodeSeen, Note, Observed, Use, Who, Written};
pub use proof::Proof;
pub use release::Release;
pub use replacement::{Basis, Kept, Replacement, Verdict};
pub use rights::{NewRole, NewRule};
pub use steps::{Action, Step};
pub use timeline::{ByAccess, Timeline};
pub use upgrade::Upgrade;

use crate::judge::{Finding, Severity};
use crate::kubelet::Subresource;
use crate::rbac::{Reach, Snapshot};

/// Where the observations are from, and who the API server is.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What was read, for people: `3 files of events`.
    pub source: String,
    /// Whether the API server's own audit log was among it.
    pub api_server_log: bool,
    /// User names of the API server.
    pub api_server_users: Vec<String>,
}

/// What is known of the cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where it is from, for people: `the cluster`.
    pub source: String,
    /// Its RBAC objects.
    pub snapshot: Snapshot,
    /// Whether these are all that it has.
    pub is_whole: bool,
    /// All its nodes with their kubelets' versions; `None` if they were not read.
    pub nodes: Option<BTreeMap<String, Option<String>>>,
}

/// All that the report tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it rests on.
    pub coverage: Coverage,
    /// How each endpoint was used by whom, and how often.
    pub matrix: BTreeMap<Use, u64>,
    /// What was found wrong and with whom, the gravest first, then the most frequent.
    pub findings: Vec<(Finding, Who, Found)>,
    /// Who holds `nodes/proxy`; `None` without RBAC objects.
    pub holders: Option<Vec<Holder>>,
    /// For each identity that holds or used `nodes/proxy` what would be enough.
    pub replacements: Vec<Replacement>,
    /// How far the identities are from doing without `nodes/proxy`.
    pub migration: Migration,
    /// How everybody but the API server came in over time; `None` where the source does not tell it.
    pub timeline: Option<Timeline>,
}

impl Report {
    /// The report on what was seen.
    pub fn new(observed: &Observed, origin: &Origin, cluster: Option<&Cluster>) -> Self {
        let mut coverage = Coverage::new(observed, origin, cluster);
        let reach = cluster.map(|cluster| Reach::of(&cluster.snapshot, Subresource::Proxy));
        coverage.doubt(reach.as_ref().map_or(&[], |reach| &reach.doubts));
        let holders = reach.map(|reach| grants::holders(observed, origin, reach.holders));
        let mut findings: Vec<_> = observed.findings.iter().map(|((finding, who), found)| (*finding, who.clone(), found.clone())).collect();
        findings.sort_by_key(|(finding, _, found)| (std::cmp::Reverse(finding.severity()), std::cmp::Reverse(found.count)));
        let replacements = replacement::replacements(observed, origin, cluster, &coverage, holders.as_deref());
        let migration = Migration::of(observed, origin, &replacements);
        let mut timeline = observed.timeline.clone();
        if let Some(timeline) = &mut timeline {
            timeline.identities.retain(|who, _| !matches!(who, Who::User(user) if origin.is_api_server(user)));
        }
        Self { coverage, matrix: observed.uses.clone(), findings, holders, replacements, migration, timeline }
    }

    /// The gravest of the findings.
    pub fn gravest(&self) -> Option<Severity> {
        self.findings.iter().map(|(finding, _, _)| finding.severity()).max()
    }
}

impl Origin {
    /// Whether it is one of the API server's own names.
    pub fn is_api_server(&self, user: &str) -> bool {
        self.api_server_users.iter().any(|name| name == user)
    }
}

/// Those who called or are known.
fn users(observed: &Observed) -> BTreeSet<&str> {
    let who = observed.uses.keys().map(|seen| &seen.who).chain(observed.identities.keys());
    who.filter_map(|who| if let Who::User(user) = who { Some(user.as_str()) } else { None }).collect()
}
