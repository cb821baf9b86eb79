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
        assert!(clock.wall(Timestamp(u64::MAX)) > wall("2300-01-01T00:00:00Z"));
    }
}
