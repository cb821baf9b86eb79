//! The middle of the way, without I/O: kernel records in, judged exchanges out.

mod fuzz;

use bytes::Bytes;

pub use fuzz::fuzz_entry;

use crate::{
    exchange::{ConnectionStep, Connections, Exchanges, LocalCaller, Part, Place, Step},
    judge::{Judge, Policy, Verdict},
    observation::{Observation, Process, Socket, SocketEvent, Timestamp},
    probe::{DecodeError, Decoded, Users, decode},
    rbac::Update,
};

/// What a record led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An exchange was judged.
    Verdict(Box<Verdict>),
    /// A connection was opened or closed.
    Connection(ConnectionStep),
    /// A process listens on a watched port of this network namespace.
    Listening {
        /// The process.
        process: Process,
        /// Inode of the network namespace.
        netns: u32,
        /// Since when.
        time: Timestamp,
    },
}

/// Joins, assembles and judges, within bounds.
#[derive(Debug)]
pub struct Witness {
    users: Users,
    connections: Connections,
    exchanges: Exchanges,
    judge: Judge,
}

impl Witness {
    /// Remembers at most `limit` connections, as many requests of the exec class and as many others.
    pub fn new(policy: Policy, limit: usize, secure_port: u16, read_only_port: u16) -> Self {
        Self {
            users: Users::default(),
            connections: Connections::new(limit),
            exchanges: Exchanges::new(limit, secure_port, read_only_port),
            judge: Judge::new(policy, limit),
        }
    }

    /// Takes one record; `place` finds out where a process of this node runs.
    pub fn take(&mut self, record: &Bytes, place: impl FnOnce(&Process) -> Place) -> Result<Vec<Outcome>, DecodeError> {
        let Decoded { observation, arrival } = decode(record, &mut self.users)?;
        let (id, part) = match observation {
            Observation::Request(id, request) => (id, Part::Request(request)),
            Observation::Check(id, check) => (id, Part::Check(check)),
            Observation::Answer(id, time, status) => (id, Part::Answer(time, status)),
            Observation::End(id, end) => (id, Part::End(end)),
            Observation::Socket(socket) => return Ok(self.socket(socket, place)),
        };
        let steps = self.exchanges.observe(id, part, arrival, &mut self.connections);
        Ok(self.judge(steps))
    }

    /// Time passed: what lasts is judged again. To be called every 100 ms or so.
    pub fn lasting(&mut self, now: Timestamp) -> Vec<Outcome> {
        self.judge.lasting(now).into_iter().map(verdict).collect()
    }

    /// The RBAC objects changed.
    pub fn rbac(&mut self, update: Update) {
        self.judge.rbac(update);
    }

    /// Whether all RBAC objects are known.
    pub fn is_rbac_synced(&self) -> bool {
        self.judge.is_rbac_synced()
    }

    /// A kubelet's process ended, and with it all that was in flight.
    pub fn process_gone(&mut self, pid: u32) -> Vec<Outcome> {
        let steps = self.exchanges.process_gone(pid);
        self.judge(steps)
    }

    /// Nothing is watched any more: what was in flight gets its last verdict.
    pub fn stop(&mut self) -> Vec<Outcome> {
        let steps = self.exchanges.stop();
        self.judge(steps)
    }

    /// Whether no request is in flight.
    pub fn is_idle(&self) -> bool {
        self.exchanges.in_flight() == 0
    }

    fn judge(&mut self, steps: Vec<Step>) -> Vec<Outcome> {
        let judged = steps.into_iter().filter_map(|step| match step {
            Step::Authorized(exchange) => Some(self.judge.authorized(exchange)),
            Step::Answered(exchange) => self.judge.answered(exchange),
            Step::Ended(exchange) => Some(self.judge.ended(exchange)),
        });
        judged.map(verdict).collect()
    }

    fn socket(&mut self, socket: Socket, place: impl FnOnce(&Process) -> Place) -> Vec<Outcome> {
        let caller = match &socket.event {
            SocketEvent::Connected(process) => Some(LocalCaller { pid: process.pid, comm: process.comm.clone(), place: place(process) }),
            SocketEvent::Listen(_) | SocketEvent::Opened | SocketEvent::Closed => None,
        };
        let steps = self.connections.observe(&socket, caller);
        let listening = match socket.event {
            SocketEvent::Listen(process) => Some(Outcome::Listening { process, netns: socket.netns, time: socket.time }),
            SocketEvent::Connected(_) | SocketEvent::Opened | SocketEvent::Closed => None,
        };
        listening.into_iter().chain(steps.into_iter().map(Outcome::Connection)).collect()
    }
}

fn verdict(verdict: Verdict) -> Outcome {
    Outcome::Verdict(Box::new(verdict))
}
