//! Those who watch: `kubewitness watch` reads events from the agent while they come, over a unix socket.
//!
//! While nobody watches an event costs one look at a number. While somebody does, its line, which is written for the other sinks anyway, is copied
//! once, whatever the number of watchers; each has a thread that may wait for a slow terminal, and the agent never does.

mod notice;
mod room;
mod socket;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use self::notice::{API_VERSION, Notice, State, Status};
pub use self::socket::{SOCKET, Socket, SocketError, is_trusted};

use self::room::{Place, Room};
use self::socket::SocketFile;
use super::metrics::WatchMetrics;
use super::{Health, Readiness, Weight};

/// How many may watch at a time.
pub(crate) const MOST: usize = 8;
/// How often each is told how the agent is; a watcher that is gone is noticed by that too.
const STATUS: Duration = Duration::from_secs(2);
/// Who reads nothing for so long, although there is something, is let go: their place is for others. `watch` comes back when it can.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long somebody who is refused may take to read why.
const REFUSAL: Duration = Duration::from_secs(1);
/// After the system gave no connection it is not asked again for so long.
const AGAIN: Duration = Duration::from_secs(1);

/// The agent's side of all who watch.
#[derive(Clone, Debug)]
pub struct Watchers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Those who watch now.
    count: AtomicUsize,
    inside: Mutex<Inside>,
    changed: Condvar,
    metrics: WatchMetrics,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Inside {
    room: Room,
    /// Lines wait that nobody was woken for.
    untold: bool,
    closed: bool,
}

/// The socket is there until this is dropped.
#[derive(Debug)]
pub struct Served {
    _file: SocketFile,
}

/// What tells how the agent is.
pub type Tell = Arc<dyn Fn() -> Status + Send + Sync>;

impl Watchers {
    /// Nobody watches yet.
    pub fn new(metrics: WatchMetrics) -> Self {
        Self::with_patience(metrics, PATIENCE)
    }

    fn with_patience(metrics: WatchMetrics, patience: Duration) -> Self {
        Self(Arc::new(Shared { count: AtomicUsize::new(0), inside: Mutex::default(), changed: Condvar::new(), metrics, patience }))
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) > 0
    }

    /// Shows a line, newline included, to those who watch. What is an alarm is sent at once; for the rest see [`Self::flush`].
    pub fn send(&self, line: &[u8], weight: Weight) {
        if !self.is_watched() {
            return;
        }
        let mut inside = self.0.lock();
        inside.room.push(line, weight);
        inside.untold = true;
        if weight == Weight::Alarm {
            self.0.wake(inside);
        }
    }

    /// There is nothing more for the moment: what was shown is sent.
    pub fn flush(&self) {
        if !self.is_watched() {
            return;
        }
        let inside = self.0.lock();
        if inside.untold {
            self.0.wake(inside);
        }
    }

    /// Lets in whoever may, on a thread of its own.
    pub fn serve(&self, socket: Socket, tell: Tell) -> io::Result<Served> {
        let (listener, file) = socket.split();
        let this = self.clone();
        thread::Builder::new().name("watchers".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => this.receive(stream, &tell),
                    Err(error) => {
                        tracing::debug!("nobody can watch for the moment: {error}");
                        thread::sleep(AGAIN);
                    }
                }
            }
        })?;
        Ok(Served { _file: file })
    }

    fn receive(&self, stream: UnixStream, tell: &Tell) {
        if !is_trusted(&stream) {
            refuse(stream, "only root, or the user that the agent runs as, may watch: run `kubewitness watch` as root");
        } else if let Err(stream) = self.admit(stream, tell) {
            refuse(stream, &format!("{MOST} watch already, and that is the most: end one of them"));
        }
    }

    /// Takes somebody in, who sees what comes from now on; gives the stream back where there is no room.
    pub fn admit(&self, stream: UnixStream, tell: &Tell) -> Result<(), UnixStream> {
        let shared = Arc::clone(&self.0);
        let inside = shared.lock();
        if self.0.count.load(Ordering::Relaxed) >= MOST {
            return Err(stream);
        }
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.watching.inc();
        let place = inside.room.end();
        drop(inside);
        let (guest, tell) = (Guest(Arc::clone(&shared)), Arc::clone(tell));
        // Without a thread nobody can be served: the guest is dropped, and its stream closed.
        let _served = thread::Builder::new().name("watcher".to_owned()).spawn(move || {
            // Whoever does not read any more is gone.
            let _gone = guest.attend(stream, place, &tell);
        });
        Ok(())
    }

    /// Sends what waits, and lets nobody wait for more; whoever is too slow for that is left.
    pub fn close(self, within: Duration) {
        let mut inside = self.0.lock();
        inside.closed = true;
        self.0.changed.notify_all();
        let is_watched = |_: &mut Inside| self.is_watched();
        let _in_time = self.0.changed.wait_timeout_while(inside, within, is_watched);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut inside: MutexGuard<'_, Inside>) {
        inside.untold = false;
        drop(inside);
        self.changed.notify_all();
    }
}

/// One who watches; the place is free when this is dropped.
struct Guest(Arc<Shared>);

impl Guest {
    /// Writes until nobody reads any more, or the agent ends.
    fn attend(&self, mut stream: UnixStream, mut place: Place, tell: &Tell) -> io::Result<()> {
        stream.set_write_timeout(Some(self.0.patience))?;
        let mut told: Option<Instant> = None;
        let mut lines = Vec::new();
        loop {
            if told.is_none_or(|told| told.elapsed() >= STATUS) {
                stream.write_all(&Notice::Status(tell()).line())?;
                told = Some(Instant::now());
            }
            let patience = told.map_or(STATUS, |told| STATUS.saturating_sub(told.elapsed()));
            lines.clear();
            let (lost, is_over) = self.next(&mut place, &mut lines, patience);
            if lost > 0 {
                self.0.metrics.lost.inc_by(lost);
                stream.write_all(&Notice::Lost { events: lost }.line())?;
            }
            stream.write_all(&lines)?;
            if is_over {
                return Ok(());
            }
        }
    }

    /// Waits for lines; how many were lost before them, and whether none will follow.
    fn next(&self, place: &mut Place, lines: &mut Vec<u8>, patience: Duration) -> (u64, bool) {
        let mut inside = self.0.lock();
        let lost = inside.room.read(place, lines);
        if lost > 0 || !lines.is_empty() || inside.closed {
            return (lost, inside.closed && lines.is_empty());
        }
        inside = self.0.changed.wait_timeout(inside, patience).unwrap_or_else(PoisonError::into_inner).0;
        (inside.room.read(place, lines), inside.closed && lines.is_empty())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.0.lock();
        self.0.metrics.watching.dec();
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            inside.room.clear();
        }
        drop(inside);
        self.0.changed.notify_all();
    }
}

fn refuse(mut stream: UnixStream, reason: &str) {
    let _blocks_at_most = stream.set_write_timeout(Some(REFUSAL));
    let _unread = stream.write_all(&Notice::Refused { reason: reason.to_owned() }.line());
}

impl Status {
    /// How an agent is now.
    pub fn of(health: &Health, node: &str) -> Self {
        let (state, says) = match health.readiness() {
            Readiness::Starting => (State::Starting, "it has not looked for a kubelet yet".to_owned()),
            Readiness::Attached(says) => (State::Attached, says),
            Readiness::Waiting(says) => (State::Waiting, says),
            Readiness::Blind(says) => (State::Blind, says),
        };
        Self {
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state,
            says,
            records_lost: health.metrics().all_records_lost(),
            requests_unseen: health.metrics().all_requests_unseen(),
        }
    }
}
