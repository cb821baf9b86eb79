//! Events as JSON lines, to a file or to standard output. A sink that fails costs events, which are counted, and never the agent.

mod file;
mod names;
mod queue;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use self::file::FilePlace;
use self::queue::{Next, Queue};
use self::writer::{Opened, Place, Writer};
use super::Weight;
use super::metrics::{SinkKind, SinkMetrics};
use crate::observation::Timestamp;

pub use self::file::Rotation;

/// Where to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// The end of this file, which is created where it does not exist, for its owner alone.
    File(PathBuf, Rotation),
}

/// A sink: a queue, and a thread that writes it out.
pub struct Sink {
    queue: Arc<Queue>,
    waiting: Arc<AtomicU64>,
    renewal: Arc<AtomicBool>,
    done: Receiver<()>,
    metrics: SinkMetrics,
}

/// Tells a sink that its file was moved away. It does not keep the sink from its end.
#[derive(Clone, Debug)]
pub struct Renewer {
    renewal: Arc<AtomicBool>,
    queue: Weak<Queue>,
}

/// The sink could not be opened when the agent started.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open {name} for events: {source}; name a file in a directory that exists and that the agent may write to, or - for standard output"
)]
pub struct OpenError {
    name: String,
    source: io::Error,
}

impl Target {
    /// `-` is standard output, anything else a path.
    pub fn parse(argument: &str, rotation: Rotation) -> Self {
        if argument == "-" { Self::Stdout } else { Self::File(argument.into(), rotation) }
    }

    /// The kind, for [`super::metrics::Metrics::sink`].
    pub const fn kind(&self) -> SinkKind {
        match self {
            Self::Stdout => SinkKind::Stdout,
            Self::File(..) => SinkKind::File,
        }
    }
}

impl Sink {
    /// Opens the target and starts its thread. `now` is the kernel's clock, [`Timestamp`].
    pub fn open(target: &Target, metrics: SinkMetrics, now: fn() -> Timestamp) -> Result<Self, OpenError> {
        match target {
            Target::Stdout => Self::start("standard output".to_owned(), Stdout, metrics, now),
            Target::File(path, rotation) => {
                let place = FilePlace::new(path.clone(), *rotation, metrics.rotations.clone());
                Self::start(path.display().to_string(), place, metrics, now)
            }
        }
    }

    /// Queues a line, newline included; drops and counts it where there is no room. `cause` is the kernel's time of what led to it. What is
    /// an alarm is written at once and before what is not; for the rest see [`Self::flush`].
    pub fn send(&self, line: &[u8], cause: Timestamp, weight: Weight) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.queue.push(line, cause, weight) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.dropped.inc();
        }
    }

    /// Has written what was queued. To be called when there is nothing more to send for the moment.
    pub fn flush(&self) {
        self.queue.flush();
    }

    /// What tells this sink to open its file anew.
    pub fn renewer(&self) -> Renewer {
        Renewer { renewal: Arc::clone(&self.renewal), queue: Arc::downgrade(&self.queue) }
    }

    /// Writes out what waits; true if all of it was handled in this time. What was not is counted as dropped, and a thread that hangs in a
    /// write is left behind.
    pub fn close(self, within: Duration) -> bool {
        self.queue.close();
        let in_time = self.done.recv_timeout(within).is_ok();
        if !in_time {
            self.metrics.dropped.inc_by(self.waiting.load(Ordering::Relaxed));
        }
        in_time
    }

    fn start<P: Place + Send + 'static>(name: String, place: P, metrics: SinkMetrics, now: fn() -> Timestamp) -> Result<Self, OpenError>
    where
        P::Out: Send,
    {
        let mut writer = Writer::open(name.clone(), place).map_err(|source| OpenError { name, source })?;
        let queue = Arc::new(Queue::default());
        let items = Arc::clone(&queue);
        let (finished, done) = mpsc::channel();
        let (waiting, renewal) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (left, renew, counters) = (Arc::clone(&waiting), Arc::clone(&renewal), metrics.clone());
        thread::spawn(move || {
            let mut done = None;
            while let Some(next) = items.next(done.take()) {
                if renew.swap(false, Ordering::Relaxed) {
                    writer.renew();
                }
                let Next::Lines(chunk) = next else { continue };
                let written = writer.write(&chunk, Instant::now());
                let time = now().0;
                for (_, cause) in &chunk.lines[..written] {
                    counters.written_after(Duration::from_nanos(time.saturating_sub(cause.0)));
                }
                counters.dropped.inc_by((chunk.lines.len() - written) as u64);
                left.fetch_sub(chunk.lines.len() as u64, Ordering::Relaxed);
                done = Some(chunk);
            }
            // Nobody listens any more if the deadline has passed.
            let _ = finished.send(());
        });
        Ok(Self { queue, waiting, renewal, done, metrics })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Its thread ends after what waits.
        self.queue.close();
    }
}

impl Renewer {
    /// The file is opened anew, at once, or before the next line if lines wait. Standard output, a pipe or a device is left as it is.
    pub fn renew(&self) {
        self.renewal.store(true, Ordering::Relaxed);
        if let Some(queue) = self.queue.upgrade() {
            queue.wake();
        }
    }
}

/// Standard output.
struct Stdout;

impl Place for Stdout {
    type Out = File;

    fn open(&mut self) -> io::Result<Opened<File>> {
        Ok(Opened { out: io::stdout().as_fd().try_clone_to_owned()?.into(), broken_line: None })
    }

    fn prepare(&mut self, _: &File, _: usize, _: Instant) -> (Option<Opened<File>>, usize) {
        (None, usize::MAX)
    }

    fn is_renewed(&self, _: &File) -> bool {
        false
    }
}
