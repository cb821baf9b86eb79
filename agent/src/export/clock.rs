//! From the kernel's clock to the wall's.

use jiff::SignedDuration;

use crate::observation::Timestamp;

/// What the wall clock shows when `CLOCK_MONOTONIC` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    zero: jiff::Timestamp,
}

impl Clock {
    /// From both clocks, read at the same moment.
    pub fn new(monotonic: Timestamp, wall: jiff::Timestamp) -> Self {
        Self { zero: wall.checked_sub(since_zero(monotonic)).unwrap_or(jiff::Timestamp::MIN) }
    }

    /// The clock to go on with, given a newer reading of both: itself, unless the wall's clock was set. Readings of one moment differ by
    /// microseconds, and two events about the same moment should not.
    #[must_use]
    pub fn follow(self, newer: Self) -> Self {
        let set = newer.zero.duration_since(self.zero).abs() > SignedDuration::from_millis(5);
        if set { newer } else { self }
    }

    /// The wall's time of a record.
    pub fn wall(self, monotonic: Timestamp) -> jiff::Timestamp {
        self.zero.checked_add(since_zero(monotonic)).unwrap_or(jiff::Timestamp::MAX)
    }
}

fn since_zero(monotonic: Timestamp) -> SignedDuration {
    SignedDuration::from_nanos(i64::try_from(monotonic.0).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_get_the_walls_time() {
        let wall = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        let clock = Clock::new(Timestamp(5_000_000_000), wall("2026-01-01T00:00:05Z"));
        assert_eq!(clock.wall(Timestamp(0)), wall("2026-01-01T00:00:00Z"));
        assert_eq!(clock.wall(Timestamp(1_500_000)), wall("2026-01-01T00:00:00.0015Z"));
        assert_eq!(clock.follow(Clock::new(Timestamp(0), wall("2026-01-01T00:00:00.004Z"))), clock);
        let set = Clock::new(Timestamp(0), wall("2026-01-01T00:10:00Z"));
        assert_eq!(clock.follow(set), set);
        assert!(clock.wall(Timestamp(u64::MAX)) > wall("2300-01-01T00:00:00Z"));
    }
}
