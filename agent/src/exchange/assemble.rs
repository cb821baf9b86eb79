//! Puts the observations of each request together.

use std::collections::BTreeSet;

use super::{Caller, ConnectionId, Connections, Exchange, Gap, Step, bounded::Bounded};
use crate::{
    kubelet::Endpoint,
    observation::{Check, Decision, End, Request, RequestId, Text, Timestamp},
};

/// A goroutine serves one request at a time.
type Goroutine = (u32, u64);
/// The secure and the read-only one.
type Ports = (u16, u16);

/// What reached the assembler about one request, connections aside.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// How a part came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Over the ring of the priority class, as all parts of the same request.
    pub priority: bool,
    /// Earlier records of the same request that found no room in the ring.
    pub lost: u8,
    /// What the request asked for, where the kernel programs class by it; its pod is not told.
    pub endpoint: Option<Endpoint>,
}

/// The requests in flight, within a bound.
#[derive(Debug)]
pub struct Exchanges {
    routine: Bounded<Goroutine, Box<Exchange>>,
    /// Requests of the priority class, apart, so that no flood of others can push one out.
    priority: Bounded<Goroutine, Box<Exchange>>,
    read_only_port: u16,
    secure_port: u16,
}

impl Exchanges {
    /// Keeps at most `limit` requests of the priority class in flight, and as many others.
    pub fn new(limit: usize, secure_port: u16, read_only_port: u16) -> Self {
        Self { routine: Bounded::new(limit), priority: Bounded::new(limit), read_only_port, secure_port }
    }

    /// Takes one part of a request.
    pub fn observe(&mut self, id: RequestId, part: Part, arrival: Arrival, connections: &mut Connections) -> Vec<Step> {
        let key = (id.tgid, id.goroutine);
        let ports = (self.secure_port, self.read_only_port);
        // The two classes come over two rings: that a request of the one class was seen says nothing about those of the other class which
        // the goroutine served before, their records may still be on the way. Within a class the order is that of the goroutine.
        let (place, other) =
            if arrival.priority { (&mut self.priority, &mut self.routine) } else { (&mut self.routine, &mut self.priority) };
        if let Some(exchange) = place.get_mut(&key).filter(|known| known.id == id) {
            return match exchange.observe(part, arrival, ports, connections) {
                Some(Moment::Ended) => place.remove(&key).map(|exchange| ended(exchange, None)).into_iter().collect(),
                moment => told(moment.as_ref(), exchange),
            };
        }
        let elsewhere = other.get(&key).is_some_and(|known| known.id == id);
        let mut exchange = if elsewhere { other.remove(&key) } else { None }.unwrap_or_else(|| Box::new(Exchange::new(id)));
        let moment = exchange.observe(part, arrival, ports, connections);
        if let Some(Moment::Ended) = moment {
            let stale = place.remove(&key).map(|stale| ended(stale, Some(Gap::End)));
            return stale.into_iter().chain([ended(exchange, None)]).collect();
        }
        let mut steps = told(moment.as_ref(), &exchange);
        if let Some((of, gone)) = place.insert(key, exchange) {
            steps.push(ended(gone, Some(if of == key { Gap::End } else { Gap::Evicted })));
        }
        steps
    }

    /// Takes a whole request that is as one before it, of a caller who is not known yet: looks who is at the other end of its connection. What its
    /// goroutine did before will never be more than it is.
    pub fn repeated(&mut self, exchange: &mut Exchange, connections: &mut Connections) -> Option<Step> {
        exchange.join(true, (self.secure_port, self.read_only_port), connections);
        self.routine.remove(&(exchange.id.tgid, exchange.id.goroutine)).map(|stale| ended(stale, Some(Gap::End)))
    }

    /// Ends what was in flight in a process that is gone.
    pub fn process_gone(&mut self, tgid: u32) -> Vec<Step> {
        self.end_all(|of| of == tgid, Gap::KubeletGone)
    }

    /// Ends all that is in flight: nobody watches any more.
    pub fn stop(&mut self) -> Vec<Step> {
        self.end_all(|_| true, Gap::End)
    }

    fn end_all(&mut self, of: impl Fn(u32) -> bool, gap: Gap) -> Vec<Step> {
        let keys: BTreeSet<Goroutine> = self.priority.keys().chain(self.routine.keys()).filter(|(tgid, _)| of(*tgid)).copied().collect();
        let all = |key| [self.priority.remove(&key), self.routine.remove(&key)].into_iter().flatten();
        keys.into_iter().flat_map(all).map(|exchange| ended(exchange, Some(gap))).collect()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.priority.len() + self.routine.len()
    }
}

fn connection(request: &Request, (secure, read_only): Ports) -> Option<ConnectionId> {
    let port = if request.read_only { read_only } else { secure };
    Some(ConnectionId { netns: request.netns, port, client: request.remote? })
}

/// What is told of a request that goes on.
fn told(moment: Option<&Moment>, exchange: &Exchange) -> Vec<Step> {
    match moment {
        Some(Moment::Authorized) => vec![Step::Authorized(Box::new(exchange.clone()))],
        Some(Moment::Answered) => vec![Step::Answered(Box::new(exchange.clone()))],
        Some(Moment::Ended) | None => Vec::new(),
    }
}

fn ended(mut exchange: Box<Exchange>, gap: Option<Gap>) -> Step {
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
        Self {
            id,
            request: None,
            asked_for: None,
            is_let_in: false,
            checks: Vec::new(),
            answer: None,
            end: None,
            caller: Caller::default(),
            gaps: Vec::new(),
        }
    }

    /// What was asked for: by the path, or, where the record of the begin was lost, by what the other records say of it.
    pub fn endpoint(&self) -> Endpoint {
        match &self.request {
            Some(request) => Endpoint::of(&request.path),
            None => self.asked_for.clone().unwrap_or(Endpoint::Unknown),
        }
    }

    /// Takes a part, and what is known of the connection.
    fn observe(&mut self, part: Part, arrival: Arrival, ports: Ports, connections: &mut Connections) -> Option<Moment> {
        let is_begin = matches!(part, Part::Request(_));
        if arrival.lost > 0 {
            self.note(Gap::Lost);
        }
        self.is_let_in |= arrival.priority && arrival.endpoint.is_some();
        if self.asked_for.is_none() {
            self.asked_for = arrival.endpoint;
        }
        if !is_begin && self.request.is_none() {
            self.note(Gap::Begin);
        }
        let moment = self.add(part);
        // A connection that was taken over is closed before its request is over: what was known of it stays.
        if is_begin || self.caller == Caller::Unknown {
            self.join(is_begin, ports, connections);
        }
        moment
    }

    /// Looks who is at the other end of the connection, and notes that a request came over it, once.
    fn join(&mut self, is_begin: bool, ports: Ports, connections: &mut Connections) {
        let Some((connection, begin)) = self.request.as_ref().and_then(|request| Some((connection(request, ports)?, request.time))) else {
            return;
        };
        if is_begin {
            connections.request(&connection, begin);
        }
        if self.caller == Caller::Unknown {
            self.caller = connections.caller(&connection, begin);
        }
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
                // A refusal that was told over the other ring may come after what let the request in.
                let place = self.checks.partition_point(|earlier| earlier.time <= check.time);
                self.checks.insert(place, check);
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

    /// exec, attach, run or portForward.
    pub fn is_exec_class(&self) -> bool {
        self.endpoint().is_exec_class()
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
