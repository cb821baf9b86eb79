//! The agents as Prometheus saw them: which target had which process, from when to when.
//!
//! A counter tells something of the process that exposes it, so the life of a process is the unit in which counts are added up:
//! what it had counted at its last sample, less what it had counted when the window began.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    answer::{Labels, Row},
    queries::Looks,
};

/// Clocks of nodes and of Prometheus differ by less, or so it is hoped: a process that was started this long before the window, in
/// milliseconds, is still taken to be of the window.
const SKEW: i64 = 1000;

/// All that was scraped in the window.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// The labels that the scrape configuration gives; what is assumed of them is `job` and `instance` alone.
    pub(super) targets: Vec<Labels>,
    by_address: HashMap<(String, String), Vec<usize>>,
    /// By target: the node's name, if the agent tells it.
    pub(super) nodes: BTreeMap<usize, String>,
    /// By target and start time in milliseconds.
    pub(super) lives: BTreeMap<(usize, i64), Life>,
}

/// The life of one process of an agent, as far as it was scraped. Times are unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Its first sample that is known of.
    pub(super) first: i64,
    /// Its last one.
    pub(super) last: i64,
    /// Among what is scraped when the window begins.
    pub(super) at_start: bool,
    /// Among what is scraped when it ends.
    pub(super) at_end: bool,
    /// The span in which the counters of its first sample can be read, if they were looked for and found: until before the next sample.
    pub(super) opening: Option<(i64, i64)>,
    /// The span in which those of its last sample can be read.
    pub(super) closing: Option<(i64, i64)>,
    /// Whatever the target exposes from here on is of this process, or of a later one.
    pub(super) since: i64,
}

/// A process of an agent, by whatever targets it was scraped: several at once where two jobs scrape it, one after the other where a target
/// was renamed.
#[derive(Debug)]
pub(super) struct Process<'a> {
    /// Unix milliseconds.
    pub(super) started: i64,
    sightings: Vec<Sighting<'a>>,
}

/// A process as one target shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting<'a> {
    pub(super) target: usize,
    pub(super) life: &'a Life,
}

impl Process<'_> {
    /// Its last sighting, if it was no longer scraped at the window's end: its last counts must be looked up.
    pub(super) fn ended(&self) -> Option<Sighting<'_>> {
        let gone = self.sightings.iter().all(|sighting| !sighting.life.at_end);
        self.sightings.iter().copied().filter(|_| gone).max_by_key(|sighting| sighting.life.last)
    }

    /// Its first sighting, if it had counted before the window and was not scraped then: what it had counted is not of the window.
    pub(super) fn late(&self, looks: Looks) -> Option<Sighting<'_>> {
        let late = self.started < looks.start - SKEW && self.sightings.iter().all(|sighting| !sighting.life.at_start);
        self.sightings.iter().copied().filter(|_| late).min_by_key(|sighting| sighting.life.first)
    }

    /// All but one of the targets that show it at the window's start.
    pub(super) fn doubles_at_start(&self) -> impl Iterator<Item = usize> {
        self.sightings.iter().filter(|sighting| sighting.life.at_start).skip(1).map(|sighting| sighting.target)
    }

    /// All but one of the targets that show it at the window's end.
    pub(super) fn doubles_at_end(&self) -> impl Iterator<Item = usize> {
        self.sightings.iter().filter(|sighting| sighting.life.at_end).skip(1).map(|sighting| sighting.target)
    }
}

impl Fleet {
    /// The fleet at the start and at the end of the window, and the processes that came and went in between.
    pub(super) fn new(at_start: &[Row], at_end: &[Row], begun: &[Row], ended: &[Row], looks: Looks) -> Self {
        let mut fleet = Self::default();
        for row in at_start {
            fleet.seen(&row.labels, row.value(), looks.start).at_start = true;
        }
        for row in at_end {
            fleet.seen(&row.labels, row.value(), looks.end).at_end = true;
        }
        for row in begun {
            for (time, value) in &row.samples {
                fleet.seen(&row.labels, *value, *time);
            }
        }
        for row in ended {
            for (time, value) in &row.samples {
                let last = time - looks.step;
                if last >= looks.start {
                    fleet.seen(&row.labels, *value, last);
                }
            }
        }
        fleet
    }

    /// The target of a row, whatever labels of its own it has beside the target's.
    pub(super) fn target_of(&self, labels: &Labels) -> Option<usize> {
        let candidates = self.by_address.get(&address(labels))?;
        let agrees = |known: &Labels| labels.0.iter().all(|(name, value)| known.0.get(name).is_none_or(|other| other == value));
        candidates.iter().copied().find(|target| agrees(&self.targets[*target]))
    }

    /// Takes the nodes' names from rows of `kubewitness_build_info`; gives how many agents have no start time.
    pub(super) fn name_nodes(&mut self, agents: &[Row]) -> u64 {
        let mut strange = 0;
        for row in agents {
            let Some(target) = self.target_of(&row.labels) else {
                strange += 1;
                continue;
            };
            let node = row.labels.own("node");
            if !node.is_empty() {
                self.nodes.insert(target, node.to_owned());
            }
        }
        strange
    }

    /// The name of a target's node; its address where the agent does not tell.
    pub(super) fn node(&self, target: usize) -> &str {
        self.nodes.get(&target).map_or_else(|| self.targets[target].target("instance"), String::as_str)
    }

    /// From when on a target's counters are of this process and not of an earlier one.
    pub(super) fn since(&self, sighting: Sighting<'_>, looks: Looks) -> i64 {
        let lives = self.lives.range((sighting.target, i64::MIN)..=(sighting.target, i64::MAX));
        let alone = lives.filter(|(_, life)| life.first <= sighting.life.first).count() == 1;
        if alone { looks.start } else { sighting.life.since }
    }

    /// The processes, by what is known of them after all that was taken in.
    pub(super) fn processes(&self) -> Vec<Process<'_>> {
        let mut processes: BTreeMap<(&str, usize, i64), Vec<Sighting<'_>>> = BTreeMap::new();
        for ((target, start), life) in &self.lives {
            // Two targets are known to be the same agent by its node's name alone.
            let (node, lone) = self.nodes.get(target).map_or(("", target + 1), |node| (node.as_str(), 0));
            processes.entry((node, lone, *start)).or_default().push(Sighting { target: *target, life });
        }
        processes.into_iter().map(|((_, _, started), sightings)| Process { started, sightings }).collect()
    }

    /// Takes in every sample of the start times of some targets, which tells to the millisecond when processes came and went, and those that
    /// came and went between two looks. The samples are those after `from` until `until`.
    pub(super) fn refine(&mut self, history: &[Row], from: i64, until: i64, looks: Looks) {
        for row in history {
            let Some(target) = self.target_of(&row.labels) else { continue };
            let mut since = from;
            for run in row.samples.chunk_by(|(_, one), (_, other)| milliseconds(*one) == milliseconds(*other)) {
                let [(first, value), ..] = *run else { continue };
                let last = run.last().map_or(first, |(time, _)| *time);
                let after_others = std::mem::replace(&mut since, last + 1);
                if last < looks.start {
                    continue;
                }
                let life = self.life(target, milliseconds(value), first.max(looks.start));
                life.since = life.since.min(after_others);
                let next = |after: i64| row.samples.iter().map(|(time, _)| *time).find(|time| *time > after);
                // Where the window's start lies inside of the life, the last sample before it is what the window begins with.
                let opening = run.iter().map(|(time, _)| *time).take_while(|time| *time <= looks.start).last().unwrap_or(first);
                let better = |known: i64| if known.max(opening) <= looks.start { opening > known } else { opening < known };
                if life.opening.is_none_or(|(known, _)| better(known)) {
                    life.opening = Some((opening, next(opening).map_or(opening, |next| next - 1)));
                }
                if life.closing.is_none_or(|(known, _)| last > known) {
                    life.closing = Some((last, next(last).map_or(until, |next| next - 1)));
                }
            }
        }
    }

    /// The labels that tell targets apart: one whose values are all different, usually the address; all of them if there is none.
    pub(super) fn telling_labels(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.targets.iter().flat_map(|labels| labels.0.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names.sort_by_key(|name| *name != "instance");
        let unique = |name: &&&str| {
            let mut seen = HashSet::new();
            self.targets.iter().all(|labels| !labels.target(name).is_empty() && seen.insert(labels.target(name)))
        };
        match names.iter().find(unique) {
            Some(name) => vec![name],
            None => names,
        }
    }

    fn seen(&mut self, labels: &Labels, started: f64, time: i64) -> &mut Life {
        let target = self.target(labels);
        let life = self.life(target, milliseconds(started), time);
        life.first = life.first.min(time);
        life.last = life.last.max(time);
        life
    }

    fn life(&mut self, target: usize, start: i64, time: i64) -> &mut Life {
        let new = Life { first: time, last: time, at_start: false, at_end: false, opening: None, closing: None, since: time };
        self.lives.entry((target, start)).or_insert(new)
    }

    fn target(&mut self, labels: &Labels) -> usize {
        let mut labels = labels.clone();
        labels.0.remove("__name__");
        let known = self.by_address.entry(address(&labels)).or_default();
        if let Some(target) = known.iter().find(|target| self.targets[**target] == labels) {
            return *target;
        }
        known.push(self.targets.len());
        self.targets.push(labels);
        self.targets.len() - 1
    }
}

fn address(labels: &Labels) -> (String, String) {
    (labels.target("job").to_owned(), labels.target("instance").to_owned())
}

#[expect(clippy::cast_possible_truncation, reason = "times are far below 2^53 milliseconds; `as` saturates")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
