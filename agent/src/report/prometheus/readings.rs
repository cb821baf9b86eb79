//! At which moments the counters are read, so that the sum over them is what was counted in the window.
//!
//! All that is scraped at the window's end counts, less all that was scraped at its start; then, for the processes that ended in between, their
//! last counts are added, and for those that had counted before they were scraped first, their first are taken off. The first two are
//! one reading each however large the fleet is. The others are read by groups of targets: their spans are known, and any
//! moment that is in the spans of all of a group does.

use super::{
    fleet::Fleet,
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
    let names = fleet.telling_labels();
    let ended = fleet.ended().map(|(target, _, life)| (target, life.last));
    let late = fleet.late(looks).into_iter().map(|key| (key.0, fleet.lives[&key].first - looks.step));
    let spans: Vec<_> = ended.chain(late).map(|(target, from)| Span { target, from, to: i64::MAX }).collect();
    let (step, end) = (looks.step, looks.end);
    let piece = |group: Group| Piece {
        selector: group.selector(fleet, &names, selector),
        from: group.earliest - LOOKBACK,
        to: (group.latest + step + LOOKBACK).min(end),
    };
    groups(&names, spans).into_iter().map(piece).collect()
}

/// All readings.
pub(super) fn readings(fleet: &Fleet, selector: &Selector, looks: Looks) -> Vec<Reading> {
    let whole = |sign, at| Reading { sign, moment: Moment { selector: selector.clone(), at, back: None } };
    let mut readings = vec![whole(1.0, looks.end), whole(-1.0, looks.start)];
    let names = fleet.telling_labels();
    let ended = fleet.ended().map(|(target, _, life)| Span::new(target, life.closing, life.last));
    let late = fleet.late(looks).into_iter().map(|key| {
        let life = &fleet.lives[&key];
        Span::new(key.0, life.opening, life.first)
    });
    for (sign, spans) in [(1.0, ended.collect()), (-1.0, late.collect())] {
        for group in groups(&names, spans) {
            let back = Some(group.latest - group.earliest + 1);
            readings.push(Reading { sign, moment: Moment { selector: group.selector(fleet, &names, selector), at: group.latest, back } });
        }
    }
    readings
}

/// From a sample until before the next.
struct Span {
    target: usize,
    from: i64,
    to: i64,
}

/// Targets whose spans have a moment in common: the latest of their beginnings.
struct Group {
    targets: Vec<usize>,
    earliest: i64,
    latest: i64,
}

impl Span {
    fn new(target: usize, known: Option<(i64, i64)>, otherwise: i64) -> Self {
        let (from, to) = known.unwrap_or((otherwise, otherwise));
        Self { target, from, to }
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
    for Span { target, from, to } in spans {
        let joined = groups.last_mut().filter(|group| {
            let fits = from <= common && from - group.earliest <= SPREAD && group.targets.len() < most;
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
