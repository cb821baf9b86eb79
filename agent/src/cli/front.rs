//! The thread that serves the pages and heeds signals, beside the daemon's.

use std::{os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use rustix::{io::write, pipe::pipe};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::warn;

use super::metrics::Door;
use crate::export::{
    Health,
    guard::Tls,
    http::{Pages, serve},
    policy::PolicyFile,
    sink::Renewer,
};

/// The least time between two looks whether the daemon's loop turns.
const LOOK: Duration = Duration::from_secs(3);

/// What a shell says of a command that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// What will serve and heed.
pub(super) struct Front {
    runtime: Runtime,
    signals: Signals,
}

impl Front {
    /// Heeds signals from now on: make it before anything that takes time, so that an early SIGHUP does not end the agent.
    pub(super) fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("the HTTP server cannot be started")?;
        let signals = Signals::watch(&runtime).context("signals cannot be watched")?;
        Ok(Self { runtime, signals })
    }

    /// Serves the pages on a thread of its own. The descriptor becomes readable when the daemon should stop.
    pub(super) fn open(self, door: Door, renewal: Renewal) -> Result<OwnedFd> {
        let Door { address, tls, pages } = door;
        let listener = self
            .runtime
            .block_on(TcpListener::bind(address))
            .with_context(|| format!("cannot listen on {address} for metrics; name another address with --metrics-listen"))?;
        if pages.guard.is_none() && !address.ip().is_loopback() {
            warn!(
                "the metrics name the identities that use the kubelet, and whoever reaches {address} can read them: use --metrics-auth \
                 kubernetes, or listen on 127.0.0.1"
            );
        }
        let health = Arc::clone(&pages.health);
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&health)).context("no thread can be started")?;
        let (stop, stopper) = pipe().context("no pipe can be made")?;
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || self.attend(listener, tls, pages, &renewal, &stopper))
            .context("no thread can be started")?;
        Ok(stop)
    }

    fn attend(mut self, listener: TcpListener, tls: Option<Tls>, pages: Pages, renewal: &Renewal, stopper: &OwnedFd) {
        self.runtime.block_on(async {
            let server = tokio::spawn(serve(listener, pages, tls, std::future::pending()));
            self.signals.attend(renewal).await;
            // The daemon reads nothing but that it can read.
            let _told = write(stopper, b"x");
            // Metrics go on until the process ends.
            tokio::select! {
                _ = server => {}
                // Whoever asks twice at a keyboard does not want to wait for what is still being written.
                _ = self.signals.interrupt.recv() => std::process::exit(INTERRUPTED),
            }
        });
    }
}

/// Looks whether the daemon's loop turns, also where nobody asks; what is found is logged. A thread of its own sleeps without a wakeup between, which
/// a runtime's timer does not.
fn watch(health: &Health) {
    loop {
        thread::sleep(health.patience().max(LOOK));
        let _told = health.readiness();
    }
}

/// The signals that the agent heeds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What SIGHUP renews.
pub(super) struct Renewal {
    pub(super) events: Renewer,
    pub(super) policy: Option<Arc<PolicyFile>>,
}

impl Signals {
    fn watch(runtime: &Runtime) -> std::io::Result<Self> {
        let _entered = runtime.enter();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until the agent is to stop.
    async fn attend(&mut self, renewal: &Renewal) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => renewal.renew(),
            }
        }
    }
}

impl Renewal {
    fn renew(&self) {
        self.events.renew();
        if let Some(policy) = &self.policy {
            policy.reload();
        }
    }
}
