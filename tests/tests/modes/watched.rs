//! A kubelet that was set up in some way, an agent beside it, and the books of both.

use std::{thread, time::Duration};

use kubewitness_tests::{agent::Agent, call::Call, scenarios::Bed};
use serde_json::Value;

use crate::FIGURES;

const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// Waits until the kubelet knows its pods, and until what was asked for that is over.
pub(crate) fn await_pods(bed: &Bed) {
    bed.cluster.await_pods().expect("the kubelet finds its pods");
    // The kubelet's end of the last exec closes a moment after kubectl has ended.
    thread::sleep(Duration::from_millis(500));
}

/// A kubelet that is watched.
pub(crate) struct Watched<'b> {
    pub(crate) bed: &'b Bed,
    pub(crate) agent: Agent,
    /// `GET /metrics` by somebody who may.
    reader: Call,
    /// Requests that the kubelet had counted, and such that were told, after the first reading.
    before: (u64, usize),
    sent: usize,
}

impl<'b> Watched<'b> {
    /// Watches the kubelet as it is now. `reader` is a call by somebody who may read its metrics.
    pub(crate) fn new(bed: &'b Bed, reader: &Call) -> Self {
        // Whoever is refused again and again has fewer events than requests, unless that is turned off.
        Self::by(bed, bed.agent(&["--refused-events", "0"]), reader)
    }

    /// The same with an agent that is there already.
    pub(crate) fn by(bed: &'b Bed, agent: Agent, reader: &Call) -> Self {
        let mut watched = Self { bed, agent, reader: reader.clone().body(), before: (0, 0), sent: 0 };
        watched.before = watched.books();
        watched
    }

    /// Sends a call; its status and the event that ends it.
    pub(crate) fn tell(&mut self, call: &Call) -> (u16, Value) {
        let name = self.name();
        let answers = call.clone().user_agent(&name).from_node(&self.bed.cluster).expect("kubeletcall runs");
        let status = answers.only().unwrap_or_else(|| panic!("{call:?}: {answers:?}"));
        (status, self.end_of(&name))
    }

    /// A name that no request of this agent had yet.
    pub(crate) fn name(&mut self) -> String {
        self.sent += 1;
        format!("mode/{}", self.sent)
    }

    /// Waits for the event that ends the request of this user agent.
    pub(crate) fn end_of(&mut self, name: &str) -> Value {
        self.agent.event(name, SEEN_WITHIN, |event| event["userAgent"] == name && event["stage"] == "ResponseComplete").expect("an event")
    }

    /// Compares the books, and writes the figures of this mode.
    pub(crate) fn close(mut self, mode: &str, told: &str) {
        let (counted, written) = self.books();
        let (counted, written) = (counted - self.before.0, written - self.before.1);
        FIGURES.row(&[mode, self.bed.cluster.release().version(), &counted.to_string(), &written.to_string(), told]);
        assert_eq!(counted, written as u64, "{mode}: the kubelet counted {counted} requests, {written} are told");
        let metrics = self.agent.metrics().expect("the agent serves its metrics");
        let unread = ["kubewitness_records_lost_total", "kubewitness_requests_incomplete_total"];
        let lost: Vec<_> =
            metrics.iter().filter(|(series, value)| unread.iter().any(|name| series.starts_with(name)) && **value > 0.0).collect();
        assert!(lost.is_empty(), "{mode}: {lost:?}");
        assert!(self.agent.fetch("/readyz").expect("the agent answers").starts_with("attached"), "{mode}");
    }

    /// Requests that the kubelet counted, this question included, and those that are told.
    fn books(&mut self) -> (u64, usize) {
        let name = self.name();
        let answers = self.reader.clone().user_agent(&name).from_node(&self.bed.cluster).expect("kubeletcall runs");
        assert_eq!(answers.only(), Some(200), "{answers:?}");
        let counts = answers.body.lines().filter(|line| line.starts_with("kubelet_http_requests_total{"));
        let counted = counts.map(|line| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<u64>().ok()).expect("a count")).sum();
        self.end_of(&name);
        let events = self.agent.events().expect("events are JSON");
        (counted, events.iter().filter(|event| event["stage"] == "ResponseComplete").count())
    }
}
