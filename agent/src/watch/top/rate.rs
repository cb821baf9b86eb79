//! How often something happens at the moment. Pure.

use std::time::Duration;

/// Seconds that are looked back.
const WINDOW: u8 = 10;

/// Counts of the last ten seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    counts: [u32; WINDOW as usize],
    /// The second of the last count.
    second: u64,
}

impl Rate {
    /// It happened; `now` is the time since any beginning.
    pub(super) fn count(&mut self, now: Duration) {
        self.turn(now.as_secs());
        let place = &mut self.counts[index(self.second)];
        *place = place.saturating_add(1);
    }

    /// How often in a second.
    pub(super) fn per_second(mut self, now: Duration) -> f64 {
        self.turn(now.as_secs());
        let sum: f64 = self.counts.iter().copied().map(f64::from).sum();
        // The second that runs is not over yet, and at first there were fewer.
        let seconds = now.as_secs_f64().min(f64::from(WINDOW) - 1.0 + now.as_secs_f64().fract()).max(1.0);
        sum / seconds
    }

    fn turn(&mut self, second: u64) {
        for passed in self.second + 1..=second.min(self.second + u64::from(WINDOW)) {
            self.counts[index(passed)] = 0;
        }
        self.second = self.second.max(second);
    }
}

fn index(second: u64) -> usize {
    usize::try_from(second % u64::from(WINDOW)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_seconds_count() {
        let at = Duration::from_secs_f64;
        let mut rate = Rate::default();
        assert!(rate.per_second(at(0.0)).abs() < 1e-9);
        for tenth in 0..200_u32 {
            rate.count(at(f64::from(tenth) / 10.0));
        }
        // Ten each second.
        assert!((rate.per_second(at(19.99)) - 10.0).abs() < 0.1, "{}", rate.per_second(at(19.99)));
        assert!((rate.per_second(at(25.0)) - 40.0 / 9.0).abs() < 0.1);
        assert!(rate.per_second(at(30.0)).abs() < 1e-9);
        assert!(rate.per_second(at(1e6)).abs() < 1e-9);
    }
}
