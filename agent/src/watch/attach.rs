//! An agent inside of this process, for a node where none runs: the same daemon, whose events go nowhere but here.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::pipe::pipe;
use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use crate::daemon::{Daemon, DaemonError, Options};
use crate::export::audit::{Auditor, Commands};
use crate::export::metrics::Metrics;
use crate::export::watchers::{Status, Tell, Watchers};
use crate::export::{Clock, Ends, Health, Outputs, Recorder, Restraint, Seen};
use crate::rbac::Update;

/// Nothing can be watched from here.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The kubelet cannot be watched.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The system failed in an unexpected way.
    #[error("an agent cannot be started in this process: {0}")]
    System(#[from] io::Error),
    /// The metrics contradict each other, which a test rules out.
    #[error("an agent cannot be started in this process: {0}")]
    Metrics(#[from] prometheus::Error),
    /// It ended before it began.
    #[error("the agent in this process ended at once")]
    Ended,
}

/// Watches the kubelets of this node until the process ends, and gives what an agent would send over its socket.
pub fn attach(options: Options, rbac: Option<Receiver<Update>>, read_clock: fn() -> Clock) -> Result<UnixStream, AttachError> {
    let (ours, theirs) = UnixStream::pair()?;
    let (watching, begins) = mpsc::channel();
    let outcome = thread::Builder::new().name("agent".to_owned()).spawn(move || {
        let begin = || watching.send(()).is_ok();
        watch_kubelets(options, rbac, read_clock, theirs, begin)
    })?;
    match begins.recv() {
        Ok(()) => Ok(ours),
        // It did not come to watching.
        Err(_) => match outcome.join() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(AttachError::Ended),
        },
    }
}

fn watch_kubelets(
    options: Options,
    rbac: Option<Receiver<Update>>,
    read_clock: fn() -> Clock,
    stream: UnixStream,
    begin: impl FnOnce() -> bool,
) -> Result<(), AttachError> {
    let node = options.policy.node.clone();
    // Nobody reads the metrics, so no identity needs one of its own.
    let metrics = Arc::new(Metrics::new(&node, 0)?);
    let watchers = Watchers::new(metrics.watch());
    let health = Arc::new(Health::new(metrics));
    let ends = Ends {
        health: Arc::clone(&health),
        auditor: Auditor::new(Uuid::new_v4(), node.clone(), Commands::Full),
        restraint: Restraint::new(0),
        policy: None,
        outputs: Outputs::to_watchers(watchers.clone()),
        seen: watch::channel(Seen::default()).0,
    };
    let mut recorder = Recorder::new(ends, read_clock);
    let mut daemon = Daemon::start(options, rbac, |news| recorder.take(news))?;
    let tell: Tell = Arc::new(move || Status::of(&health, &node));
    let admitted = watchers.admit(stream, &tell).is_ok();
    // Nothing is ever written into it: the process ends, and its probes with it.
    let (stop, _never) = pipe().map_err(io::Error::from)?;
    if admitted && begin() {
        daemon.run(stop.as_fd())?;
    }
    Ok(())
}
