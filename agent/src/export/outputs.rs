//! All the ways on which events leave: one call for the recorder, whatever the operator has asked for.

use std::time::{Duration, Instant};

use super::{Clock, Notices, Weight, sink::Sink, watchers::Watchers, webhook::Webhook};
use crate::judge::Verdict;
use crate::observation::Timestamp;

/// How long those who watch have to read the last events.
const FAREWELL: Duration = Duration::from_millis(100);

/// Where each event goes.
pub struct Outputs {
    lines: Option<Sink>,
    watchers: Watchers,
    webhook: Option<Webhook>,
    notices: Option<Notices>,
}

impl Outputs {
    /// `lines` is the file or the standard output.
    pub const fn new(lines: Sink, watchers: Watchers, webhook: Option<Webhook>, notices: Option<Notices>) -> Self {
        Self { lines: Some(lines), watchers, webhook, notices }
    }

    /// Nowhere but to those who watch.
    pub const fn to_watchers(watchers: Watchers) -> Self {
        Self { lines: None, watchers, webhook: None, notices: None }
    }

    /// Tells of what a verdict raises where people look, and never waits.
    pub fn notify(&self, verdict: &Verdict, clock: Clock) {
        if let Some(notices) = &self.notices {
            notices.take(verdict, clock);
        }
    }

    /// Hands on an event as a line of JSON, newline included, and never waits: what finds no room is dropped and counted. `cause` is the
    /// kernel's time of what led to it.
    pub fn send(&self, line: &[u8], cause: Timestamp, weight: Weight) {
        // First, because it may last longer: an event that only one of them has when the agent is killed should be there.
        if let Some(webhook) = &self.webhook {
            webhook.send(line.to_vec(), weight);
        }
        if let Some(lines) = &self.lines {
            lines.send(line, cause, weight);
        }
        self.watchers.send(line, weight);
    }

    /// Those who watch: they are shown also what the audit policy leaves out.
    pub const fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// There is nothing more for the moment: what was handed on goes out.
    pub fn flush(&self) {
        if let Some(lines) = &self.lines {
            lines.flush();
        }
        self.watchers.flush();
    }

    /// Writes out what waits; true if all of it was handled in this time.
    pub fn close(self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let left = || deadline.saturating_duration_since(Instant::now());
        let webhook = self.webhook.map(Webhook::close);
        let written = self.lines.is_none_or(|lines| lines.close(within));
        let sent = webhook.is_none_or(|webhook| webhook.wait(left()));
        let told = self.notices.is_none_or(|notices| notices.close(left()));
        // They saw what there was; whoever is too slow for the rest is not waited for.
        self.watchers.close(left().min(FAREWELL));
        written && sent && told
    }
}
