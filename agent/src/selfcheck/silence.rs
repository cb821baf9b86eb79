//! Connections that come and go while no request is seen: many clients that say nothing, or probes that do.

use crate::observation::Timestamp;

/// Connections without a request that are too many, if there is not one request beside them.
const CONNECTIONS: u64 = 20;
/// Nanoseconds for which that must last: a port scan is over sooner.
const LASTS: u64 = 60_000_000_000;

/// What came and went since the last request.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    begun: u64,
    connections: u64,
    since: Option<Timestamp>,
}

impl Silence {
    /// A connection was closed, and no request came over it.
    pub fn without_request(&mut self, now: Timestamp) {
        self.since.get_or_insert(now);
        self.connections = self.connections.saturating_add(1);
    }

    /// How many connections came and went without a request since any was seen, if that is suspicious. `begun` is how many requests the kernel
    /// programs have seen begin.
    pub fn look(&mut self, begun: u64, now: Timestamp) -> Option<u64> {
        if begun != self.begun {
            *self = Self { begun, ..Self::default() };
        }
        let since = self.since?;
        (self.connections >= CONNECTIONS && now.0.saturating_sub(since.0) >= LASTS).then_some(self.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(second: u64) -> Timestamp {
        Timestamp(second * 1_000_000_000)
    }

    #[test]
    fn many_silent_connections_for_a_minute_are_suspicious_until_a_request_is_seen() {
        let mut silence = Silence::default();
        assert_eq!(silence.look(0, second(0)), None);
        for second_ in 0..30 {
            silence.without_request(second(second_));
        }
        assert_eq!(silence.look(0, second(59)), None);
        assert_eq!(silence.look(0, second(60)), Some(30));
        assert_eq!(silence.look(1, second(61)), None);
        for second_ in 61..81 {
            silence.without_request(second(second_));
        }
        assert_eq!(silence.look(1, second(120)), None);
        assert_eq!(silence.look(1, second(121)), Some(20));
    }

    #[test]
    fn few_are_not() {
        let mut silence = Silence::default();
        for second_ in 0..19 {
            silence.without_request(second(second_));
        }
        assert_eq!(silence.look(0, second(3600)), None);
    }
}
