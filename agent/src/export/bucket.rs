//! How often something may be done: so many times at once, and once more each interval. Pure: the time is passed in.

use std::time::{Duration, Instant};

/// A bucket of tokens, full at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    burst: u32,
    interval: Duration,
    /// When it is full again; `None` while it is.
    full: Option<Instant>,
}

impl Bucket {
    /// `burst` times at once, at least one, and once more each `interval`.
    pub(crate) const fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, full: None }
    }

    /// When there is a token: `now`, or later.
    pub(crate) fn ready(&self, now: Instant) -> Instant {
        // All but one may be missing.
        let missing = self.interval * self.burst.saturating_sub(1);
        self.full.and_then(|full| full.checked_sub(missing)).map_or(now, |ready| ready.max(now))
    }

    /// Takes a token; false if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let ready = self.ready(now) == now;
        if ready {
            self.full = Some(self.full.map_or(now, |full| full.max(now)) + self.interval);
        }
        ready
    }

    /// Puts one back that was of no use.
    pub(crate) fn give_back(&mut self) {
        self.full = self.full.and_then(|full| full.checked_sub(self.interval));
    }

    /// Whether nothing is missing, so that it may be forgotten.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full.is_none_or(|full| full <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::new(3, Duration::from_secs(10));
        assert!(bucket.is_full(start));
        let taken: Vec<bool> = [0, 0, 0, 0, 9, 10, 10, 19, 20, 1000, 1000, 1000, 1000].map(|second| bucket.take(at(second))).into();
        assert_eq!(taken, [true, true, true, false, false, true, false, false, true, true, true, true, false]);
        assert_eq!(bucket.ready(at(1000)), at(1010));
        assert!(!bucket.is_full(at(1029)) && bucket.is_full(at(1030)));
        bucket.give_back();
        assert!(bucket.take(at(1000)) && !bucket.take(at(1000)));
    }
}
