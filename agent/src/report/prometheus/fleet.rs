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
    /// The span in which the counters of its first sample can be read, if they were looked for and found.
    pub(super) opening: Option<(i64, i64)>,
    /// The span in which those of its last sample can be read.
    pub(super) closing: Option<(i64, i64)>,
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

    /// The lives that ended in the window, whose last counts must be looked up.
    pub(super) fn ended(&self) -> impl Iterator<Item = (usize, i64, &Life)> {
        self.lives.iter().filter(|(_, life)| !life.at_end).map(|((target, start), life)| (*target, *start, life))
    }

    /// The lives that had counted before they were first scraped in the window: what they had then is not of the window.
    pub(super) fn late(&self, looks: Looks) -> Vec<(usize, i64)> {
        let mut nodes: HashMap<(&str, i64), i64> = HashMap::new();
        for ((target, start), life) in &self.lives {
            if let Some(node) = self.nodes.get(target) {
                let first = nodes.entry((node, *start)).or_insert(life.first);
                *first = life.first.min(*first);
            }
        }
        // The same process of the same node, scraped before under other labels.
        let relabelled = |target: &usize, start: i64, life: &Life| {
            self.nodes.get(target).and_then(|node| nodes.get(&(node.as_str(), start))).is_some_and(|first| *first < life.first)
        };
        let late = |((target, start), life): &(&(usize, i64), &Life)| {
            !life.at_start && (*start < looks.start - SKEW || relabelled(target, *start, life))
        };
        self.lives.iter().filter(late).map(|(key, _)| *key).collect()
    }

    /// Takes in every sample of the start times of some targets, which tells to the millisecond when processes came and went, and those that
    /// came and went between two looks. `until` is when the samples end.
    pub(super) fn refine(&mut self, history: &[Row], until: i64, looks: Looks) {
        for row in history {
            let Some(target) = self.target_of(&row.labels) else { continue };
            for run in row.samples.chunk_by(|(_, one), (_, other)| milliseconds(*one) == milliseconds(*other)) {
                let [(first, value), ..] = *run else { continue };
                let last = run.last().map_or(first, |(time, _)| *time);
                if last < looks.start {
                    continue;
                }
                let life = self.life(target, milliseconds(value), first.max(looks.start));
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

    /// Agents that two targets show at once, by node and start time, with one such pair.
    pub(super) fn twice(&self) -> (usize, Option<(usize, usize)>) {
        let mut seen: HashMap<(&str, i64), usize> = HashMap::new();
        let (mut count, mut example) = (0, None);
        for ((target, start), life) in &self.lives {
            let Some(node) = self.nodes.get(target).filter(|_| life.at_end) else { continue };
            if let Some(other) = seen.insert((node, *start), *target) {
                count += 1;
                example.get_or_insert((other, *target));
            }
        }
        (count, example)
    }

    fn seen(&mut self, labels: &Labels, started: f64, time: i64) -> &mut Life {
        let target = self.target(labels);
        let life = self.life(target, milliseconds(started), time);
        life.first = life.first.min(time);
        life.last = life.last.max(time);
        life
    }

    fn life(&mut self, target: usize, start: i64, time: i64) -> &mut Life {
        let new = Life { first: time, last: time, at_start: false, at_end: false, opening: None, closing: None };
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
