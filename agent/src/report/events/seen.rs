//! Which requests were seen already, so that what arrives twice counts once.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::judge::{Finding, Findings};

/// How many requests are remembered in one generation: as many as a table of 2 Mi places takes at 25 bytes each, 52 MB. There are two
/// generations, so what comes twice is known if less than this many other requests were told of in between: about 2.5 GB of events.
pub const REMEMBERED: usize = (1 << 21) / 8 * 7;

/// What was seen of the requests, by the hash of what names each. With 64 bits and a random seed, two requests out of four million share a
/// hash once in two million runs, and nobody can choose them.
#[derive(Debug)]
pub(crate) struct Seen {
    now: HashMap<u64, Request, RandomState>,
    before: HashMap<u64, Request, RandomState>,
    hasher: RandomState,
    limit: usize,
    /// A generation was forgotten.
    pub(super) forgot: bool,
}

/// What was seen of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request {
    /// Those that are counted.
    pub(crate) findings: Findings,
    /// Its end is counted.
    pub(super) ended: bool,
    /// Hashes of the times of its `ResponseStarted`s, of which it has at most two: let in, and known to run.
    started: [u32; 2],
}

impl Seen {
    pub(crate) fn new(limit: usize) -> Self {
        Self { now: HashMap::default(), before: HashMap::default(), hasher: RandomState::default(), limit: limit.max(1), forgot: false }
    }

    /// The short name of a request.
    pub(crate) fn key(&self, name: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(name)
    }

    /// What was seen of a request so far.
    pub(crate) fn request(&mut self, key: u64) -> &mut Request {
        if self.now.len() >= self.limit && !self.now.contains_key(&key) {
            self.forgot |= !self.before.is_empty();
            self.before = std::mem::take(&mut self.now);
        }
        let before = &mut self.before;
        self.now.entry(key).or_insert_with(|| before.remove(&key).unwrap_or_default())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.now.len() + self.before.len()
    }
}

impl Request {
    /// Notes its end; false if that was seen before.
    pub(crate) fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.ended, true)
    }

    /// Notes a `ResponseStarted` of this hash; false if it was seen before.
    pub(crate) fn start(&mut self, hash: u64) -> bool {
        // Zero is an empty place.
        let hash = (hash >> 32) as u32 | 1;
        if self.started.contains(&hash) {
            return false;
        }
        if let Some(free) = self.started.iter_mut().find(|place| **place == 0) {
            *free = hash;
        }
        true
    }

    /// Notes a finding; false if it was seen before.
    pub(crate) fn find(&mut self, finding: Finding) -> bool {
        let new = !self.findings.contains(finding);
        self.findings.insert(finding);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_counts_once() {
        let mut seen = Seen::new(8);
        let key = seen.key("a");
        assert!(seen.request(key).end());
        assert!(!seen.request(key).end());
        let other = seen.key("b");
        assert!(seen.request(other).end());
    }

    #[test]
    fn a_request_starts_twice_at_most() {
        let mut request = Request::default();
        assert!(request.start(2 << 32));
        assert!(request.start(4 << 32));
        assert!(!request.start(2 << 32));
        assert!(!request.start(4 << 32));
        assert!(request.find(Finding::UnloggedExec));
        assert!(!request.find(Finding::UnloggedExec));
    }

    #[test]
    fn memory_is_bounded_and_the_last_are_remembered() {
        let mut seen = Seen::new(100);
        for n in 0..1000u64 {
            assert!(seen.request(n).end());
            assert!(seen.len() <= 200);
            assert!(n >= 100 || !seen.forgot);
            assert!(!seen.request(n.saturating_sub(49)).end(), "{n}");
        }
        assert!(seen.forgot);
    }

    #[test]
    fn what_is_asked_for_again_stays() {
        let mut seen = Seen::new(10);
        seen.request(u64::MAX).end();
        for n in 0..1000u64 {
            seen.request(n);
            assert!(!seen.request(u64::MAX).end());
        }
    }

    #[test]
    fn a_place_takes_24_bytes() {
        assert_eq!(size_of::<(u64, Request)>(), 24);
    }
}
