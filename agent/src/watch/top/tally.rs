//! Who asked for what, counted. Pure, and bounded.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::rate::Rate;
use crate::judge::{Finding, Severity};
use crate::kubelet::AccessKind;
use crate::report::SeenRequests;
use crate::watch::row::{Row, short};

/// Identities that are kept apart; the rest is counted together.
const MOST_PEOPLE: usize = 1000;
/// Requests that are remembered in each of two generations, so that what their stages show counts once.
const REMEMBERED: usize = 1 << 16;
/// Findings that are kept to be shown.
const RECENT: usize = 64;
/// Those beyond the limit.
const OTHERS: &str = "(others)";

/// What was counted so far.
#[derive(Debug)]
pub(super) struct Tally {
    people: HashMap<String, Person>,
    seen: SeenRequests,
    /// All requests.
    pub(super) all: Person,
    /// Findings of each severity, as in [`Severity::ALL`].
    pub(super) findings: [u64; Severity::ALL.len()],
    /// The last findings, the newest first.
    pub(super) recent: VecDeque<Recent>,
}

/// What one identity did.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    /// Requests that are over.
    pub(super) requests: u64,
    /// Those that were let in by the fallback alone.
    pub(super) fallback: u64,
    /// Those that were not let in.
    pub(super) refused: u64,
    /// Findings, each once for a request.
    pub(super) findings: u64,
    /// The severity of the gravest.
    pub(super) gravest: Option<Severity>,
    /// The last request: `exec default/web/main`.
    pub(super) last: String,
    /// How often it asks at the moment.
    pub(super) rate: Rate,
}

/// A finding that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) at: Option<Timestamp>,
    pub(super) finding: Finding,
    pub(super) identity: String,
    /// `exec default/web/main`
    pub(super) request: String,
}

/// By what the identities are sorted, the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Requests,
    Fallback,
    Findings,
    Name,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            people: HashMap::new(),
            seen: SeenRequests::new(REMEMBERED),
            all: Person::default(),
            findings: Default::default(),
            recent: VecDeque::new(),
        }
    }
}

impl Tally {
    /// Counts what an event tells that no other did; `now` is the time since any beginning.
    pub(super) fn take(&mut self, row: &Row, now: Duration) {
        let key = self.seen.key(row.audit_id);
        let request = self.seen.request(key);
        let ended = row.is_over && request.end();
        let had_run = request.findings.contains(Finding::UnloggedExec);
        let mut raised: Vec<Finding> = row.findings.iter().copied().filter(|finding| request.find(*finding)).collect();
        // One that was taken to run, and failed in the end, is not an attempt besides.
        raised.retain(|finding| *finding != Finding::ExecAttempt || !had_run);
        let name = if self.people.contains_key(row.identity) || self.people.len() < MOST_PEOPLE { row.identity } else { OTHERS };
        let person = self.people.entry(name.to_owned()).or_default();
        for person in [person, &mut self.all] {
            if ended {
                person.end(row, now);
            }
            person.findings += raised.len() as u64;
            person.gravest = person.gravest.max(raised.iter().map(|finding| finding.severity()).max());
            person.last = row.request();
        }
        // The newest is the first, and of one request the gravest.
        for finding in raised.into_iter().rev() {
            self.findings[finding.severity() as usize] += 1;
            self.recent.truncate(RECENT - 1);
            let identity = short(row.identity);
            self.recent.push_front(Recent { at: row.at, finding, identity, request: row.request() });
        }
    }

    /// The identities in an order.
    pub(super) fn people(&self, order: Order) -> Vec<(&str, &Person)> {
        let mut people: Vec<_> = self.people.iter().map(|(name, person)| (name.as_str(), person)).collect();
        people.sort_by(|(one, a), (other, b)| {
            let key = |person: &Person| match order {
                Order::Requests => person.requests,
                Order::Fallback => person.fallback,
                Order::Findings => person.findings,
                Order::Name => 0,
            };
            let grave = |person: &Person| person.gravest.filter(|_| order == Order::Findings);
            (Reverse(grave(a)), Reverse(key(a)), one).cmp(&(Reverse(grave(b)), Reverse(key(b)), other))
        });
        people
    }
}

impl Person {
    fn end(&mut self, row: &Row, now: Duration) {
        let is = |kinds: &[AccessKind]| u64::from(kinds.iter().any(|kind| kind.as_str() == row.access));
        self.requests += 1;
        self.fallback += is(&[AccessKind::Fallback]);
        self.refused += is(&[AccessKind::Denied, AccessKind::Unauthenticated]);
        self.rate.count(now);
    }

    /// The share of the fallback in all requests, in hundredths; `None` where there were none.
    pub(super) fn fallback_share(&self) -> Option<u64> {
        // What is there is not shown as nothing, and less than all not as all.
        let share = (self.fallback * 100 + self.requests / 2).checked_div(self.requests)?;
        Some(match share {
            0 if self.fallback > 0 => 1,
            100 if self.fallback < self.requests => 99,
            share => share,
        })
    }
}

impl Order {
    /// The next one.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Requests => Self::Fallback,
            Self::Fallback => Self::Findings,
            Self::Findings => Self::Name,
            Self::Name => Self::Requests,
        }
    }

    /// The word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Fallback => "fallback",
            Self::Findings => "findings",
            Self::Name => "name",
        }
    }
}
