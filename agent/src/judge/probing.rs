//! Callers who try one door after the other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::observation::Timestamp;

/// How long refusals are counted together.
pub const WINDOW: Duration = Duration::from_secs(60);

/// So many refusals of one caller within a [`WINDOW`] are probing. A scraper that lost its rights stays below: four pages every 15 s are 16.
pub const REFUSALS: u32 = 20;

/// Counts the 401s and 403s of each caller, a window at a time. Windows do not overlap: a burst that straddles two may need up to twice
/// [`REFUSALS`] to be seen.
#[derive(Debug)]
pub struct Probing {
    limit: usize,
    since: Timestamp,
    refusals: HashMap<Prober, u32>,
}

/// Whose refusals are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prober {
    /// An authenticated user, wherever they call from.
    Identity(String),
    /// An address that nobody vouches for.
    Address(IpAddr),
    /// Everybody for whom there was no room left in this window.
    Others,
}

impl Probing {
    /// Follows at most `limit` callers at a time, the rest together as one.
    pub fn new(limit: usize) -> Self {
        Self { limit, since: Timestamp::default(), refusals: HashMap::new() }
    }

    /// Notes a refusal; true once in a window for each caller, when it becomes probing.
    pub fn refused(&mut self, prober: Prober, now: Timestamp) -> bool {
        if u128::from(now.0.saturating_sub(self.since.0)) >= WINDOW.as_nanos() {
            self.refusals.clear();
            self.since = now;
        }
        let full = self.refusals.len() >= self.limit;
        let prober = if full && !self.refusals.contains_key(&prober) { Prober::Others } else { prober };
        let count = self.refusals.entry(prober).or_default();
        *count = count.saturating_add(1);
        *count == REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_000_000_000 * (1_000_000 + seconds))
    }

    fn identity(name: &str) -> Prober {
        Prober::Identity(name.to_owned())
    }

    #[test]
    fn said_once_in_a_window_for_each_caller() {
        let mut probing = Probing::new(10);
        let mut said = |name: &str, seconds| (0..3 * REFUSALS).filter(|_| probing.refused(identity(name), at(seconds))).count();
        assert_eq!([said("a", 0), said("b", 30), said("a", 59), said("a", 60), said("a", 119)], [1, 1, 0, 1, 0]);
    }

    #[test]
    fn too_few_or_too_slow_is_not_probing() {
        let mut probing = Probing::new(10);
        assert!((1..REFUSALS).all(|_| !probing.refused(identity("a"), at(0))));
        // The address is another caller.
        assert!(!probing.refused(Prober::Address([192, 0, 2, 1].into()), at(1)));
        assert!((0..200).all(|minute| !probing.refused(identity("slow"), at(100 + 61 * minute))));
    }

    #[test]
    fn the_table_is_bounded_and_a_crowd_is_still_seen() {
        let mut probing = Probing::new(3);
        let said = (0..1000).filter(|n| probing.refused(identity(&n.to_string()), at(0))).count();
        assert_eq!(said, 1);
        assert!(probing.refusals.len() <= 4);
    }

    #[test]
    fn a_clock_that_goes_back_breaks_nothing() {
        let mut probing = Probing::new(3);
        assert!(!probing.refused(identity("a"), at(100)));
        assert!(!probing.refused(identity("a"), at(0)));
    }
}
