//! Two witnesses of the same requests: the kernel programs, and the kubelet's own `kubelet_http_requests_total`.
//!
//! The kubelet counts a request at the begin of `ServeHTTP` (`pkg/kubelet/server/server.go`, 1.29 to 1.37), which is where the probe sits. The
//! two counters differ by what was served before the agent came, and that difference must not grow. They cannot be read at the same moment, so
//! it is known as an interval: what the programs had counted *before* the kubelet was asked and *after* it answered are the bounds of what they
//! had counted at the moment between. Each reading narrows the interval. One that does not meet it proves that requests were not seen, and at
//! least how many; there is no tolerance to tune, and load alone cannot raise it.

/// Both counters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Requests that the programs had seen begin, some time before the kubelet was asked.
    pub before: u64,
    /// Requests that the kubelet counted, that for this reading included.
    pub kubelet: u64,
    /// When the kubelet started (`process_start_time_seconds`): another one counts from 0.
    pub started: f64,
    /// Requests that the programs had seen begin, some time after the kubelet answered.
    pub after: u64,
}

/// What a reading says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Nothing yet: it is the first one of this kubelet.
    First,
    /// No request is known to be missing.
    Agrees,
    /// At least so many requests since the last reading were not seen.
    Unseen(u64),
    /// The programs saw more requests than the kubelet counted: they see another kubelet too.
    Surplus,
}

/// The comparison of a kubelet's counter with the agent's.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    known: Option<Known>,
    /// Readings in a row with unseen requests, or without.
    failing: u8,
    passing: u8,
    failed: bool,
}

/// The kubelet's counter less the programs', of one process.
#[derive(Clone, Copy, Debug)]
struct Known {
    started: f64,
    least: i128,
    most: i128,
}

/// Readings in a row that make a difference a lasting one, or end it.
const LASTING: u8 = 2;

impl Coverage {
    /// Takes a reading.
    pub fn read(&mut self, reading: Reading) -> Agreement {
        let now = Known {
            started: reading.started,
            least: i128::from(reading.kubelet) - i128::from(reading.after),
            most: i128::from(reading.kubelet) - i128::from(reading.before),
        };
        let agreement = match self.known {
            // The same number, read from the same page: no arithmetic was done on it.
            Some(known) if known.started.to_bits() == now.started.to_bits() => self.compare(known, now),
            _ => {
                self.known = Some(now);
                Agreement::First
            }
        };
        match agreement {
            Agreement::Unseen(_) => (self.failing, self.passing) = (self.failing.saturating_add(1), 0),
            Agreement::Agrees => (self.failing, self.passing) = (0, self.passing.saturating_add(1)),
            Agreement::First | Agreement::Surplus => {}
        }
        self.failed = self.failing >= LASTING || self.failed && self.passing < LASTING;
        agreement
    }

    fn compare(&mut self, known: Known, now: Known) -> Agreement {
        if now.least > known.most {
            self.known = Some(now);
            return Agreement::Unseen(u64::try_from(now.least - known.most).unwrap_or(u64::MAX));
        }
        if now.most < known.least {
            self.known = Some(now);
            return Agreement::Surplus;
        }
        self.known = Some(Known { least: known.least.max(now.least), most: known.most.min(now.most), ..known });
        Agreement::Agrees
    }

    /// Whether requests go unseen, and not just once.
    pub const fn has_failed(&self) -> bool {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::Agreement::{Agrees, First, Surplus, Unseen};
    use super::*;

    /// `(before, kubelet, after)` of the same kubelet.
    fn readings(table: &[(u64, u64, u64)]) -> (Vec<Agreement>, bool) {
        let mut coverage = Coverage::default();
        let read = |&(before, kubelet, after)| coverage.read(Reading { before, kubelet, started: 1.5, after });
        let agreements = table.iter().map(read).collect();
        (agreements, coverage.has_failed())
    }

    #[test]
    fn idle_kubelets_are_compared_to_the_request() {
        // Only the agent's own readings: 1,000 requests were served before it came.
        assert_eq!(readings(&[(0, 1001, 1), (1, 1002, 2), (2, 1003, 3)]), (vec![First, Agrees, Agrees], false));
        // The first interval is 1,000 to 1,001: one unseen request hides in it, the second one does not.
        assert_eq!(readings(&[(0, 1001, 1), (1, 1003, 2), (2, 1005, 3)]), (vec![First, Agrees, Unseen(1)], false));
    }

    #[test]
    fn dead_probes_fail_on_the_second_reading_and_are_forgiven_after_two_good_ones() {
        let dead = [(0, 1001, 1), (1, 1003, 1), (1, 1005, 1), (1, 1007, 1)];
        assert_eq!(readings(&dead[..3]), (vec![First, Unseen(1), Unseen(2)], true));
        let mended = [(1, 1008, 2), (2, 1009, 3)];
        assert!(readings(&[&dead[..], &mended[..1]].concat()).1);
        assert_eq!(readings(&[&dead[..], &mended[..]].concat()), (vec![First, Unseen(1), Unseen(2), Unseen(2), Agrees, Agrees], false));
    }

    #[test]
    fn load_widens_the_interval_and_raises_nothing() {
        let mut coverage = Coverage::default();
        for round in 0..1000_u64 {
            let seen = round * 50_000;
            // The kubelet was asked at some moment of the second between the two readings of the programs' counter.
            let at = seen + round * 7919 % 10_000;
            let reading = Reading { before: seen, kubelet: 123 + at, started: 1.0, after: seen + 10_000 };
            assert!(matches!(coverage.read(reading), First | Agrees), "round {round}");
        }
    }

    #[test]
    fn a_share_that_is_never_seen_is_found_under_load() {
        let mut coverage = Coverage::default();
        let found = (0..2000_u64).find(|round| {
            // Of 10,000 requests a second 1 in 1,000 is not seen.
            let (seen, all) = (round * 10_000 * 999 / 1000, round * 10_000);
            let reading = Reading { before: seen, kubelet: all + 5_000, started: 1.0, after: seen + 9_990 };
            matches!(coverage.read(reading), Unseen(_))
        });
        // Ten a round, and the bounds are 9,990 apart.
        assert!(found.is_some_and(|round| (490..1010).contains(&round)), "{found:?}");
    }

    #[test]
    fn another_kubelet_counts_from_0_and_a_second_one_is_told_apart() {
        let mut coverage = Coverage::default();
        let mut read = |started, before, kubelet, after| coverage.read(Reading { before, kubelet, started, after });
        assert_eq!(read(1.0, 0, 1001, 1), First);
        assert_eq!(read(2.0, 500, 3, 501), First);
        assert_eq!(read(2.0, 501, 4, 502), Agrees);
        assert_eq!(read(2.0, 900, 5, 901), Surplus);
        assert_eq!(read(2.0, 901, 6, 902), Agrees);
    }
}
