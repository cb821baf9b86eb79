//! The loop of the daemon: waits for the kernel, drains the rings, and hands on what was judged. The only place where the stages meet.

mod upkeep;

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::Write as _,
    os::{fd::BorrowedFd, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;
use tracing::{debug, field, info, warn};

use crate::{
    exchange::ConnectionStep,
    export::bucket::Bucket,
    judge::{Policy, Verdict},
    observation::{Process, Timestamp},
    probe::{Counts, ProbeError, Probes, Rings, Way, sender},
    rbac::{Kind, Update},
    selfcheck::Check,
    target::{AdoptError, Disbelief, Disbelieved, Kubelets, Places, Status, blindness, listeners, netns, own_netns, standing},
    witness::{Outcome, Witness},
};
use upkeep::Upkeep;

/// Requests in flight that are remembered, of the exec class and others each; the kernel programs remember as many.
const IN_FLIGHT: usize = 16_384;
/// Records of one ring that are handled before the other rings are looked at again.
const BATCH: usize = 1024;
/// How often the rings are drained before something else is looked at.
const DRAINS: usize = 16;
/// How long a routine record may wait: nothing but time, a full ring or a priority record drains it.
const DRAIN: Duration = Duration::from_millis(100);
/// The longest that it waits when there was nothing to drain: each time twice as long as before, for an idle node shall not be woken once a
/// second, and the agent's own request for the kubelet's counters shall not keep it awake.
const IDLE_DRAIN: Duration = Duration::from_secs(2);
/// Updates of RBAC objects that are taken before the rings are looked at again.
const UPDATES: usize = 1024;
/// How often the kernel's counters are read.
const COUNT: Duration = Duration::from_secs(1);
/// Processes that would like to be taken for a kubelet and are named in the log at once, and then one each time: nobody fills it by listening.
const IMPOSTORS: Bucket = Bucket::new(32, Duration::from_secs(60));

/// What the daemon is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kubelet's port.
    pub port: u16,
    /// Its read-only port.
    pub read_only_port: u16,
    /// Kubelets that are believed wherever they are.
    pub pids: Vec<u32>,
    /// Where the kubelet keeps its pods' logs; the names there tell pods by their UIDs.
    pub pod_logs: PathBuf,
    /// How exchanges are judged.
    pub policy: Policy,
    /// Where the kernel's records are copied to, one after the other as they are: for tests and reports of bugs.
    pub trace: Option<PathBuf>,
}

/// What the daemon tells.
#[derive(Debug)]
pub enum News {
    /// An exchange was judged.
    Verdict(Arc<Verdict>),
    /// A connection was opened or closed.
    Connection(ConnectionStep),
    /// What the kernel programs counted so far.
    Counts(Counts),
    /// Records that could not be decoded so far.
    Undecodable(u64),
    /// Whether all RBAC objects are known, told when it changes; they are not at first.
    RbacSynced(bool),
    /// A process that would like to be taken for a kubelet is not believed.
    Disbelieved(Disbelief),
    /// What is watched changed.
    Status(Status),
    /// There is nothing more for the moment.
    Pause,
    /// The agent looked at itself: fine, or what is wrong.
    Checked(Check, Option<String>),
    /// What was wrong was put right, and something may have gone unseen meanwhile.
    Mended(Check),
}

/// Why the daemon cannot go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The programs could not be loaded or asked.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A kubelet that was named cannot be watched.
    #[error("the kubelet named with --kubelet-pid cannot be watched: {0}")]
    Named(#[from] AdoptError),
    /// The file of the trace.
    #[error("{}: {source}; name a file that the agent may write to with --trace", path.display())]
    Trace {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The system failed in an unexpected way.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
}

/// The daemon's state.
pub struct Daemon<F> {
    options: Options,
    probes: Probes,
    rings: Rings,
    kubelets: Kubelets,
    believed: BTreeSet<u32>,
    places: Places,
    witness: Witness,
    rbac: Option<Receiver<Update>>,
    rbac_synced: bool,
    trace: Option<File>,
    disbelieved: Disbelieved,
    impostors: Bucket,
    untold: u64,
    /// Why there may be a kubelet that nobody finds.
    blindness: Option<String>,
    undecodable: u64,
    upkeep: Upkeep,
    tell: F,
}

impl<F: FnMut(News)> Daemon<F> {
    /// Loads the programs, and attaches them to the kubelets that run already. The RBAC objects come over `rbac`, where they are followed;
    /// the channel should be bounded, and nobody waits for it here.
    pub fn start(options: Options, rbac: Option<Receiver<Update>>, tell: F) -> Result<Self, DaemonError> {
        let ports = [options.port, options.read_only_port];
        let way = Way::of_this_kernel().map_err(ProbeError::from)?;
        let (mut probes, rings) = Probes::load(&ports, way)?;
        let own = own_netns().map_err(|source| DaemonError::System { what: "the agent's network namespace cannot be told", source })?;
        // In a container without the host's PID namespace process 1 is the container's own, whose namespace is the agent's.
        let believed: BTreeSet<u32> = [Some(own), netns(1).ok()].into_iter().flatten().collect();
        for inode in &believed {
            probes.believe_netns(*inode)?;
        }
        let trace = options.trace.as_deref().map(open_trace).transpose()?;
        let mut this = Self {
            places: Places::new(options.pod_logs.clone()),
            witness: Witness::new(options.policy.clone(), IN_FLIGHT, options.port, options.read_only_port),
            rbac,
            rbac_synced: false,
            trace,
            kubelets: Kubelets::default(),
            disbelieved: Disbelieved::default(),
            impostors: IMPOSTORS,
            untold: 0,
            blindness: blindness(),
            undecodable: 0,
            upkeep: Upkeep::new(),
            believed,
            options,
            probes,
            rings,
            tell,
        };
        for pid in this.options.pids.clone() {
            let netns = netns(pid).map_err(|source| AdoptError::Executable { pid, source })?;
            this.probes.believe_process(pid, netns)?;
            this.adopt(pid, None)?;
        }
        this.search();
        if let Some(blindness) = &this.blindness {
            warn!("nothing is watched: {blindness}");
        }
        Ok(this)
    }

    /// Works until `stop` is readable; then takes the probes off, handles what is still in the rings, and ends what is in flight.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), DaemonError> {
        let mut counted = Instant::now();
        let mut pause = DRAIN;
        loop {
            let (stopping, gone) = self.wait(stop, if self.witness.is_idle() { pause } else { DRAIN })?;
            self.give_way();
            if stopping {
                return self.finish();
            }
            // Before the rings: a request is judged by objects that are no older than it, as far as they are here.
            let updated = self.rbac();
            pause = if self.drain() || updated { DRAIN } else { IDLE_DRAIN.min(2 * pause) };
            self.probes.log();
            self.lasting();
            for pid in gone {
                self.gone(pid);
            }
            (self.tell)(News::Pause);
            if counted.elapsed() >= COUNT {
                counted = Instant::now();
                let counts = self.count()?;
                self.look_after(counts)?;
                self.prepare();
            }
        }
    }

    /// Takes what is told of the RBAC objects; false if there was nothing. A listing must not keep requests from their turn, so this ends.
    fn rbac(&mut self) -> bool {
        let Some(updates) = &self.rbac else { return false };
        let mut taken = 0;
        while taken < UPDATES {
            match updates.try_recv() {
                Ok(update) => self.witness.rbac(update),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // Whoever watched them is gone, and what is known of them grows old.
                    [Kind::ClusterRole, Kind::ClusterRoleBinding].map(Update::Lost).into_iter().for_each(|lost| self.witness.rbac(lost));
                    self.rbac = None;
                    break;
                }
            }
            taken += 1;
        }
        let synced = self.witness.is_rbac_synced();
        if synced != self.rbac_synced {
            self.rbac_synced = synced;
            (self.tell)(News::RbacSynced(synced));
        }
        taken > 0
    }

    fn finish(&mut self) -> Result<(), DaemonError> {
        self.kubelets.release(&mut self.probes);
        self.drain();
        self.take_in_flight(|_| true);
        let in_flight = self.witness.stop();
        self.tell_all(in_flight);
        self.probes.log();
        self.count()?;
        Ok(())
    }

    fn count(&mut self) -> Result<Counts, DaemonError> {
        for pid in self.disbelieved.ended() {
            self.probes.heed_process(pid);
        }
        let counts = self.probes.counts()?;
        (self.tell)(News::Counts(counts));
        Ok(counts)
    }

    /// Whether to stop, and which watched processes ended.
    fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<(bool, Vec<u32>), DaemonError> {
        let lives: Vec<_> = self.kubelets.lives().collect();
        let others: Vec<_> = std::iter::once(stop).chain(lives.iter().map(|(_, life)| *life)).collect();
        let ready =
            self.rings.wait(&others, timeout).map_err(|source| DaemonError::System { what: "waiting for the kernel failed", source })?;
        let gone = ready.iter().filter_map(|index| lives.get(index.checked_sub(1)?)).map(|(pid, _)| *pid).collect();
        Ok((ready.contains(&0), gone))
    }

    /// Handles what is in the rings; false if there was nothing. A flood must not keep the rest from its turn, so this ends.
    fn drain(&mut self) -> bool {
        let mut records = Vec::new();
        for round in 0..DRAINS {
            if self.rings.drain(BATCH, |record| records.push(record)) == 0 {
                return round > 0;
            }
            for record in records.drain(..) {
                self.take(&record);
            }
            // A flood may keep this busy for long, and what runs must be told while it does.
            self.lasting();
        }
        true
    }

    fn lasting(&mut self) {
        let lasting = self.witness.lasting(now());
        self.tell_all(lasting);
    }

    fn take(&mut self, record: &Bytes) {
        if sender(record).is_some_and(|pid| !self.is_kubelet(pid)) {
            return;
        }
        if let Some(trace) = &mut self.trace
            && let Err(error) = trace.write_all(record)
        {
            warn!("the trace ends here: {error}");
            self.trace = None;
        }
        match self.witness.take(record, |process| self.places.place(process)) {
            Ok(outcomes) => self.tell_all(outcomes),
            Err(error) => {
                debug!("a record was dropped: {error}");
                self.undecodable += 1;
                (self.tell)(News::Undecodable(self.undecodable));
            }
        }
    }

    fn tell_all(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Verdict(verdict) => (self.tell)(News::Verdict(verdict)),
                Outcome::Connection(step) => {
                    self.upkeep.connection(step);
                    (self.tell)(News::Connection(step));
                }
                Outcome::Listening { process, netns, time } => self.listens(&process, netns, time),
            }
        }
    }

    /// A kubelet is about to serve, or something that would like to be taken for one.
    fn listens(&mut self, process: &Process, netns: u32, since: Timestamp) {
        if self.believed.contains(&netns) || self.options.pids.contains(&process.pid) {
            self.consider(process.pid, Some(since));
            self.status();
        } else {
            self.disbelieve(process.pid, &Disbelief::Network(netns));
        }
    }

    /// Looks for kubelets among all that listens now.
    fn search(&mut self) {
        for pid in listeners(&[self.options.port, self.options.read_only_port], &self.believed) {
            self.consider(pid, None);
        }
        self.status();
    }

    /// Watches a process that listens, if it may be a kubelet; `since` is when it began to, if that was seen.
    fn consider(&mut self, pid: u32, since: Option<Timestamp>) {
        match self.standing(pid) {
            Ok(()) => {
                if let Err(error) = self.adopt(pid, since) {
                    warn!("a process that listens on a watched port is not watched: {error}");
                }
            }
            Err(why) => self.disbelieve(pid, &why),
        }
    }

    /// Whether it may be the node's kubelet; one that was named is.
    fn standing(&self, pid: u32) -> Result<(), Disbelief> {
        if self.options.pids.contains(&pid) { Ok(()) } else { standing(pid) }
    }

    /// Whether a record is of a process that is believed. Whoever runs a file that is probed makes records, wherever they listen.
    fn is_kubelet(&mut self, pid: u32) -> bool {
        if self.kubelets.knows(pid) {
            return true;
        }
        if self.disbelieved.contains(pid) {
            // The kernel programs know it too: these were on their way.
            return false;
        }
        match self.standing(pid).and_then(|()| self.adopt(pid, None).map_err(|_| Disbelief::Unseen)) {
            Ok(()) => {
                self.status();
                true
            }
            Err(why) => {
                self.disbelieve(pid, &why);
                false
            }
        }
    }

    fn disbelieve(&mut self, pid: u32, why: &Disbelief) {
        // One in another network namespace is nobody to the kernel programs, and one that is gone does nothing any more.
        if matches!(why, Disbelief::Pod(_) | Disbelief::User(_)) {
            match self.disbelieved.remember(pid) {
                Ok(forgotten) => {
                    if let Some(forgotten) = forgotten {
                        self.probes.heed_process(forgotten);
                    }
                    if let Err(error) = self.probes.ignore_process(pid) {
                        debug!("what process {pid} does is looked at record by record: {error}");
                    }
                }
                Err(why) => debug!("process {pid} {why}"),
            }
        }
        (self.tell)(News::Disbelieved(why.clone()));
        if !self.impostors.take(Instant::now()) {
            self.untold += 1;
            return;
        }
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let (comm, untold) = (comm.trim_end(), std::mem::take(&mut self.untold));
        if let Disbelief::Network(netns) = why {
            warn!(
                pid,
                comm,
                netns,
                untold,
                "a process listens on a watched port in a network namespace that is not the node's: it is not believed"
            );
        } else {
            warn!(
                pid,
                comm,
                untold,
                "a process would like to be taken for the node's kubelet, and {why}: it is not believed; name it with --kubelet-pid if it is the kubelet"
            );
        }
    }

    fn adopt(&mut self, pid: u32, since: Option<Timestamp>) -> Result<(), AdoptError> {
        let start = Instant::now();
        if let Some(plan) = self.kubelets.adopt(pid, &mut self.probes)? {
            let took = start.elapsed();
            let by = self.probes.way();
            let since_listen = since.map(|since| field::debug(Duration::from_nanos(now().0.saturating_sub(since.0))));
            info!(pid, kubelet = plan.kubelet_version, go = plan.go_version, %by, ?took, since_listen, "attached to a kubelet");
        }
        // It was found where it was looked for.
        self.blindness = None;
        Ok(())
    }

    fn gone(&mut self, pid: u32) {
        info!(pid, "a kubelet ended; its executable stays probed");
        self.take_in_flight(|of| of == pid);
        self.kubelets.gone(pid, &mut self.probes);
        self.probes.forget_process(pid);
        let outcomes = self.witness.process_gone(pid);
        self.tell_all(outcomes);
        self.status();
    }

    /// Takes what the kernel programs keep of requests that they will not see the end of. Whoever is not known never told of one.
    fn take_in_flight(&mut self, is_over: impl Fn(u32) -> bool) {
        match self.probes.take_in_flight(is_over) {
            Ok(mut records) => {
                records.retain(|record| sender(record).is_some_and(|pid| self.kubelets.knows(pid)));
                for record in &records {
                    self.take(record);
                }
            }
            Err(error) => warn!("what was in flight is not told: {error}"),
        }
    }

    /// A kubelet that was upgraded, and not restarted yet.
    fn prepare(&mut self) {
        match self.kubelets.prepare(&mut self.probes) {
            Some(Ok(plan)) => {
                info!(kubelet = plan.kubelet_version, go = plan.go_version, "attached to a kubelet's new executable, before it is run");
            }
            Some(Err(error)) => debug!("the file in the place of a kubelet's executable is not watched: {error}"),
            None => {}
        }
    }

    /// Before anything else: somebody waits for it.
    fn give_way(&mut self) {
        if self.kubelets.give_way(&mut self.probes) > 0 {
            info!("somebody writes to an executable that is not run: the probes are off it, and it is planned anew when it is run");
            self.status();
        }
    }

    fn status(&mut self) {
        let mut status = self.kubelets.status();
        status.refused = status.refused.or_else(|| self.blindness.clone());
        (self.tell)(News::Status(status));
    }
}

/// It holds commands, and commands can hold secrets: for the owner alone.
fn open_trace(path: &Path) -> Result<File, DaemonError> {
    let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
    opened.map_err(|source| DaemonError::Trace { path: path.to_owned(), source })
}

/// The clock that the kernel programs use.
pub fn now() -> Timestamp {
    let now = clock_gettime(ClockId::Monotonic);
    Timestamp(now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned())
}
