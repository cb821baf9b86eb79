//! Events in batches to a URL, as the API server's own audit webhook sends them, with a queue that a receiver which is away does not empty.
//!
//! An event goes from the daemon over a channel to the thread `intake`, which queues it, on disk if a directory is given. The thread
//! `sender` posts what is queued, the oldest first, one batch at a time so that the order is kept, and takes away what has arrived. An event
//! arrives at least once: what was sent when the receiver or the agent broke off is sent again.
//!
//! Pure are `delivery` (what to send next), `backoff` (when), `record` (the form on disk) and `event`; `queue` and `disk` keep
//! events, `receiver` is the way to the receiver.

mod backoff;
mod delivery;
mod disk;
mod event;
mod intake;
mod queue;
mod receiver;
mod record;
mod sender;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver as Messages, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{runtime::Builder, sync::Notify};

use self::{
    disk::DiskQueue,
    intake::Intake,
    queue::MemoryQueue,
    queue::{Queue, Waiting},
    receiver::Receiver,
    sender::Sender,
};
pub use self::{disk::OpenError, receiver::ReceiverError};
use super::{Weight, metrics::WebhookMetrics};

/// Lines that may wait for the queue.
const CHANNEL: usize = 12_288;
/// How many of them may be other than alarms.
const USUAL: u64 = 8192;
/// Bytes that are queued where no directory is given. The API server keeps 10,000 events; these are some 6,000.
const MEMORY: u64 = 8 << 20;

/// What is sent where, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A kubeconfig that names the receiver as its server, and how to be let in.
    pub kubeconfig: PathBuf,
    /// Where events wait, and how many bytes of them; in memory if not given.
    pub queue: Option<(PathBuf, u64)>,
    /// Events of a request, at most.
    pub batch_max_size: usize,
    /// How long an event waits for others to fill its batch.
    pub batch_max_wait: Duration,
    /// The first rest after a failure.
    pub initial_backoff: Duration,
}

/// Why nothing can be sent.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The kubeconfig.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// No threads, or nothing for them to run on.
    #[error("audit events cannot be sent: {0}")]
    System(#[from] io::Error),
}

/// Whether the receiver of a kubeconfig answers, whatever it says: its address, and the status. Nothing but a `GET` of its path is sent.
pub async fn reach(kubeconfig: PathBuf) -> Result<(String, axum::http::StatusCode), ReceiverError> {
    Receiver::new(kubeconfig).reach().await
}

/// The way of events to a receiver.
pub struct Webhook {
    lines: SyncSender<Vec<u8>>,
    closing: Closing,
}

/// A webhook that takes no more events.
pub(super) struct Closing {
    shared: Arc<Shared>,
    done: Messages<()>,
}

/// What both threads work on.
struct Shared {
    queue: Mutex<Box<dyn Queue>>,
    /// Whether what is queued is still there after the agent has ended.
    is_lasting: bool,
    /// Lines on their way to the queue.
    arriving: AtomicU64,
    /// Whether the end is near: what is queued is sent at once.
    closing: AtomicBool,
    /// Wakes the sender.
    wake: Notify,
    metrics: WebhookMetrics,
}

impl Webhook {
    /// Opens the queue and starts the threads.
    pub fn start(options: &Options, metrics: WebhookMetrics) -> Result<Self, WebhookError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let receiver = Receiver::new(options.kubeconfig.clone());
        runtime.block_on(receiver.check())?;
        let queue: Box<dyn Queue> = match &options.queue {
            Some((folder, limit)) => Box::new(DiskQueue::open(folder, *limit)?),
            None => Box::new(MemoryQueue::new(MEMORY)),
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            is_lasting: options.queue.is_some(),
            arriving: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            wake: Notify::new(),
            metrics,
        });
        shared.show(&**shared.queue());
        let (lines, arriving) = mpsc::sync_channel(CHANNEL);
        let (finished, done) = mpsc::channel();
        let intake = Intake::new(Arc::clone(&shared), options.batch_max_size);
        thread::Builder::new().name("webhook-queue".to_owned()).spawn(move || intake.run(&arriving))?;
        let sender = Sender::new(Arc::clone(&shared), receiver, options);
        thread::Builder::new().name("webhook".to_owned()).spawn(move || {
            runtime.block_on(sender.run());
            // Nobody listens any more if the deadline has passed.
            let _ = finished.send(());
        })?;
        Ok(Self { lines, closing: Closing { shared, done } })
    }

    /// Hands on a line, its newline included; drops and counts it where the queue's thread cannot keep up.
    pub fn send(&self, mut line: Vec<u8>, weight: Weight) {
        let shared = &self.closing.shared;
        line.truncate(line.trim_ascii_end().len());
        let has_room = shared.arriving.fetch_add(1, Ordering::Relaxed) < USUAL || weight == Weight::Alarm;
        if !has_room || self.lines.try_send(line).is_err() {
            shared.arriving.fetch_sub(1, Ordering::Relaxed);
            shared.metrics.dropped.inc();
        }
    }

    /// Takes no more; what was handed on is queued and sent meanwhile.
    pub(super) fn close(self) -> Closing {
        self.closing
    }
}

impl Closing {
    /// Waits at most so long; true if nothing is lost: all was sent, or waits on the disk for the next agent. What is lost is counted.
    pub(super) fn wait(self, within: Duration) -> bool {
        let Shared { arriving, metrics, is_lasting, .. } = &*self.shared;
        let deadline = Instant::now() + within;
        let _ended = self.done.recv_timeout(within);
        while arriving.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let mut lost = arriving.load(Ordering::Acquire);
        if !is_lasting {
            lost += self.shared.queue().waiting().events;
        }
        metrics.dropped.inc_by(lost);
        lost == 0
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Box<dyn Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how much waits. The caller still holds the queue, so that no older figure comes later.
    fn show(&self, queue: &dyn Queue) -> Waiting {
        let waiting = queue.waiting();
        self.metrics.waiting.set(i64::try_from(waiting.events).unwrap_or(i64::MAX));
        self.metrics.waiting_bytes.set(i64::try_from(waiting.bytes).unwrap_or(i64::MAX));
        waiting
    }
}
