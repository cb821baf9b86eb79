//! At which moments the counters are read, so that the sum over them is what was counted in the window.
//!
//! All that is scraped at the window's end counts, less all that was scraped at its start; then, for the processes that ended in between, their
//! last counts are added, and for those that had counted before they were scraped first, their first are taken off. The first two are
//! one reading each however large the fleet is. An agent that two targets show at once counts once. The others are read by groups of targets: their spans are known, and any
//! moment that is in the spans of all of a group does.

use super::{
    fleet::{Fleet, Process, Sighting},
    queries::{LOOKBACK, Looks, Moment, Selector},
};

/// A moment of counters, and whether it is added or taken off.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) sign: f64,
    pub(super) moment: Moment,
}

/// A piece of the start times' history that must be looked at closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) selector: Selector,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Targets in one request, at most: their names are matched by a regular expression, and some servers take 16 KiB of query.
const GROUP: usize = 100;
/// Moments of a group are at most so many milliseconds apart: what lies in between is read for nothing.
const SPREAD: i64 = 6 * 3_600_000;

/// What must be known of processes that came late or ended.
pub(super) fn pieces(fleet: &Fleet, selector: &Selector, looks: Looks) -> Vec<Piece> {
    let (names, processes) = (fleet.telling_labels(), fleet.processes());
    let ended = processes.iter().filter_map(|process| process.ended().map(|sighting| (sighting.target, sighting.life.last)));
    let late =
        processes.iter().filter_map(|process| process.late(looks).map(|sighting| (sighting.target, sighting.life.first - looks.step)));
    let spans = ended.chain(late).map(|(target, from)| Span { target, from, to: i64::MAX, since: i64::MIN }).collect();
    let piece = |group: Group| Piece {
        selector: group.selector(fleet, &names, selector),
        from: group.earliest - LOOKBACK,
        to: (group.latest + looks.step + LOOKBACK).min(looks.end),
    };
    groups(&names, spans).into_iter().map(piece).collect()
}

/// All readings.
pub(super) fn readings(fleet: &Fleet, selector: &Selector, looks: Looks) -> Vec<Reading> {
    let (names, processes) = (fleet.telling_labels(), fleet.processes());
    let whole = |sign, at| Reading { sign, moment: Moment { selector: selector.clone(), at, back: None } };
    let mut readings = vec![whole(1.0, looks.end), whole(-1.0, looks.start)];

    let ended = processes.iter().filter_map(Process::ended);
    let span =
        |sighting: Sighting<'_>, (from, to)| Span { target: sighting.target, from, to, since: fleet.since(sighting, looks).min(from) };
    let ended = ended.map(|sighting| span(sighting, sighting.life.closing.unwrap_or((sighting.life.last, sighting.life.last)))).collect();
    let late = processes.iter().filter_map(|process| process.late(looks));
    let late = late.map(|sighting| span(sighting, sighting.life.opening.unwrap_or((sighting.life.first, sighting.life.first)))).collect();
    for (sign, spans) in [(1.0, ended), (-1.0, late)] {
        for group in groups(&names, spans) {
            let back = Some(group.latest - group.earliest + 1);
            readings.push(Reading { sign, moment: Moment { selector: group.selector(fleet, &names, selector), at: group.latest, back } });
        }
    }

    // What counts twice at the end is taken off once, and the reverse at the start.
    let doubles_at_end = processes.iter().flat_map(Process::doubles_at_end).map(|target| Span::at(target, looks.end)).collect();
    let doubles_at_start = processes.iter().flat_map(Process::doubles_at_start).map(|target| Span::at(target, looks.start)).collect();
    for (sign, spans) in [(-1.0, doubles_at_end), (1.0, doubles_at_start)] {
        for group in groups(&names, spans) {
            let moment = Moment { selector: group.selector(fleet, &names, selector), at: group.latest, back: None };
            readings.push(Reading { sign, moment });
        }
    }
    readings
}

/// From a sample until before the next.
struct Span {
    target: usize,
    from: i64,
    to: i64,
    /// What is older may be of an earlier process.
    since: i64,
}

/// Targets whose spans have a moment in common: the latest of their beginnings.
struct Group {
    targets: Vec<usize>,
    earliest: i64,
    latest: i64,
}

impl Span {
    fn at(target: usize, time: i64) -> Self {
        Self { target, from: time, to: time, since: time }
    }
}

impl Group {
    fn selector(&self, fleet: &Fleet, names: &[&str], selector: &Selector) -> Selector {
        selector.of_targets(names, &self.targets.iter().map(|target| &fleet.targets[*target]))
    }
}

/// Few groups, with each target at most once in each. Matchers for several labels would match more than the targets that they were made of,
/// so where it takes several each target is a group.
fn groups(names: &[&str], mut spans: Vec<Span>) -> Vec<Group> {
    let most = if names.len() == 1 { GROUP } else { 1 };
    spans.sort_by_key(|span| (span.from, span.target));
    let mut groups: Vec<Group> = Vec::new();
    // The end of the last group's common moments.
    let mut common = i64::MIN;
    for Span { target, from, to, since } in spans {
        let joined = groups.last_mut().filter(|group| {
            let fits = from <= common && since <= group.earliest && from - group.earliest <= SPREAD && group.targets.len() < most;
            fits && !group.targets.contains(&target)
        });
        if let Some(group) = joined {
            group.targets.push(target);
            group.latest = from;
            common = common.min(to);
        } else {
            groups.push(Group { targets: vec![target], earliest: from, latest: from });
            common = to;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans() -> impl Strategy<Value = Vec<(usize, i64, i64, i64)>> {
        prop::collection::vec((0_usize..300, 0_i64..100_000_000, 0_i64..50_000_000, 0_i64..50_000_000), 0..400)
    }

    proptest! {
        #[test]
        fn a_group_is_read_when_all_of_it_can_be_read(spans in spans()) {
            let span = |(target, from, length, age)| Span { target, from, to: from + length, since: from - age };
            let groups = groups(&["instance"], spans.iter().copied().map(span).collect());
            let mut read: Vec<usize> = groups.iter().flat_map(|group| group.targets.clone()).collect();
            read.sort_unstable();
            let mut wanted: Vec<usize> = spans.iter().map(|(target, ..)| *target).collect();
            wanted.sort_unstable();
            prop_assert_eq!(read, wanted, "each span in one group");
            let mut left = spans;
            for group in groups {
                prop_assert!(group.targets.len() <= GROUP && group.latest - group.earliest <= SPREAD);
                for target in group.targets {
                    let fits = |(one, from, length, age): &(usize, i64, i64, i64)| {
                        let readable = *from <= group.latest && group.latest <= from + length;
                        *one == target && readable && from - age <= group.earliest && group.earliest <= *from
                    };
                    let place = left.iter().position(fits);
                    prop_assert!(place.is_some(), "{} is read outside of its span", target);
                    left.remove(place.unwrap_or_default());
                }
            }
        }
    }

    #[test]
    fn targets_that_one_label_does_not_tell_apart_are_read_one_by_one() {
        let spans = |count| (0..count).map(|target| Span::at(target, 1000)).collect();
        assert_eq!(groups(&["instance"], spans(250)).iter().map(|group| group.targets.len()).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(groups(&["instance", "pod"], spans(3)).len(), 3);
    }
}
