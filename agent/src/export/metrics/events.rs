//! The metrics of the ways on which events leave.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::register::Register;
use super::{Metrics, NoticeMetrics};
use crate::export::audit::AuditStage;
use crate::kubelet::AccessKind;

/// Where events are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// `--events -`
    Stdout,
    /// `--events PATH`
    File,
    /// `--kubernetes-events on`: findings, not requests
    Kubernetes,
    /// `--audit-webhook-config-file FILE`
    Webhook,
}

/// What a sink counts.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// Events that were written.
    pub written: IntCounter,
    /// Events that were not.
    pub dropped: IntCounter,
    /// See [`Metrics::new`].
    pub latency: Histogram,
    /// What becomes of full files.
    pub rotations: Rotations,
}

/// What becomes of full files of events.
#[derive(Clone, Debug)]
pub struct Rotations {
    /// They were put aside, and a new one was begun.
    pub rotated: IntCounter,
    /// They could not be, and went on to be written.
    pub failed: IntCounter,
    /// They were the oldest of too many, and were removed with the events in them.
    pub removed: IntCounter,
}

/// What the webhook counts.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    /// Events that arrived.
    pub written: IntCounter,
    /// Events that will not.
    pub dropped: IntCounter,
    /// Events that wait to be sent.
    pub waiting: IntGauge,
    /// Their bytes.
    pub waiting_bytes: IntGauge,
    /// The age of the oldest one, in seconds.
    pub waiting_seconds: IntGauge,
}

/// What is counted of those who watch.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    /// How many watch.
    pub watching: IntGauge,
    /// Events that were not shown to one of them.
    pub lost: IntCounter,
}

/// The families that count events.
pub(super) struct EventFigures {
    pub(super) omitted: IntCounterVec,
    pub(super) withheld: IntCounterVec,
    written: IntCounterVec,
    dropped: IntCounterVec,
    waiting: IntGaugeVec,
    waiting_bytes: IntGaugeVec,
    waiting_seconds: IntGaugeVec,
    rotations: IntCounterVec,
    files_removed: IntCounterVec,
    requests: IntCounterVec,
    missing: IntCounterVec,
    latency: Histogram,
    watch: WatchMetrics,
}

impl EventFigures {
    pub(super) fn register(register: &mut Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            written: register.counters("kubewitness_events_written_total", "Events that were written; those that the receiver has taken, where the sink is the webhook.", &["sink"])?,
            dropped: register.counters(
                "kubewitness_events_dropped_total",
                "Events that were not written: the queue was full, the sink failed, or the receiver refused them for good.",
                &["sink"],
            )?,
            waiting: register.gauges(
                "kubewitness_events_waiting",
                "Events in the queue of a sink that has one that lasts: those that the receiver has not taken yet.",
                &["sink"],
            )?,
            waiting_bytes: register.gauges(
                "kubewitness_events_waiting_bytes",
                "Bytes of the events that wait, as they are queued.",
                &["sink"],
            )?,
            waiting_seconds: register.gauges(
                "kubewitness_events_waiting_seconds",
                "Age of the oldest event that waits, looked at with each attempt to send it; 0 where none waits.",
                &["sink"],
            )?,
            omitted: register.counters(
                "kubewitness_events_omitted_total",
                "Events that --audit-policy left out, by the stage of their requests, which are counted all the same.",
                &["stage"],
            )?,
            withheld: register.counters(
                "kubewitness_events_withheld_total",
                "Events of refused requests beyond --refused-events, which were not written; the requests are counted all the same.",
                &["access"],
            )?,
            rotations: register.counters(
                "kubewitness_events_rotations_total",
                "Times the file of events was full: it was put aside and a new one begun (rotated), or could not be and goes on to be written (failed).",
                &["outcome"],
            )?,
            requests: register.counters(
                "kubewitness_kubernetes_event_requests_total",
                "Kubernetes Events that were created, counted on, or written about the node since their pod's namespace does not exist, and requests that failed. Only with --kubernetes-events on.",
                &["result"],
            )?,
            missing: register.counters(
                "kubewitness_kubernetes_events_missing_total",
                "Findings that are in no Kubernetes Event, by why; those of the sink kubernetes in kubewitness_events_dropped_total. Only with --kubernetes-events on.",
                &["reason"],
            )?,
            files_removed: register.counters(
                "kubewitness_events_files_removed_total",
                "Full files of events that were removed, with what was in them, since there were more than --events-max-files.",
                &["sink"],
            )?,
            watch: WatchMetrics {
                watching: register.gauge("kubewitness_watchers", "How many read events from the agent at the moment, with kubewitness watch.")?,
                lost: register.counter(
                    "kubewitness_watch_events_lost_total",
                    "Events that were not sent to somebody who watches, because they read too slowly; they are told how many. Other sinks have them.",
                )?,
            },
            latency: register.histogram(
                "kubewitness_detection_latency_seconds",
                "From the kernel's time of what led to an event (the check, the runtime's answer, the end of the request) to the event written.",
                &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0],
            )?,
        })
    }
}

impl Metrics {
    /// The counters of a sink, which are there from now on.
    pub fn sink(&self, kind: SinkKind) -> SinkMetrics {
        SinkMetrics {
            written: self.events.written.with_label_values(&[kind.as_str()]),
            dropped: self.events.dropped.with_label_values(&[kind.as_str()]),
            latency: self.events.latency.clone(),
            rotations: Rotations {
                rotated: self.events.rotations.with_label_values(&["rotated"]),
                failed: self.events.rotations.with_label_values(&["failed"]),
                removed: self.events.files_removed.with_label_values(&[kind.as_str()]),
            },
        }
    }

    /// The figures of those who watch.
    pub fn watch(&self) -> WatchMetrics {
        self.events.watch.clone()
    }

    /// The audit policy left an event out.
    pub fn event_omitted(&self, stage: AuditStage) {
        self.events.omitted.with_label_values(&[stage.as_str()]).inc();
    }

    /// There were too many events of refused requests for one more.
    pub fn event_withheld(&self, access: AccessKind) {
        self.events.withheld.with_label_values(&[access.as_str()]).inc();
    }

    /// The counters of Kubernetes Events, which are there from now on.
    pub fn notices(&self) -> NoticeMetrics {
        NoticeMetrics::new(self.sink(SinkKind::Kubernetes), &self.events.requests, &self.events.missing)
    }

    /// The figures of the webhook, which are there from now on.
    pub fn webhook(&self) -> WebhookMetrics {
        let sink = [SinkKind::Webhook.as_str()];
        WebhookMetrics {
            written: self.events.written.with_label_values(&sink),
            dropped: self.events.dropped.with_label_values(&sink),
            waiting: self.events.waiting.with_label_values(&sink),
            waiting_bytes: self.events.waiting_bytes.with_label_values(&sink),
            waiting_seconds: self.events.waiting_seconds.with_label_values(&sink),
        }
    }
}

impl SinkMetrics {
    /// Counts an event that was written so long after what led to it.
    pub fn written_after(&self, latency: Duration) {
        self.written.inc();
        self.latency.observe(latency.as_secs_f64());
    }
}

impl SinkKind {
    /// The word for labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File => "file",
            Self::Kubernetes => "kubernetes",
            Self::Webhook => "webhook",
        }
    }
}
