//! All the ways on which events leave: one call for the recorder, whatever the operator has asked for.

use std::time::Duration;

use super::sink::Sink;
use crate::observation::Timestamp;

/// Where each event goes.
pub struct Outputs {
    lines: Sink,
}

impl Outputs {
    /// `lines` is the file or the standard output.
    pub const fn new(lines: Sink) -> Self {
        Self { lines }
    }

    /// Hands on an event as a line of JSON, newline included, and never waits: what finds no room is dropped and counted. `cause` is the
    /// kernel's time of what led to it.
    pub fn send(&self, line: Vec<u8>, cause: Timestamp) {
        self.lines.send(line, cause);
    }

    /// Writes out what waits; true if all of it was handled in this time.
    pub fn close(self, within: Duration) -> bool {
        self.lines.close(within)
    }
}
