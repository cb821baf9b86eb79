//! Puts the observations of each request together.

use std::collections::BTreeSet;

use super::{Caller, ConnectionId, Connections, Exchange, Gap, Step, bounded::Bounded};
use crate::{
    kubelet::Endpoint,
    observation::{Check, Decision, End, Request, RequestId, Text, Timestamp},
};

/// A goroutine serves one request at a time.
type Goroutine = (u32, u64);

/// What reached the assembler about one request, connections aside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and a box would be an allocation for each check")]
pub enum Part {
    /// Its begin.
    Request(Request),
    /// A question to the authorizer.
    Check(Check),
    /// The runtime's answer.
    Answer(Timestamp, u16),
    /// Its end.
    End(End),
}

/// The requests in flight, within a bound.
#[derive(Debug)]
pub struct Exchanges {
    routine: Bounded<Goroutine, Exchange>,
    /// Requests of the exec class, apart, so that no flood of others can push one out.
    exec: Bounded<Goroutine, Exchange>,
    read_only_port: u16,
    secure_port: u16,
}

impl Exchanges {
    /// Keeps at most `limit` requests of the exec class in flight, and as many others.
    pub fn new(limit: usize, secure_port: u16, read_only_port: u16) -> Self {
        Self { routine: Bounded::new(limit), exec: Bounded::new(limit), read_only_port, secure_port }
    }

    /// Takes one part of a request; `lost` of its earlier records found no room in the ring.
    pub fn observe(&mut self, id: RequestId, part: Part, lost: u16, connections: &mut Connections) -> Vec<Step> {
        let mut steps = Vec::new();
        let key = (id.tgid, id.goroutine);
        let mut exchange = self.take_known(id).unwrap_or_else(|| Exchange::new(id));
        let is_begin = matches!(part, Part::Request(_));
        if lost > 0 {
            exchange.note(Gap::Lost);
        }
        if !is_begin && exchange.request.is_none() {
            exchange.note(Gap::Begin);
        }
        let step = exchange.add(part);
        if let Some(request) = &exchange.request
            && let Some(connection) = self.connection(request)
        {
            if is_begin {
                connections.request(&connection);
            }
            // A connection that was taken over is closed before its request is over: what was known of it stays.
            if exchange.caller == Caller::Unknown {
                exchange.caller = connections.caller(&connection);
            }
        }
        // The two classes come over two rings: that a request of the one class was seen says nothing about those of the other class which
        // the goroutine served before, their records may still be on the way. Within a class the order is that of the goroutine.
        let place = if exchange.is_exec_class() { &mut self.exec } else { &mut self.routine };
        match step {
            Some(Moment::Ended) => {
                steps.extend(place.remove(&key).map(|stale| ended(stale, Some(Gap::End))));
                steps.push(ended(exchange, None));
                return steps;
            }
            Some(Moment::Authorized) => steps.push(Step::Authorized(exchange.clone())),
            Some(Moment::Answered) => steps.push(Step::Answered(exchange.clone())),
            None => {}
        }
        if let Some((of, gone)) = place.insert(key, exchange) {
            steps.push(ended(gone, Some(if of == key { Gap::End } else { Gap::Evicted })));
        }
        steps
    }

    /// Ends what was in flight in a process that is gone.
    pub fn process_gone(&mut self, tgid: u32) -> Vec<Step> {
        let keys: BTreeSet<Goroutine> = self.exec.keys().chain(self.routine.keys()).filter(|(of, _)| *of == tgid).copied().collect();
        let of = |key| [self.exec.remove(&key), self.routine.remove(&key)].into_iter().flatten();
        keys.into_iter().flat_map(of).map(|exchange| ended(exchange, Some(Gap::KubeletGone))).collect()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.exec.len() + self.routine.len()
    }

    /// What is known of this very request.
    fn take_known(&mut self, id: RequestId) -> Option<Exchange> {
        let key = (id.tgid, id.goroutine);
        let place = [&mut self.exec, &mut self.routine].into_iter().find(|place| place.get(&key).is_some_and(|known| known.id == id))?;
        place.remove(&key)
    }

    fn connection(&self, request: &Request) -> Option<ConnectionId> {
        let port = if request.read_only { self.read_only_port } else { self.secure_port };
        Some(ConnectionId { netns: request.netns, port, client: request.remote? })
    }
}

fn ended(mut exchange: Exchange, gap: Option<Gap>) -> Step {
    if let Some(gap) = gap {
        exchange.note(gap);
    }
    Step::Ended(exchange)
}

/// What a part led to.
enum Moment {
    Authorized,
    Answered,
    Ended,
}

impl Exchange {
    fn new(id: RequestId) -> Self {
        Self { id, request: None, checks: Vec::new(), answer: None, end: None, caller: Caller::default(), gaps: Vec::new() }
    }

    fn add(&mut self, part: Part) -> Option<Moment> {
        match part {
            Part::Request(request) => {
                self.note_texts([&request.method, &request.path, &request.uri]);
                self.request = Some(request);
                None
            }
            Part::Check(check) => {
                self.note_texts([&check.user.name, &check.verb, &check.subresource]);
                let allowed = check.decision == Decision::Allow;
                self.checks.push(check);
                (allowed && self.is_exec_class()).then_some(Moment::Authorized)
            }
            Part::Answer(time, status) => {
                self.answer = Some((time, status));
                Some(Moment::Answered)
            }
            Part::End(end) => {
                if end.response.is_none() {
                    self.note(Gap::Unreadable);
                }
                self.end = Some(end);
                Some(Moment::Ended)
            }
        }
    }

    /// exec, attach, run or portForward, by the path that the kubelet routes by.
    pub fn is_exec_class(&self) -> bool {
        let path = self.request.as_ref().and_then(|request| request.path.known());
        path.is_some_and(|path| Endpoint::parse(path).is_exec_class())
    }

    fn note_texts(&mut self, texts: [&Text; 3]) {
        for text in texts {
            match text {
                Text::Whole(_) => {}
                Text::Cut(..) => self.note(Gap::Cut),
                Text::Unreadable => self.note(Gap::Unreadable),
            }
        }
    }

    fn note(&mut self, gap: Gap) {
        if !self.gaps.contains(&gap) {
            self.gaps.push(gap);
        }
    }
}
