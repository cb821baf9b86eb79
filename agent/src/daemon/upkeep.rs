//! The daemon looks after itself: are the probes still there, does the tracepoint still tell, does silence mean what it seems to.
//!
//! Nothing here is needed for what is watched; it finds out when somebody, or the kernel, took the agent's eyes. Each look costs a few reads of
//! the kubelet's code and one socket that is opened and closed.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use kubewitness_wire::Counter;
use tracing::{debug, warn};

use super::{Daemon, News, now};
use crate::{
    exchange::ConnectionStep,
    probe::{Counts, OwnPages, ProbeError},
    selfcheck::{Check, Silence},
};

/// How often it is looked: what is wrong is known within ten seconds.
const LOOK: Duration = Duration::from_secs(4);
/// How often the whole machine is searched for kubelets whose start was not told: a record of it may be lost.
const SEARCH: Duration = Duration::from_secs(60);

/// What was found at the last look.
#[derive(Debug)]
pub(super) struct Upkeep {
    looked: Instant,
    searched: Instant,
    lost_sockets: u64,
    silence: Silence,
    pages: OwnPages,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let pages = OwnPages::find().unwrap_or_else(|error| {
            debug!("code that is not used stays in memory: {error}");
            OwnPages::default()
        });
        Self { looked: now, searched: now, lost_sockets: 0, silence: Silence::default(), pages }
    }

    /// A connection was opened or closed.
    pub(super) fn connection(&mut self, step: ConnectionStep) {
        if matches!(step, ConnectionStep::Silent) {
            self.silence.without_request(now());
        }
    }
}

impl<F: FnMut(News)> Daemon<F> {
    /// Looks after the agent, if it is time to.
    pub(super) fn look_after(&mut self, counts: Counts) -> Result<(), ProbeError> {
        if self.upkeep.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.upkeep.looked = Instant::now();
        self.look_at_probes(counts.of(Counter::Begun));
        self.look_at_sockets(counts.of(Counter::Transitions))?;
        self.search_again(counts.of(Counter::LostSocket));
        if let Err(error) = self.upkeep.pages.give_back() {
            debug!("code that is not used stays in memory: {error}");
        }
        Ok(())
    }

    fn look_at_probes(&mut self, begun: u64) {
        let silence = self.upkeep.silence.look(begun, now());
        let failure = match self.kubelets.mend(&mut self.probes) {
            Err(reason) => Some(reason),
            Ok(presence) => {
                for symbol in &presence.mended {
                    warn!(symbol, "a probe was gone from the kubelet's memory and was put back: requests meanwhile were not seen");
                }
                if !presence.mended.is_empty() {
                    (self.tell)(News::Mended(Check::Probes));
                }
                // Where the probes are known to be in place, it is the callers who say nothing.
                presence.unknown.zip(silence).map(|(why, connections)| {
                    format!(
                        "{connections} connections to the kubelet came and went without one request, and its code cannot be looked at ({why}): \
                         perhaps the probes are gone"
                    )
                })
            }
        };
        (self.tell)(News::Checked(Check::Probes, failure));
    }

    /// The tracepoint counts the TCP sockets of the whole machine, so it must count one that the agent opens and closes itself.
    fn look_at_sockets(&mut self, before: u64) -> Result<(), ProbeError> {
        // A listener goes through two states. Nobody can connect in between: nobody knows its port.
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { return Ok(()) };
        drop(listener);
        let mut failure = None;
        if self.probes.counts()?.of(Counter::Transitions) == before {
            match self.probes.watch_sockets() {
                Ok(()) => {
                    warn!("the tracepoint of connections told nothing and was attached anew: connections meanwhile were not seen");
                    (self.tell)(News::Mended(Check::Sockets));
                }
                Err(error) => failure = Some(format!("connections are not told any more: {error}")),
            }
        }
        (self.tell)(News::Checked(Check::Sockets, failure));
        Ok(())
    }

    /// Looks for kubelets whose `LISTEN` was lost.
    fn search_again(&mut self, lost_sockets: u64) {
        let lost = lost_sockets != self.upkeep.lost_sockets;
        if !lost && self.upkeep.searched.elapsed() < SEARCH {
            return;
        }
        self.upkeep.lost_sockets = lost_sockets;
        self.upkeep.searched = Instant::now();
        self.search();
        // Whoever runs a kubelet's executable and is not believed may be gone without a word.
        self.take_in_flight(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    }
}
