//! The time that a heap of events covers, though some clocks among them were wrong.

use jiff::{SignedDuration, Timestamp};

use super::notes::Place;

/// Times that are further apart than this with nothing between belong to two spans. Kubelets are asked many times a minute: where nothing
/// was for a week, nobody watched, or the clock was wrong.
const APART: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The most spans that are kept; of more, that with the fewest times is given up.
const LIMIT: usize = 32;

/// Times in spans. The window is the span that holds most of them, so that one event of 1970 or 2200 does not make it two centuries: to
/// say less than was seen is safe, to say more is not.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    /// In order, each [`APART`] from the next.
    spans: Vec<Span>,
    /// Times in spans that were given up, and the first place of one.
    given_up: Option<(u64, Place)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: Timestamp,
    last: Timestamp,
    times: u64,
    /// Where the first of them was read.
    place: Place,
}

impl Spans {
    /// Adds a time that was read there.
    pub(super) fn add(&mut self, time: Timestamp, place: Place) {
        // What comes next is nearly always in the newest span.
        if let Some(span) = self.spans.last_mut()
            && span.first <= time
            && time.duration_since(span.last) <= APART
        {
            span.last = span.last.max(time);
            span.times += 1;
            return;
        }
        let at = self.spans.partition_point(|span| span.last < time);
        if let Some(span) = self.spans.get_mut(at).filter(|span| span.first <= time) {
            span.times += 1;
            return;
        }
        self.spans.insert(at, Span { first: time, last: time, times: 1, place });
        // Both neighbours can now be near enough; the right one first, so that `at` stays true.
        self.join(at);
        if let Some(left) = at.checked_sub(1) {
            self.join(left);
        }
        if self.spans.len() > LIMIT
            && let Some(least) = (0..self.spans.len()).min_by_key(|at| self.spans[*at].times)
        {
            let span = self.spans.remove(least);
            self.given_up = Some(added(self.given_up, &span));
        }
    }

    fn join(&mut self, at: usize) {
        if let [left, right, ..] = &mut self.spans[at..]
            && right.first.duration_since(left.last) <= APART
        {
            let (times, place) = (left.times + right.times, left.place.min(right.place));
            *left = Span { first: left.first, last: left.last.max(right.last), times, place };
            self.spans.remove(at + 1);
        }
    }

    /// The first and the last time of the window.
    pub(super) fn window(&self) -> Option<(Timestamp, Timestamp)> {
        self.main().map(|at| (self.spans[at].first, self.spans[at].last))
    }

    /// How many times are not in the window, and where the first of them was read.
    pub(super) fn outside(&self) -> Option<(u64, Place)> {
        let main = self.main()?;
        let others = self.spans.iter().enumerate().filter(|(at, _)| *at != main);
        others.fold(self.given_up, |sum, (_, span)| Some(added(sum, span)))
    }

    /// Which span is the window: that with most times, the latest of equals.
    fn main(&self) -> Option<usize> {
        (0..self.spans.len()).max_by_key(|at| self.spans[*at].times)
    }

    /// The first and the last time in this window.
    pub(super) fn within(&self, window: (Timestamp, Timestamp)) -> Option<(Timestamp, Timestamp)> {
        let inside = || self.spans.iter().filter(|span| span.first <= window.1 && window.0 <= span.last);
        Some((inside().next()?.first, inside().next_back()?.last))
    }
}

fn added(sum: Option<(u64, Place)>, span: &Span) -> (u64, Place) {
    let (times, place) = sum.unwrap_or((0, span.place));
    (times + span.times, place.min(span.place))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_770_000_000 + day * 86_400).expect("a time")
    }

    const NOWHERE: Place = Place { source: 0, line: 0 };

    fn spans(days: impl IntoIterator<Item = i64>) -> Spans {
        let mut spans = Spans::default();
        for at in days {
            spans.add(day(at), NOWHERE);
        }
        spans
    }

    #[test]
    fn the_window_is_where_most_times_are() {
        for (days, window, outside) in [
            (vec![], None, 0),
            (vec![5], Some((5, 5)), 0),
            (vec![5, 0, 3], Some((0, 5)), 0),
            // A week apart is together, more is not.
            (vec![0, 14, 7], Some((0, 14)), 0),
            (vec![0, 0, 8], Some((0, 0)), 1),
            (vec![0, 8, 8], Some((8, 8)), 1),
            (vec![0, 8], Some((8, 8)), 1),
            // 1970 and 2200 beside some days.
            (vec![-20_000, 1, 2, 3, 60_000], Some((1, 3)), 2),
            // What lies between joins both.
            (vec![0, 10, 5], Some((0, 10)), 0),
        ] {
            let spans = spans(days.clone());
            assert_eq!(spans.window(), window.map(|(first, last)| (day(first), day(last))), "{days:?}");
            assert_eq!(spans.outside().map_or(0, |(times, _)| times), outside, "{days:?}");
        }
    }

    #[test]
    fn a_node_is_told_by_what_lies_in_the_window() {
        let spans = spans([-9000, 1, 2, 9000]);
        assert_eq!(spans.within((day(0), day(10))), Some((day(1), day(2))));
        assert_eq!(spans.within((day(100), day(110))), None);
    }

    #[test]
    fn wild_clocks_stay_bounded() {
        let spans = spans((0..1000).flat_map(|n| [n * 30, 5]));
        assert!(spans.spans.len() <= LIMIT);
        assert_eq!(spans.window(), Some((day(0), day(5))));
        assert_eq!(spans.outside(), Some((999, NOWHERE)));
    }

    #[test]
    fn the_ends_of_time_are_times() {
        let mut spans = Spans::default();
        for time in [Timestamp::MIN, Timestamp::MAX, day(0), day(0)] {
            spans.add(time, NOWHERE);
        }
        assert_eq!(spans.window(), Some((day(0), day(0))));
    }

    proptest! {
        #[test]
        fn order_does_not_matter(days in prop::collection::vec(0i64..200, 1..25), seed in any::<prop::sample::Index>()) {
            let mut turned = days.clone();
            turned.rotate_left(seed.index(days.len()));
            let mut sorted = days.clone();
            sorted.sort_unstable();
            let (a, b, c) = (spans(days), spans(turned), spans(sorted));
            prop_assert_eq!(a.spans.clone(), b.spans);
            prop_assert_eq!(a.spans, c.spans);
        }
    }
}
