//! The middle of the way, without I/O: kernel records in, judged exchanges out.

mod fuzz;
mod repeats;

use std::sync::Arc;

use bytes::Bytes;

pub use fuzz::fuzz_entry;

use repeats::Repeats;

use crate::{
    exchange::{Again, ConnectionStep, Connections, Exchanges, LocalCaller, Part, Place, Step},
    judge::{Judge, Policy, Verdict},
    observation::{Observation, Process, Socket, SocketEvent, Timestamp},
    probe::{DecodeError, Decoded, Told, Users, Whole, decode},
    rbac::Update,
};

/// What a record led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An exchange was judged.
    Verdict(Arc<Verdict>),
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
    repeats: Repeats,
    judge: Judge,
}

impl Witness {
    /// Remembers at most `limit` connections, as many requests of the exec class and as many others.
    pub fn new(policy: Policy, limit: usize, secure_port: u16, read_only_port: u16) -> Self {
        Self {
            users: Users::default(),
            connections: Connections::new(limit),
            exchanges: Exchanges::new(limit, secure_port, read_only_port),
            repeats: Repeats::default(),
            judge: Judge::new(policy, limit),
        }
    }

    /// Takes one record; `place` finds out where a process of this node runs.
    pub fn take(&mut self, record: &Bytes, place: impl FnOnce(&Process) -> Place) -> Result<Vec<Outcome>, DecodeError> {
        match decode(record, &mut self.users)? {
            Told::One(Decoded { observation: Observation::Socket(socket), .. }) => Ok(self.socket(socket, place)),
            Told::One(decoded) => {
                let steps = self.observe(decoded);
                Ok(self.judge(steps))
            }
            Told::Whole(whole) => Ok(self.whole(whole)),
            Told::Again(again) => self.again(&again),
        }
    }

    fn whole(&mut self, Whole { origin, parts }: Whole) -> Vec<Outcome> {
        let steps = parts.into_iter().flat_map(|part| self.observe(part)).collect();
        let outcomes = self.judge(steps);
        if let Some(Outcome::Verdict(verdict)) = outcomes.last() {
            self.repeats.keep(origin, Arc::clone(verdict), self.judge.basis(), self.users.last());
        }
        outcomes
    }

    /// The verdict of before is changed and not made anew, for whoever it was told to is done with it.
    fn again(&mut self, again: &Again) -> Result<Vec<Outcome>, DecodeError> {
        let kept = self.repeats.get(again.as_before).ok_or(DecodeError::Unknown)?;
        let verdict = Arc::make_mut(&mut kept.verdict);
        if !verdict.exchange.repeat(again) {
            return Err(DecodeError::Unknown);
        }
        let caller = std::mem::take(&mut verdict.exchange.caller);
        let stale = self.exchanges.repeated(&mut verdict.exchange, &mut self.connections);
        let basis = std::mem::replace(&mut kept.basis, self.judge.basis());
        self.judge.ended_again(verdict, basis == kept.basis && caller == verdict.exchange.caller);
        self.users.came_again(kept.told);
        let outcome = Outcome::Verdict(Arc::clone(&kept.verdict));
        let mut outcomes = self.judge(stale.into_iter().collect());
        outcomes.push(outcome);
        Ok(outcomes)
    }

    fn observe(&mut self, Decoded { observation, arrival }: Decoded) -> Vec<Step> {
        let (id, part) = match observation {
            Observation::Request(id, request) => (id, Part::Request(request)),
            Observation::Check(id, check) => (id, Part::Check(check)),
            Observation::Answer(id, time, status) => (id, Part::Answer(time, status)),
            Observation::End(id, end) => (id, Part::End(end)),
            Observation::Socket(_) => return Vec::new(),
        };
        self.exchanges.observe(id, part, arrival, &mut self.connections)
    }

    /// Time passed: what lasts is judged again. To be called every 100 ms or so.
    pub fn lasting(&mut self, now: Timestamp) -> Vec<Outcome> {
        let silent = self.connections.forget(now).into_iter().map(Outcome::Connection);
        self.judge.lasting(now).into_iter().map(verdict).chain(silent).collect()
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
        let mut outcomes = self.judge(steps);
        outcomes.extend(self.connections.stop().into_iter().map(Outcome::Connection));
        outcomes
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
    Outcome::Verdict(Arc::new(verdict))
}
