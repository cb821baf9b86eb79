//! Findings as Kubernetes Events, for those who look at their cluster with `kubectl`: on the pod concerned, or on the node.
//!
//! Nobody waits for them. The thread that judges puts a notice into a queue, a thread of its own writes it to the API server, and what finds no
//! room, or cannot be written in time, is counted.

mod correlate;
mod event;
mod notice;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{Sender, channel};

use self::correlate::Correlator;
use self::notice::Notice;
use self::writer::Writer;
use super::Clock;
use super::metrics::{DroppedNotice, NoticeMetrics};
use crate::judge::Verdict;
use crate::rbac::cluster::ConnectOptions;

/// Notices that may wait for the thread that writes.
const QUEUE: usize = 1024;

/// Writes Kubernetes Events.
pub struct Notices {
    queue: Sender<Notice>,
    done: mpsc::Receiver<()>,
    metrics: NoticeMetrics,
}

impl Notices {
    /// Starts the thread. `pod_logs` is the kubelet's `podLogsDir`, whose entries tell the UIDs of pods.
    pub fn start(node: String, pod_logs: PathBuf, options: ConnectOptions, metrics: NoticeMetrics) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (queue, notices) = channel(QUEUE);
        let (finished, done) = mpsc::channel();
        let writer = Writer {
            node,
            pod_logs,
            options,
            metrics: metrics.clone(),
            client: None,
            correlator: Correlator::default(),
            rest: None,
            failures: 0,
            told: None,
            warned: None,
        };
        thread::Builder::new().name("notices".to_owned()).spawn(move || {
            runtime.block_on(writer.run(notices));
            // Nobody listens any more if the deadline has passed.
            let _told = finished.send(());
        })?;
        Ok(Self { queue, done, metrics })
    }

    /// Queues what a verdict raises, and never waits.
    pub fn take(&self, verdict: &Verdict, clock: Clock) {
        for notice in Notice::all(verdict, clock.wall(verdict.at)) {
            if self.queue.try_send(notice).is_err() {
                self.metrics.dropped(DroppedNotice::QueueFull, 1);
            }
        }
    }

    /// Writes what can be written at once; true if that was done in this time.
    pub fn close(self, within: Duration) -> bool {
        drop(self.queue);
        self.done.recv_timeout(within).is_ok()
    }
}
