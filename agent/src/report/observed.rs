//! What was seen of a node or of a fleet, whatever it was read from. Values only; sources fill it, the report reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::Timeline;
use crate::{
    judge::Finding,
    kubelet::{AccessKind, Endpoint, Verb},
};

/// What was seen in a window of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The first and the last time that is covered; `None` if nothing was seen.
    pub window: Option<(Timestamp, Timestamp)>,
    /// How often each use was seen: requests that are over, each once.
    pub uses: BTreeMap<Use, u64>,
    /// What is known of those who called.
    pub identities: BTreeMap<Who, IdentitySeen>,
    /// What was found wrong, and with whom.
    pub findings: BTreeMap<(Finding, Who), Found>,
    /// The nodes that anything is known of, by name.
    pub nodes: BTreeMap<String, NodeSeen>,
    /// How requests came in over time; `None` where the source does not tell it.
    pub timeline: Option<Timeline>,
    /// What the input was like: what was left out, and what makes it incomplete. Each is shown to the reader.
    pub notes: Vec<Note>,
}

/// One way in which the kubelet's API was used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// By whom.
    pub who: Who,
    /// What was asked for, its pod unnamed.
    pub endpoint: Endpoint,
    /// How it was let in.
    pub access: AccessKind,
    /// The verb that was authorized; [`Verb::Unknown`] where the source does not tell it.
    pub verb: Verb,
}

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// An authenticated user.
    User(String),
    /// All those beyond the agent's `--max-identities`.
    Others,
    /// Requests without a user: refused with 401, answered before any check, on the read-only port, or not seen whole.
    Nobody,
}

/// What is known of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitySeen {
    /// The groups that the kubelet saw; `None` where the source does not tell them.
    pub groups: Option<BTreeSet<String>>,
    /// The nodes on which it was seen; empty where the source does not tell them.
    pub nodes: BTreeSet<String>,
    /// What the agents wrote into `kubewitness.dev/granted-by` for it, each with its count.
    pub granted_by: BTreeMap<String, u64>,
    /// Requests to kubelets that it sent through the API server's `nodes/proxy`, by the API server's own audit log.
    pub through_api_server: u64,
}

/// A finding, as often as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Requests that show it.
    pub count: u64,
    /// The first few of them; none where the source has no events.
    pub examples: Vec<Example>,
}

/// An event that shows a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// When it was received.
    pub time: Timestamp,
    /// The node.
    pub node: String,
    /// `auditID`, to find it again.
    pub audit_id: String,
    /// Method or verb and request target, as far as the event tells them.
    pub request: String,
    /// The caller's address.
    pub source_ip: String,
    /// The event itself; `None` where it was too long, or where there was no room for more of them.
    pub event: Option<Written>,
}

/// An event as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// `stageTimestamp`: of the stages of a request that show a finding, the last one tells most.
    pub at: Option<Timestamp>,
    /// The event as JSON, in one line.
    pub json: String,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSeen {
    /// The first and the last request.
    pub seen: Option<(Timestamp, Timestamp)>,
    /// Requests that were over.
    pub requests: u64,
    /// Requests of which something was not seen.
    pub partial: u64,
    /// Whether an agent left events out there, by its `--audit-policy`.
    pub omits: bool,
    /// Records that the agent lost; `None` where the source does not tell.
    pub lost: Option<u64>,
    /// For how much of the window an agent watched a kubelet there; `None` where the source does not tell.
    pub watched: Option<Duration>,
    /// The kubelet's version, such as `v1.36.3`.
    pub kubelet: Option<String>,
}

/// Something about the input that the reader must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A word for programs, such as `cut-line`.
    pub id: &'static str,
    /// How often.
    pub count: u64,
    /// What it is, for people; it names the first place where it was seen.
    pub text: String,
}
