//! What was counted over time, in bounded memory.

use std::collections::HashMap;
use std::mem;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::people::{People, Person};
use crate::kubelet::AccessKind;
use crate::report::timeline::LENGTHS;
use crate::report::{ByAccess, Timeline};

/// Steps of all callers together that are kept apart: what a table of 2^18 places holds, 13 MB. It is enough for 10,000 callers in 22 steps.
const MOST: usize = (1 << 18) / 8 * 7;

/// Requests by caller and step. When there are too many, all steps become longer, so that the outcome does not depend on the order.
#[derive(Debug)]
pub(super) struct Course {
    steps: HashMap<(Person, i64), ByAccess, RandomState>,
    /// Which of [`LENGTHS`] they have.
    length: usize,
    most: usize,
    left_out: u64,
}

impl Course {
    pub(super) fn new() -> Self {
        Self::of_at_most(MOST)
    }

    fn of_at_most(most: usize) -> Self {
        Self { steps: HashMap::default(), length: 0, most, left_out: 0 }
    }

    /// Counts a request that was received at this time.
    pub(super) fn add(&mut self, person: Person, time: Timestamp, access: AccessKind) {
        loop {
            let key = (person, time.as_second().div_euclid(LENGTHS[self.length]));
            if let Some(step) = self.steps.get_mut(&key) {
                return step.add(access, 1);
            }
            if self.steps.len() < self.most {
                return self.steps.entry(key).or_default().add(access, 1);
            }
            if self.length + 1 == LENGTHS.len() {
                self.left_out += 1;
                return;
            }
            self.lengthen();
        }
    }

    fn lengthen(&mut self) {
        let before = LENGTHS[self.length];
        self.length += 1;
        let times = LENGTHS[self.length] / before;
        for ((person, step), counts) in mem::take(&mut self.steps) {
            *self.steps.entry((person, step.div_euclid(times))).or_default() += counts;
        }
    }

    /// What lies in the window.
    pub(super) fn told(self, window: (Timestamp, Timestamp), people: &People) -> Timeline {
        let length = LENGTHS[self.length];
        let mut timeline = Timeline { left_out: self.left_out, ..Timeline::empty(window, length) };
        for ((person, step), counts) in self.steps {
            if let Some(step) = timeline.step_of(step * length) {
                let who = people.who(person).clone();
                *timeline.identities.entry(who).or_default().entry(step).or_default() += counts;
            }
        }
        timeline
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::Who;

    const BEGIN: i64 = 1_793_534_400;

    /// Requests, each by a caller, so many seconds after the beginning.
    fn told(requests: &[(u8, i64)], most: usize) -> Timeline {
        let mut people = People::new();
        let mut course = Course::of_at_most(most);
        let time = |second: i64| Timestamp::from_second(BEGIN + second).unwrap();
        for (caller, second) in requests {
            let (person, _) = people.named(&format!("u{caller}"));
            course.add(person, time(*second), if second % 2 == 0 { AccessKind::Fallback } else { AccessKind::Single });
        }
        let last = requests.iter().map(|(_, second)| *second).max().unwrap_or_default();
        course.told((time(0), time(last)), &people)
    }

    #[test]
    fn each_request_is_in_the_step_of_its_time() {
        let told = told(&[(1, 0), (1, 1), (2, 61), (1, 7_200), (1, 7_200)], 100);
        assert_eq!((told.steps, told.step.as_secs(), told.left_out), (25, 300, 0));
        let of = |who: &str| told.identities[&Who::User(who.to_owned())].clone();
        let counts = |fallback, finer| ByAccess { fallback, finer, ..ByAccess::default() };
        assert_eq!(of("u1"), [(0, counts(1, 1)), (24, counts(2, 0))].into());
        assert_eq!(of("u2"), [(0, counts(0, 1))].into());
        assert_eq!(told.all(), [(0, counts(1, 2)), (24, counts(2, 0))].into());
        assert_eq!(told.by_proxy().count(), 1);
    }

    #[test]
    fn what_is_outside_of_the_window_is_in_no_step() {
        assert_eq!(told(&[(1, -90_000), (1, 0)], 100).all().len(), 1);
    }

    #[test]
    fn what_finds_no_room_in_the_longest_steps_is_counted() {
        let told = told(&(0..50).map(|caller| (caller, 0)).collect::<Vec<_>>(), 20);
        assert_eq!((told.identities.len(), told.left_out), (20, 30));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_order_does_not_matter(requests in prop::collection::vec((0_u8..4, 0_i64..2_000_000), 1..200), turn in any::<prop::sample::Index>()) {
            let told_at_once = told(&requests, 8);
            prop_assert!(told_at_once.identities.values().map(std::collections::BTreeMap::len).sum::<usize>() <= 8);
            let sum = told_at_once.all().values().map(|counts| counts.sum()).sum::<u64>();
            prop_assert_eq!(sum, requests.len() as u64);
            let mut turned = requests.clone();
            turned.rotate_left(turn.index(requests.len()));
            prop_assert_eq!(told(&turned, 8), told_at_once);
        }
    }
}
