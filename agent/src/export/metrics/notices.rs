//! What the writer of Kubernetes Events counts.

use prometheus::{IntCounter, IntCounterVec};

use super::SinkMetrics;

/// What became of a request for an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRequest {
    /// A new Event is there.
    Created,
    /// The count of one went up.
    Counted,
    /// There is no such namespace: it is written about the node instead.
    MovedToNode,
    /// Anything else.
    Failed,
}

/// Why a finding is in no Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DroppedNotice {
    /// More came at once than may wait.
    QueueFull,
    /// There were more different ones than are kept in mind.
    Evicted,
    /// The API server was away, or more were to be written than may be, for too long.
    Late,
    /// The API server does not take it.
    Refused,
}

/// The counters.
#[derive(Clone, Debug)]
pub struct NoticeMetrics {
    /// Findings that are in an Event.
    pub written: IntCounter,
    dropped: IntCounter,
    requests: [IntCounter; 4],
    missing: [IntCounter; 4],
}

impl NoticeMetrics {
    pub(super) fn new(sink: SinkMetrics, requests: &IntCounterVec, missing: &IntCounterVec) -> Self {
        Self {
            written: sink.written,
            dropped: sink.dropped,
            requests: EventRequest::ALL.map(|result| requests.with_label_values(&[result.as_str()])),
            missing: DroppedNotice::ALL.map(|why| missing.with_label_values(&[why.as_str()])),
        }
    }

    /// Counts a request.
    pub fn request(&self, result: EventRequest) {
        self.requests[result as usize].inc();
    }

    /// Counts findings that are in no Event.
    pub fn dropped(&self, why: DroppedNotice, count: u64) {
        self.dropped.inc_by(count);
        self.missing[why as usize].inc_by(count);
    }
}

impl EventRequest {
    /// In their order.
    const ALL: [Self; 4] = [Self::Created, Self::Counted, Self::MovedToNode, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Counted => "counted",
            Self::MovedToNode => "moved-to-node",
            Self::Failed => "failed",
        }
    }
}

impl DroppedNotice {
    /// In their order.
    const ALL: [Self; 4] = [Self::QueueFull, Self::Evicted, Self::Late, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::Evicted => "evicted",
            Self::Late => "late",
            Self::Refused => "refused",
        }
    }

    /// The same for the log.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::QueueFull => "more came at once than may wait",
            Self::Evicted => "there are too many different ones",
            Self::Late => "they could not be written in time",
            Self::Refused => "the API server does not take them",
        }
    }
}
