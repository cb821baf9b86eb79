//! From observations to exchanges: one request with its checks, the runtime's answer and its end. Pure: observations in, steps out.

mod assemble;
pub(crate) mod bounded;
mod connections;
mod repeats;

pub use assemble::{Arrival, Exchanges, Part};
pub use connections::{ConnectionId, ConnectionStep, Connections};
pub use repeats::{Again, Origin, Times};

use std::sync::Arc;

use crate::kubelet::Endpoint;
use crate::observation::{Check, End, Request, RequestId, Timestamp};

/// Everything that was seen of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub id: RequestId,
    /// Its begin; `None` if the agent was not there yet or the record was lost.
    pub request: Option<Request>,
    /// What it asked for, by the kernel programs' own look at its path; its pod is not told. `None` for most requests.
    pub asked_for: Option<Endpoint>,
    /// The kernel programs saw that it was let in: of some requests they tell nothing over the ring of the priority class before that.
    pub is_let_in: bool,
    /// The questions to the authorizer, in order.
    pub checks: Vec<Check>,
    /// The runtime's HTTP status for an upgrade, and when.
    pub answer: Option<(Timestamp, u16)>,
    /// Its end.
    pub end: Option<End>,
    /// Who is at the other end of the connection.
    pub caller: Caller,
    /// What is missing, in the order in which it was noticed.
    pub gaps: Vec<Gap>,
}

/// The client's end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// A process of this node.
    Local(Arc<LocalCaller>),
    /// The connection was seen, and no process of this node opened it.
    Remote,
    /// The connection's begin was not seen.
    #[default]
    Unknown,
}

/// A process of this node that opened a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCaller {
    /// Its id.
    pub pid: u32,
    /// `comm`, at most 15 bytes.
    pub comm: String,
    /// Where it runs.
    pub place: Place,
}

/// Where a process runs, by its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a pod.
    Pod {
        /// The pod's UID.
        uid: String,
        /// Namespace and name, where they are known.
        name: Option<(String, String)>,
    },
    /// Outside of every pod.
    Host,
    /// Its cgroup could not be read.
    Unknown,
}

/// Why an exchange is partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gap {
    /// Its begin was not seen.
    Begin,
    /// Its end was not seen.
    End,
    /// The kubelet's process ended first.
    KubeletGone,
    /// There were more requests in flight than the agent keeps.
    Evicted,
    /// Records were lost while it ran.
    Lost,
    /// A text was cut.
    Cut,
    /// A text that matters could not be read.
    Unreadable,
}

impl Gap {
    /// All of them, for series that are born at zero.
    pub const ALL: [Self; 7] = [Self::Begin, Self::End, Self::KubeletGone, Self::Evicted, Self::Lost, Self::Cut, Self::Unreadable];

    /// A word for labels and annotations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin-not-seen",
            Self::End => "end-not-seen",
            Self::KubeletGone => "kubelet-gone",
            Self::Evicted => "evicted",
            Self::Lost => "records-lost",
            Self::Cut => "text-cut",
            Self::Unreadable => "text-unreadable",
        }
    }
}

/// What an observation led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A request of the exec class was just allowed; it runs from here on.
    Authorized(Box<Exchange>),
    /// The container runtime answered its upgrade: from here on it is known whether it runs.
    Answered(Box<Exchange>),
    /// A request is over, or will never be more than this.
    Ended(Box<Exchange>),
}

#[cfg(test)]
mod tests;
