//! All the ways on which events leave: one call for the recorder, whatever the operator has asked for.

use std::time::{Duration, Instant};

use super::sink::Sink;
use super::{Clock, Notices};
use crate::judge::Verdict;
use crate::observation::Timestamp;

/// Where each event goes.
pub struct Outputs {
    lines: Sink,
    notices: Option<Notices>,
}

impl Outputs {
    /// `lines` is the file or the standard output.
    pub const fn new(lines: Sink) -> Self {
        Self { lines, notices: None }
    }

    /// With Kubernetes Events for findings.
    #[must_use]
    pub fn with_notices(self, notices: Option<Notices>) -> Self {
        Self { notices, ..self }
    }

    /// Tells of what a verdict raises where people look, and never waits.
    pub fn notify(&self, verdict: &Verdict, clock: Clock) {
        if let Some(notices) = &self.notices {
            notices.take(verdict, clock);
        }
    }

    /// Hands on an event as a line of JSON, newline included, and never waits: what finds no room is dropped and counted. `cause` is the
    /// kernel's time of what led to it.
    pub fn send(&self, line: Vec<u8>, cause: Timestamp) {
        self.lines.send(line, cause);
    }

    /// Writes out what waits; true if all of it was handled in this time.
    pub fn close(self, within: Duration) -> bool {
        let begun = Instant::now();
        let lines = self.lines.close(within);
        let notices = self.notices.is_none_or(|notices| notices.close(within.saturating_sub(begun.elapsed())));
        lines && notices
    }
}
