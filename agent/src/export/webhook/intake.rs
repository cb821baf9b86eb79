//! The thread that queues events.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver as Messages, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tracing::{error, info};

use super::{
    Shared, event,
    queue::{AppendError, Weight},
};

/// How often it is seen to it that what is queued has reached the disk: a power cut takes no more than the events of this time.
const SYNC: Duration = Duration::from_secs(1);

/// From the channel to the queue.
pub(super) struct Intake {
    shared: Arc<Shared>,
    /// Events of a batch: when there are as many, the sender need not wait for more.
    batch: u64,
    /// Events dropped in this burst of failures.
    dropped: u64,
    /// Whether the disk could not be made to keep something.
    unsynced: bool,
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, batch: usize) -> Self {
        Self { shared, batch: batch as u64, dropped: 0, unsynced: false }
    }

    /// Works until the channel is closed.
    pub(super) fn run(mut self, lines: &Messages<Vec<u8>>) {
        let mut synced = Instant::now();
        loop {
            match lines.recv_timeout(SYNC) {
                Ok(line) => self.take(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if synced.elapsed() >= SYNC {
                self.sync();
                synced = Instant::now();
            }
        }
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        self.sync();
    }

    fn take(&mut self, line: &[u8]) {
        let weight = event::weight(line);
        let (appended, waiting) = {
            let mut queue = self.shared.queue();
            let appended = queue.append(line, weight);
            (appended, self.shared.show(&**queue))
        };
        self.shared.arriving.fetch_sub(1, Ordering::Release);
        match appended {
            // An alarm also finds room where others do not.
            Ok(()) if self.dropped > 0 && weight == Weight::Usual => {
                info!("audit events for the webhook are queued again; {} were dropped", self.dropped);
                self.dropped = 0;
            }
            Ok(()) => {}
            Err(error) => self.drop(&error),
        }
        if waiting.events == 1 || waiting.events >= self.batch {
            self.shared.wake.notify_one();
        }
    }

    fn drop(&mut self, why: &AppendError) {
        self.shared.metrics.dropped.inc();
        self.dropped += 1;
        if self.dropped == 1 {
            let hint = match why {
                AppendError::Full { .. } => {
                    "see that the receiver takes events, or give the queue more room with --audit-webhook-queue-size"
                }
                AppendError::Disk(_) => "see that the queue's disk has room and can be written to",
                AppendError::TooLong(_) => "it is in the other sink",
            };
            error!("audit events for the webhook are dropped and counted: {why}; {hint}");
        }
    }

    fn sync(&mut self) {
        // Not while the queue is locked: a busy disk takes its time.
        let files = self.shared.queue().unsynced();
        let failed = files.iter().find_map(|file| file.sync_data().err());
        if let Some(error) = &failed
            && !self.unsynced
        {
            error!("the disk does not confirm that it keeps the webhook's queue: {error}; a power cut may take what waits there");
        }
        self.unsynced = failed.is_some();
    }
}
