//! How long to rest after a failure.

use std::time::Duration;

/// A receiver that comes back is found within this, and its jitter.
const LONGEST: Duration = Duration::from_secs(60);
/// A receiver that asks for a longer rest is asked again after this.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// As the API server's webhooks have it (k8s.io/apiserver/pkg/util/webhook, `DefaultRetryBackoffWithInitialDelay`).
const FACTOR: f64 = 1.5;
/// As there: the rest is longer by at most this part, so that the agents of a fleet do not all come at once.
const JITTER: f64 = 0.2;

/// Failures one after the other, and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    initial: Duration,
    failures: u32,
}

impl Backoff {
    /// The first rest is `initial`, and each one longer than the last by a half, up to a minute.
    pub(super) fn new(initial: Duration) -> Self {
        Self { initial, failures: 0 }
    }

    /// After a success the first rest is the short one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The rest after one more failure. `asked` is what the receiver asked for, `random` is at least 0 and below 1.
    pub(super) fn rest(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let longest = LONGEST.max(self.initial);
        let exponent = i32::try_from(self.failures).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * FACTOR.powi(exponent);
        let rest = Duration::try_from_secs_f64(seconds).map_or(longest, |rest| rest.min(longest));
        self.failures = self.failures.saturating_add(1);
        rest.max(asked.unwrap_or_default().min(LONGEST_ASKED)).mul_f64(JITTER.mul_add(random, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let mut rests = || (0..13).map(|_| backoff.rest(None, 0.0).as_millis()).collect::<Vec<_>>();
        assert_eq!(rests(), [1000, 1500, 2250, 3375, 5062, 7593, 11390, 17085, 25628, 38443, 57665, 60000, 60000]);
        backoff.reset();
        assert_eq!(backoff.rest(None, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.rest(None, 0.5), Duration::from_millis(1650));
        // It is asked for a rest, a shorter one than it takes by itself, and an absurd one.
        assert_eq!(backoff.rest(Some(Duration::from_secs(30)), 0.0), Duration::from_secs(30));
        assert_eq!(backoff.rest(Some(Duration::from_secs(1)), 0.0), Duration::from_millis(3375));
        assert_eq!(backoff.rest(Some(Duration::from_hours(9)), 0.0), LONGEST_ASKED);
        // Any number of failures, and a long first rest.
        backoff.failures = u32::MAX;
        assert_eq!(backoff.rest(None, 0.0), LONGEST);
        assert_eq!(Backoff::new(Duration::from_secs(90)).rest(None, 0.0), Duration::from_secs(90));
        assert_eq!(Backoff::new(Duration::ZERO).rest(None, 0.9), Duration::ZERO);
    }
}
