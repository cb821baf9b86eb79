//! How requests came in over time, and whose.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use jiff::Timestamp;

use super::Who;
use crate::kubelet::AccessKind;

/// The window in steps of the same length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// When the first step begins; no later than the window.
    pub from: Timestamp,
    /// How long a step is: whole seconds, a round number of minutes, hours or days where the window is not short.
    pub step: Duration,
    /// How many there are: the last one holds the window's end.
    pub steps: usize,
    /// Requests that are over, by the step in which they were received. Steps without any are not there.
    pub identities: BTreeMap<Who, BTreeMap<usize, ByAccess>>,
    /// Requests that found no room.
    pub left_out: u64,
}

/// Requests, by how they came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByAccess {
    /// By `nodes/proxy`, where a finer right would do.
    pub fallback: u64,
    /// By `nodes/proxy`, and nothing else would do.
    pub proxy_only: u64,
    /// By another right than `nodes/proxy`.
    pub finer: u64,
    /// Not by a right: refused, unchecked, or it cannot be told.
    pub other: u64,
}

/// Lengths of steps in seconds. Each divides the next, so that what was counted in one goes into one of the next.
pub(super) const LENGTHS: [i64; 14] = [1, 5, 15, 60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_419_200];

/// As many steps as can be told apart in a small drawing.
const MOST_STEPS: i64 = 64;

impl Timeline {
    /// All steps of a window, at least this long, and nothing in them. `left_out` is for whoever counts.
    pub(super) fn empty((first, last): (Timestamp, Timestamp), at_least: i64) -> Self {
        let steps = |length: i64| last.as_second().div_euclid(length) - first.as_second().div_euclid(length) + 1;
        let longest = LENGTHS[LENGTHS.len() - 1];
        let length = LENGTHS.into_iter().find(|length| *length >= at_least && steps(*length) <= MOST_STEPS);
        let length = length.unwrap_or_else(|| longest * ((steps(longest) + MOST_STEPS - 2) / (MOST_STEPS - 1)));
        let from = Timestamp::from_second(first.as_second().div_euclid(length) * length).unwrap_or(Timestamp::MIN);
        Self {
            from,
            step: Duration::from_secs(length.unsigned_abs()),
            steps: usize::try_from(steps(length)).unwrap_or_default(),
            identities: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// The step that holds this second; `None` if it is in none.
    pub(super) fn step_of(&self, second: i64) -> Option<usize> {
        let length = i64::try_from(self.step.as_secs()).unwrap_or(i64::MAX);
        let step = usize::try_from((second - self.from.as_second()).div_euclid(length)).ok()?;
        (step < self.steps).then_some(step)
    }

    /// When a step begins.
    pub fn begin(&self, step: usize) -> Timestamp {
        let seconds = self.step.as_secs().saturating_mul(step as u64);
        self.from.checked_add(Duration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }

    /// Everybody together.
    pub fn all(&self) -> BTreeMap<usize, ByAccess> {
        let mut all: BTreeMap<usize, ByAccess> = BTreeMap::new();
        for (step, counts) in self.identities.values().flatten() {
            *all.entry(*step).or_default() += *counts;
        }
        all
    }

    /// Those whom `nodes/proxy` let in.
    pub fn by_proxy(&self) -> impl Iterator<Item = (&Who, &BTreeMap<usize, ByAccess>)> {
        self.identities.iter().filter(|(_, steps)| steps.values().any(|counts| counts.by_proxy() > 0))
    }
}

impl ByAccess {
    /// Counts requests.
    pub(super) fn add(&mut self, access: AccessKind, requests: u64) {
        let count = match access {
            AccessKind::Fallback => &mut self.fallback,
            AccessKind::ProxyOnly => &mut self.proxy_only,
            AccessKind::FineGrained | AccessKind::Single => &mut self.finer,
            AccessKind::Denied | AccessKind::Unauthenticated | AccessKind::Unchecked | AccessKind::Open | AccessKind::Unknown => {
                &mut self.other
            }
        };
        *count += requests;
    }

    /// Those that `nodes/proxy` let in.
    pub const fn by_proxy(self) -> u64 {
        self.fallback + self.proxy_only
    }

    /// All of them.
    pub const fn sum(self) -> u64 {
        self.by_proxy() + self.finer + self.other
    }
}

impl AddAssign for ByAccess {
    fn add_assign(&mut self, more: Self) {
        self.fallback += more.fallback;
        self.proxy_only += more.proxy_only;
        self.finer += more.finer;
        self.other += more.other;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_length_goes_into_the_next() {
        assert!(LENGTHS.windows(2).all(|pair| pair[1] % pair[0] == 0 && pair[1] > pair[0]));
    }

    #[test]
    fn steps_are_round_and_few() {
        const DAY: i64 = 86_400;
        let noon = 1_793_534_400;
        for (length, step, steps) in [
            (0, 1, 1),
            (50, 1, 51),
            (192, 5, 39),
            (3_600, 60, 61),
            (DAY, 1_800, 49),
            (7 * DAY, 10_800, 57),
            (9 * DAY, 21_600, 37),
            (30 * DAY, 43_200, 61),
            (400 * DAY, 604_800, 58),
        ] {
            let timeline = Timeline::empty((at(noon), at(noon + length)), 1);
            assert_eq!((timeline.step.as_secs(), timeline.steps), (step, steps), "{length}");
        }
        let at_least = Timeline::empty((at(noon), at(noon + 7 * DAY)), 21_600);
        assert_eq!((at_least.step.as_secs(), at_least.from), (21_600, at(noon)));
    }

    proptest! {
        #[test]
        fn a_window_lies_in_its_steps(first in -377_000_000_000_i64..253_000_000_000, length in 0_i64..600_000_000_000, at_least in 0_usize..14) {
            let last = (first + length).min(253_402_207_200);
            let timeline = Timeline::empty((at(first), at(last)), LENGTHS[at_least]);
            prop_assert!((1..=64).contains(&timeline.steps), "{}", timeline.steps);
            prop_assert!(timeline.step.as_secs() >= LENGTHS[at_least].unsigned_abs());
            prop_assert_eq!(timeline.step_of(first), Some(0));
            prop_assert_eq!(timeline.step_of(last), Some(timeline.steps - 1));
            prop_assert!(timeline.begin(0) <= at(first) || timeline.from == Timestamp::MIN);
        }
    }
}
