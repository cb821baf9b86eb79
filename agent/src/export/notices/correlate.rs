//! Which Events are written when: the same thing again is counted in the Event that is there, and nothing is written more often than a
//! cluster can bear. Pure: notices and the time in, writes out.
//!
//! The model is `EventCorrelator` of client-go (`tools/record/events_cache.go`), with two differences. What finds no token is not
//! dropped: it waits, and is counted meanwhile. And each finding has a bucket of its own, so that many harmless ones about an object do not
//! silence the one that matters.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::notice::{Notice, Object};
use crate::export::bucket::Bucket;
use crate::judge::{Finding, Severity};

/// Events that are kept in mind, and buckets of objects.
const LIMIT: usize = 512;
/// The same finding about the same object and identity belongs to one Event as long as it comes again within this.
const SAME: Duration = Duration::from_secs(600);
/// A count is written no more often.
const SETTLE: Duration = Duration::from_secs(5);
/// What could not be written for so long is given up.
const GIVE_UP: Duration = Duration::from_secs(600);
/// Writes about one object and finding: client-go's `defaultSpamBurst` and `defaultSpamQPS`.
const OBJECT: Bucket = Bucket::new(25, Duration::from_secs(300));
/// Writes of the agent, of warnings and of critical findings each.
const AGENT: Bucket = Bucket::new(50, Duration::from_secs(2));

/// What makes two notices the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    finding: Finding,
    object: Object,
    identity: String,
}

/// An Event, as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) key: Key,
    /// Whether the API server has it already, so that only count and time change.
    pub(super) exists: bool,
    /// Its name.
    pub(super) name: String,
    /// What it is about: the notice's object, or the node in its place.
    pub(super) object: Object,
    pub(super) finding: Finding,
    pub(super) message: String,
    pub(super) first: jiff::Timestamp,
    pub(super) last: jiff::Timestamp,
    pub(super) count: u32,
}

/// Notices that will be in no Event, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// More different ones than are kept in mind.
    pub(super) evicted: u32,
    /// Not written in time.
    pub(super) late: u32,
}

/// Decides.
#[derive(Debug)]
pub(super) struct Correlator {
    events: HashMap<Key, Event>,
    objects: HashMap<(Finding, Object), Bucket>,
    warnings: Bucket,
    critical: Bucket,
    named: u64,
    dropped: Dropped,
}

#[derive(Debug)]
struct Event {
    name: String,
    message: String,
    first: jiff::Timestamp,
    last: jiff::Timestamp,
    /// How often it came, and how often the API server knows of.
    count: u32,
    told: u32,
    /// The node stands in for the pod.
    moved: bool,
    /// The API server has it.
    exists: bool,
    /// When it came last.
    seen: Instant,
    /// Since when something of it is not written.
    waits: Option<Instant>,
    /// Not to be written earlier.
    due: Instant,
}

impl Default for Correlator {
    fn default() -> Self {
        Self { events: HashMap::new(), objects: HashMap::new(), warnings: AGENT, critical: AGENT, named: 0, dropped: Dropped::default() }
    }
}

impl Correlator {
    /// Takes a notice.
    pub(super) fn take(&mut self, notice: Notice, now: Instant) {
        let Notice { finding, object, identity, message, at } = notice;
        let key = Key { finding, object, identity };
        if let Some(event) = self.events.get_mut(&key)
            && now.saturating_duration_since(event.seen) < SAME
        {
            event.count = event.count.saturating_add(1);
            event.last = event.last.max(at);
            event.seen = now;
            event.waits.get_or_insert(now);
            return;
        }
        self.forget(&key);
        self.make_room();
        let name = self.name(&key.object, at);
        let event = Event {
            name,
            message,
            first: at,
            last: at,
            count: 1,
            told: 0,
            moved: false,
            exists: false,
            seen: now,
            waits: Some(now),
            due: now,
        };
        self.events.insert(key, event);
    }

    /// What is to be written now; the gravest first, then what came first.
    pub(super) fn next(&mut self, now: Instant) -> Option<Write> {
        let due = self.events.iter().filter(|(_, event)| event.count > event.told && event.due <= now);
        let mut due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        due.sort_by_key(|key| (std::cmp::Reverse(key.finding.severity()), self.events[key].waits, key.clone()));
        due.into_iter().find_map(|key| self.write(key, now))
    }

    /// The Event of this key as it is now, if it may be written now; otherwise it is due later.
    fn write(&mut self, key: Key, now: Instant) -> Option<Write> {
        let object = self.objects.entry((key.finding, key.object.clone())).or_insert(OBJECT).ready(now);
        let ready = self.agent(key.finding).ready(now).max(object);
        if ready > now {
            self.events.get_mut(&key)?.due = ready;
            return None;
        }
        self.agent(key.finding).take(now);
        self.objects.get_mut(&(key.finding, key.object.clone()))?.take(now);
        let event = self.events.get(&key)?;
        Some(Write {
            exists: event.exists,
            name: event.name.clone(),
            object: if event.moved { Object::Node } else { key.object.clone() },
            finding: key.finding,
            message: event.message.clone(),
            first: event.first,
            last: event.last,
            count: event.count,
            key,
        })
    }

    /// It was written. Returns how many notices are in the Event that were not before.
    pub(super) fn wrote(&mut self, write: &Write, now: Instant) -> u32 {
        let Some(event) = self.events.get_mut(&write.key) else { return 0 };
        let more = write.count.saturating_sub(event.told);
        event.told = write.count;
        event.exists = true;
        event.waits = (event.count > event.told).then_some(now);
        event.due = now + SETTLE;
        more
    }

    /// It could not be written, which counts for nothing, and is tried again then.
    pub(super) fn postpone(&mut self, key: &Key, until: Instant) {
        self.agent(key.finding).give_back();
        if let Some(object) = self.objects.get_mut(&(key.finding, key.object.clone())) {
            object.give_back();
        }
        self.retry(key, until);
    }

    /// It was refused, and is tried again then.
    pub(super) fn retry(&mut self, key: &Key, at: Instant) {
        if let Some(event) = self.events.get_mut(key) {
            event.due = at;
        }
    }

    const fn agent(&mut self, finding: Finding) -> &mut Bucket {
        match finding.severity() {
            Severity::Critical => &mut self.critical,
            Severity::Info | Severity::Warning => &mut self.warnings,
        }
    }

    /// There is no such namespace: it is written about the node.
    pub(super) fn move_to_node(&mut self, key: &Key, now: Instant) {
        let Some(event) = self.events.get_mut(key) else { return };
        let at = event.first;
        (event.moved, event.exists, event.due) = (true, false, now);
        let name = self.name(&Object::Node, at);
        self.rename(key, name);
    }

    /// The API server has forgotten it, as it does after an hour: it is written anew, with all its count.
    pub(super) fn renew(&mut self, key: &Key, now: Instant) {
        let Some(event) = self.events.get_mut(key) else { return };
        let at = event.last;
        (event.exists, event.due) = (false, now);
        let object = if event.moved { Object::Node } else { key.object.clone() };
        let name = self.name(&object, at);
        self.rename(key, name);
    }

    /// The API server will never take it. Returns how many notices are lost.
    pub(super) fn give_up(&mut self, key: &Key) -> u32 {
        self.events.remove(key).map_or(0, |event| event.count - event.told)
    }

    /// Forgets what is over, and returns what was dropped since it was asked last.
    pub(super) fn sweep(&mut self, now: Instant) -> Dropped {
        let over = |event: &Event| match event.waits {
            Some(since) => now.saturating_duration_since(since) >= GIVE_UP,
            None => now.saturating_duration_since(event.seen) >= SAME,
        };
        let late: u32 = self.events.values().filter(|event| over(event)).map(|event| event.count - event.told).sum();
        self.dropped.late += late;
        self.events.retain(|_, event| !over(event));
        self.objects.retain(|_, bucket| !bucket.is_full(now));
        std::mem::take(&mut self.dropped)
    }

    /// When there is something to do next, unless something comes.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.events.values().filter_map(|event| Some(event.due.min(event.waits? + GIVE_UP))).min()
    }

    /// Notices that wait to be written.
    pub(super) fn waiting(&self) -> u32 {
        self.events.values().map(|event| event.count - event.told).sum()
    }

    fn rename(&mut self, key: &Key, name: String) {
        if let Some(event) = self.events.get_mut(key) {
            event.name = name;
        }
    }

    /// As client-go names Events: the object's name and a number that no other has.
    fn name(&mut self, object: &Object, at: jiff::Timestamp) -> String {
        self.named += 1;
        let name = match object {
            Object::Pod { name, .. } => &name[..name.len().min(200)],
            Object::Node => "kubewitness",
        };
        format!("{}.{:x}{:04x}", name.trim_end_matches(['.', '-']), at.as_nanosecond(), self.named & 0xffff)
    }

    /// The one that came last the longest ago gives way.
    fn make_room(&mut self) {
        if self.events.len() >= LIMIT
            && let Some(oldest) = self.events.iter().min_by_key(|(_, event)| event.seen).map(|(key, _)| key.clone())
        {
            self.forget(&oldest);
        }
        if self.objects.len() >= 2 * LIMIT
            && let Some(object) = self.objects.keys().next().cloned()
        {
            // Its next writes have the agent's bucket over them all the same.
            self.objects.remove(&object);
        }
    }

    fn forget(&mut self, key: &Key) {
        self.dropped.evicted += self.give_up(key);
    }
}
