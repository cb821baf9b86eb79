//! The account of all that was read so far.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use jiff::{SignedDuration, Timestamp};

use super::batch::{Batch, Room};
use super::chunks::{Chunks, Piece};
use super::course::Course;
use super::line::{self, Event, Line, Stage};
use super::notes::{Notes, Odd, Place};
use super::people::{People, Person, TooMany};
use super::pieces::pieces;
use super::seen::{REMEMBERED, Seen};
use super::spans::Spans;
use super::writing::Writing;
use crate::judge::{Finding, Findings};
use crate::kubelet::{AccessKind, Endpoint, Verb};
use crate::report::{Example, Found, NodeSeen, Observed, Use};

/// Reads events and keeps account of them, in bounded memory: less than 150 MB for whatever number of requests, and a few hundred bytes for each
/// identity and node.
///
/// A request counts in `uses` when it is over; its findings count once, whichever of its stages shows them; its stages may come in any order.
#[derive(Debug)]
pub struct Collector {
    sources: Vec<String>,
    chunks: Chunks,
    account: Account,
}

/// What was counted so far.
#[derive(Debug)]
struct Account {
    place: Place,
    seen: Seen,
    /// Requests that began and have no end yet, with the place where that was told.
    running: HashMap<u64, Place, RandomState>,
    people: People,
    labels: [&'static str; Endpoint::ALL.len()],
    uses: HashMap<Counted, u64, RandomState>,
    findings: HashMap<(Finding, Person), Found>,
    node_numbers: HashMap<String, usize, RandomState>,
    nodes: Vec<Node>,
    times: Spans,
    course: Course,
    writing: Writing,
    notes: Notes,
}

/// A [`Use`] without a copy of the name; the endpoint is its place in [`Endpoint::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Counted {
    person: Person,
    endpoint: usize,
    access: AccessKind,
    verb: Verb,
}

#[derive(Debug, Default)]
struct Node {
    times: Spans,
    requests: u64,
    partial: u64,
    omits: bool,
    /// The source that last told of it, and the time of the stage it told of.
    clock: Option<(usize, Timestamp)>,
}

/// The place of [`Endpoint::Unknown`] in [`Endpoint::ALL`].
const UNKNOWN_ENDPOINT: usize = Endpoint::ALL.len() - 1;

/// Examples of a finding that are kept for one identity.
const EXAMPLES: usize = 5;

/// Nodes that are kept apart.
const MOST_NODES: usize = 100_000;

/// Running requests that are remembered; a node has a few.
const MOST_RUNNING: usize = 1_000_000;

/// Events of a node are written in the order of their stages, those of both rings within a second of each other; log shippers add some.
const TOLERATED: SignedDuration = SignedDuration::from_secs(10);

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector {
    /// Nothing was read yet.
    pub fn new() -> Self {
        Self::remembering(REMEMBERED)
    }

    pub(super) fn remembering(requests: usize) -> Self {
        let account = Account {
            place: Place { source: 0, line: 0 },
            seen: Seen::new(requests),
            running: HashMap::default(),
            people: People::new(),
            labels: Endpoint::ALL.each_ref().map(Endpoint::label),
            uses: HashMap::default(),
            findings: HashMap::default(),
            node_numbers: HashMap::default(),
            nodes: Vec::new(),
            times: Spans::default(),
            course: Course::new(),
            writing: Writing::default(),
            notes: Notes::default(),
        };
        Self { sources: Vec::new(), chunks: Chunks::default(), account }
    }

    /// What is fed from here on is from the source of this name, which notes will tell.
    pub fn begin(&mut self, source: &str) {
        self.account.place = Place { source: self.sources.len(), line: 0 };
        self.sources.push(source.to_owned());
    }

    /// Takes the next bytes of the source, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.count(&Batch::read(bytes, Room::default()));
    }

    /// Takes the next bytes of the source, read already.
    pub(in crate::report) fn count(&mut self, batch: &Batch) {
        self.chunks.feed(batch.head, |piece| self.account.piece(piece));
        for (line, read) in &batch.lines {
            self.account.place.line += 1;
            self.account.line(read, line);
        }
        self.chunks.feed(batch.rest, |piece| self.account.piece(piece));
    }

    /// The source is over.
    pub fn end(&mut self) {
        self.chunks.end(|piece| self.account.piece(piece));
    }

    /// What could be unpacked of the source was fed, and there should be more.
    pub fn damaged(&mut self) {
        self.account.odd_source(Odd::DamagedFile);
    }

    /// What could be read of the source was fed, and there should be more.
    pub fn unread(&mut self) {
        self.account.odd_source(Odd::UnreadFile);
    }

    /// What was seen.
    pub fn finish(self) -> Observed {
        self.account.told(&self.sources)
    }
}

impl Account {
    fn piece(&mut self, piece: Piece) {
        self.place.line += 1;
        match piece {
            Piece::TooLong => self.odd(Odd::LongLine),
            Piece::Line(line) => {
                let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.place.line == 1).unwrap_or(line);
                self.line(&line::read(line), line);
            }
        }
    }

    fn line(&mut self, read: &Line, line: &[u8]) {
        match read {
            Line::Cut | Line::NotJson => pieces(line, |read, line| self.read(read, line)),
            _ => self.read(read, line),
        }
    }

    fn read(&mut self, read: &Line, line: &[u8]) {
        match read {
            Line::Blank => (),
            Line::Event(event) => self.event(event, line),
            Line::OtherJson => self.odd(Odd::OtherJson),
            Line::Cut => self.odd(Odd::CutLine),
            Line::NotJson => self.odd(Odd::NotJson),
        }
    }

    fn event(&mut self, event: &Event, line: &[u8]) {
        let Some(access) = event.access() else { return self.other(event) };
        let key = match event.audit_id() {
            "" => self.seen.key(("line", line)),
            id => self.seen.key(("event", id)),
        };
        let (person, kept) = self.people.named(event.user.as_ref().map_or("", |user| user.name()));
        self.kept(kept);
        let received = event.received();
        let at = event.at();
        let hash = self.seen.key(at);
        let ended = match event.stage() {
            Stage::Ended => true,
            Stage::Started => false,
            Stage::Other => return self.odd(Odd::UnknownWord),
        };
        let forgot = self.seen.forgot;
        let request = self.seen.request(key);
        let is_new = if ended { request.end() } else { request.start(hash) };
        let is_over = request.ended;
        if self.seen.forgot && !forgot {
            self.odd(Odd::DuplicatesForgotten);
        }
        self.findings(event, line, key, person, received);
        if !is_new {
            return self.odd(Odd::Duplicate);
        }
        if ended {
            self.running.remove(&key);
        } else if !is_over && self.running.len() < MOST_RUNNING {
            self.running.entry(key).or_insert(self.place);
        }
        self.times(received, at);
        self.person(event, person, ended);
        self.node(event, person, (received, at), ended);
        if ended {
            let counted = Counted { person, endpoint: self.endpoint(event), access: self.access(access), verb: verb(event) };
            *self.uses.entry(counted).or_default() += 1;
            if let Some(received) = received {
                self.course.add(person, received, counted.access);
            }
        }
    }

    /// An event of the API server's own log. What it passes on to a kubelet comes there under its own name, so that nothing else tells
    /// who it was.
    fn other(&mut self, event: &Event) {
        self.odd(Odd::OtherAuditEvent);
        let user = event.impersonated_user.as_ref().or(event.user.as_ref());
        let Some(user) = user.filter(|user| event.is_nodes_proxy() && !user.name().is_empty()) else { return };
        if event.stage() == Stage::Other {
            return;
        }
        // Callers of the API server may choose the audit id, but not the time.
        let key = self.seen.key(("api-server", event.audit_id(), event.received()));
        if self.seen.request(key).end() {
            let (person, kept) = self.people.named(user.name());
            self.kept(kept);
            let known = self.people.known(person);
            known.seen = true;
            known.through_api_server += 1;
        }
    }

    /// Counts those that no other stage of the request showed, and keeps the events that show the first of them.
    fn findings(&mut self, event: &Event, line: &[u8], key: u64, person: Person, received: Option<Timestamp>) {
        if event.findings().next().is_none() {
            return;
        }
        let (mut raised, mut again) = (Findings::default(), Findings::default());
        let mut unknown = false;
        let request = self.seen.request(key);
        for id in event.findings() {
            match Finding::parse(id) {
                Some(finding) if request.find(finding) => raised.insert(finding),
                Some(finding) => again.insert(finding),
                None => unknown = true,
            }
        }
        let all = request.findings;
        if unknown {
            self.odd(Odd::UnknownWord);
        }
        for finding in raised.iter() {
            // One that was counted as executed while it ran, and failed in the end, is not an attempt besides (`judge::Judge::ended`).
            if finding == Finding::ExecAttempt && all.contains(Finding::UnloggedExec) {
                continue;
            }
            let found = self.findings.entry((finding, person)).or_default();
            found.count += 1;
            let Some(time) = received else { continue };
            let writing = &mut self.writing;
            let example = || Example {
                time,
                node: event.node().unwrap_or_default().to_owned(),
                audit_id: event.audit_id().to_owned(),
                request: format!("{} {}", event.verb(), event.uri()).trim().to_owned(),
                source_ip: event.source_ip().to_owned(),
                event: writing.keep(line, event.at()),
            };
            let dropped = keep_first(&mut found.examples, time, event.audit_id(), example);
            self.writing.drop(dropped.and_then(|example| example.event).as_ref());
        }
        for finding in again.iter() {
            let examples = self.findings.get_mut(&(finding, person)).map_or(&mut [][..], |found| &mut found.examples[..]);
            if let Some(example) = examples.iter_mut().find(|example| example.audit_id == event.audit_id()) {
                self.writing.keep_later(&mut example.event, line, event.at());
            }
        }
        let attempted = all.contains(Finding::ExecAttempt) && !raised.contains(Finding::ExecAttempt);
        if raised.contains(Finding::UnloggedExec) && attempted {
            self.take_back(Finding::ExecAttempt, person, event.audit_id());
        }
    }

    /// The end of a request was read before what came earlier and says more.
    fn take_back(&mut self, finding: Finding, person: Person, audit_id: &str) {
        let Some(found) = self.findings.get_mut(&(finding, person)) else { return };
        found.count = found.count.saturating_sub(1);
        found.examples.retain(|example| {
            let stays = example.audit_id != audit_id;
            self.writing.drop(example.event.as_ref().filter(|_| !stays));
            stays
        });
        if found.count == 0 {
            self.findings.remove(&(finding, person));
        }
    }

    fn times(&mut self, received: Option<Timestamp>, at: Option<Timestamp>) {
        if received.is_none() || at.is_none() {
            self.odd(Odd::TimeUnreadable);
        }
        for time in [received, at].into_iter().flatten() {
            self.times.add(time, self.place);
        }
    }

    fn person(&mut self, event: &Event, person: Person, ended: bool) {
        let known = self.people.known(person);
        known.seen = true;
        let grouped = event.user.as_ref().map_or(Ok(()), |user| known.in_groups(user));
        let granted = event.granted_by().filter(|_| ended).map_or(Ok(()), |grant| known.granted_by(grant));
        self.kept(grouped);
        self.kept(granted);
    }

    fn node(&mut self, event: &Event, person: Person, (received, at): (Option<Timestamp>, Option<Timestamp>), ended: bool) {
        let Some(name) = event.node() else { return self.odd(Odd::UnknownNode) };
        let number = match self.node_numbers.get(name) {
            Some(number) => *number,
            None if self.nodes.len() >= MOST_NODES => return self.odd(Odd::TooMany),
            None => {
                self.node_numbers.insert(name.to_owned(), self.nodes.len());
                self.nodes.push(Node::default());
                self.nodes.len() - 1
            }
        };
        self.people.known(person).nodes.insert(number);
        let node = &mut self.nodes[number];
        if let Some(received) = received {
            node.times.add(received, self.place);
        }
        node.requests += u64::from(ended);
        node.partial += u64::from(ended && event.is_partial());
        node.omits |= event.is_under_a_policy();
        if let Some(at) = at {
            let before = node.clock.replace((self.place.source, at));
            if before.is_some_and(|(source, before)| source == self.place.source && before.duration_since(at) > TOLERATED) {
                self.odd(Odd::ClockJump);
            }
        }
    }

    fn endpoint(&mut self, event: &Event) -> usize {
        let label = event.endpoint();
        self.labels.iter().position(|known| *known == label).unwrap_or_else(|| {
            self.odd(Odd::UnknownWord);
            UNKNOWN_ENDPOINT
        })
    }

    fn access(&mut self, word: &str) -> AccessKind {
        AccessKind::parse(word).unwrap_or_else(|| {
            self.odd(Odd::UnknownWord);
            AccessKind::Unknown
        })
    }

    fn kept(&mut self, kept: Result<(), TooMany>) {
        if kept.is_err() {
            self.odd(Odd::TooMany);
        }
    }

    fn odd(&mut self, odd: Odd) {
        self.notes.count(odd, self.place);
    }

    fn odd_source(&mut self, odd: Odd) {
        self.notes.count(odd, Place { line: 0, ..self.place });
    }

    fn told(mut self, sources: &[String]) -> Observed {
        if let Some(first) = self.running.values().min() {
            self.notes.add(Odd::Unfinished, self.running.len() as u64, *first);
        }
        if let Some((times, first)) = self.times.outside() {
            self.notes.add(Odd::TimeOutside, times, first);
        }
        let window = self.times.window();
        let mut names = vec![String::new(); self.nodes.len()];
        for (name, number) in self.node_numbers {
            names[number] = name;
        }
        let node = |node: Node| NodeSeen {
            seen: window.and_then(|window| node.times.within(window)),
            requests: node.requests,
            partial: node.partial,
            omits: node.omits,
            ..NodeSeen::default()
        };
        let people = &self.people;
        let used = |(counted, count): (Counted, u64)| {
            let Counted { person, endpoint, access, verb } = counted;
            let endpoint = Endpoint::ALL.into_iter().nth(endpoint).unwrap_or(Endpoint::Unknown);
            (Use { who: people.who(person).clone(), endpoint, access, verb }, count)
        };
        Observed {
            window,
            uses: self.uses.into_iter().map(used).collect(),
            findings: self.findings.into_iter().map(|((finding, person), found)| ((finding, people.who(person).clone()), found)).collect(),
            nodes: names.iter().cloned().zip(self.nodes.into_iter().map(node)).collect(),
            timeline: window.map(|window| self.course.told(window, people)),
            identities: self.people.told(&names),
            notes: self.notes.told(sources),
        }
    }
}

/// The verb that was authorized. An event has the same empty text for a method without a verb and for one that was not seen: only that of
/// an event of which nothing is missing is the former.
fn verb(event: &Event) -> Verb {
    match event.verb() {
        "" if event.is_partial() => Verb::Unknown,
        verb => Verb::parse(verb),
    }
}

/// Keeps the first few by time, whatever the order in which they come. Gives back the one that there is no room for any more.
fn keep_first(examples: &mut Vec<Example>, time: Timestamp, audit_id: &str, example: impl FnOnce() -> Example) -> Option<Example> {
    let at = examples.partition_point(|kept| (kept.time, kept.audit_id.as_str()) < (time, audit_id));
    if at >= EXAMPLES {
        return None;
    }
    examples.insert(at, example());
    if examples.len() > EXAMPLES { examples.pop() } else { None }
}
