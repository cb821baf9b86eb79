//! The counters that a verdict moves are those of one before it that is alike in all that counters tell of: to look them up by their labels costs
//! more than to count. On a node most requests are of the same few callers for the same few things.

use std::hash::{BuildHasher as _, Hash};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use prometheus::IntCounter;

use crate::judge::{Findings, Stage, Verdict};
use crate::kubelet::{AccessKind, Transport};
use crate::observation::SharedUser;

/// Places, one for each content.
const PLACES: usize = 256;

/// The counters of verdicts that came more than once.
pub(super) struct Tallies {
    places: Mutex<Box<[Place]>>,
    hasher: RandomState,
}

#[derive(Clone, Default)]
struct Place {
    /// Of what came here last.
    hash: u64,
    /// Kept when it comes for the second time.
    tally: Option<Arc<(Counted, Vec<IntCounter>)>>,
}

/// All that counters tell of a request.
#[derive(PartialEq, Eq, Hash)]
struct Counted {
    user: Option<SharedUser>,
    endpoint: &'static str,
    verb: &'static str,
    access: AccessKind,
    transport: Transport,
    status: Option<u16>,
    raised: Findings,
}

impl Default for Tallies {
    fn default() -> Self {
        Self { places: Mutex::new(vec![Place::default(); PLACES].into()), hasher: RandomState::default() }
    }
}

impl Tallies {
    /// Counts a verdict in the counters of one that is alike, or in those that are found.
    pub(super) fn count(&self, verdict: &Verdict, find: impl FnOnce() -> Vec<IntCounter>) {
        let Some(counted) = Counted::of(verdict) else { return find().iter().for_each(IntCounter::inc) };
        let hash = self.hasher.hash_one(&counted);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut places[usize::try_from(hash % PLACES as u64).unwrap_or_default()];
        if let Some(tally) = place.tally.as_ref().filter(|tally| tally.0 == counted) {
            return tally.1.iter().for_each(IntCounter::inc);
        }
        let counters = find();
        counters.iter().for_each(IntCounter::inc);
        let comes_again = std::mem::replace(&mut place.hash, hash) == hash;
        place.tally = comes_again.then(|| Arc::new((counted, counters)));
    }
}

impl Counted {
    /// Nothing of what is rare: a request of which something is missing, or that is not over.
    fn of(verdict: &Verdict) -> Option<Self> {
        let judgement = &verdict.judgement;
        if verdict.stage != Stage::Ended || !verdict.exchange.gaps.is_empty() {
            return None;
        }
        Some(Self {
            user: verdict.exchange.checks.last().map(|check| SharedUser(Arc::clone(&check.user))),
            endpoint: judgement.endpoint.label(),
            verb: judgement.verb.label(),
            access: judgement.access.kind(),
            transport: judgement.transport,
            status: judgement.status,
            raised: verdict.raised,
        })
    }
}
