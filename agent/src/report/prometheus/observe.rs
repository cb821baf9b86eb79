//! From answers to what was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    answer::{Fold, Labels, Remarks, Row},
    fleet::Fleet,
    queries::{Looks, Metric},
};
use crate::{
    judge::Finding,
    kubelet::{AccessKind, Endpoint, Verb},
    report::{NodeSeen, Note, Observed, Use, Who},
};

/// Sums over the fleet by the agent's own labels; one for each metric.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<Key, f64>);

/// The labels that a sum is by; empty where a metric has them not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identity: String,
    endpoint: String,
    access: String,
    finding: String,
}

impl Fold for Sums {
    fn row(&mut self, row: Row) {
        let own = |name| row.labels.own(name).to_owned();
        let key = Key { identity: own("identity"), endpoint: own("endpoint"), access: own("access"), finding: own("finding") };
        *self.0.entry(key).or_default() += row.value();
    }
}

/// What was read of a metric at a moment.
#[derive(Debug)]
pub(super) enum Read {
    /// By the agent's own labels.
    Sums(Sums),
    /// By target.
    Targets(Vec<Row>),
}

/// All counts of the window.
#[derive(Debug, Default)]
pub(super) struct Counts {
    requests_by_identity: Sums,
    requests: Sums,
    findings_by_identity: Sums,
    findings: Sums,
    /// By target.
    targets: BTreeMap<usize, TargetCounts>,
}

/// The counts of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct TargetCounts {
    requests: f64,
    incomplete: f64,
    lost: f64,
    /// Looks at which it watched a kubelet.
    watched: f64,
}

impl Counts {
    /// Adds what was read of a metric at a moment, or takes it off.
    pub(super) fn add(&mut self, fleet: &Fleet, metric: Metric, sign: f64, read: Read) {
        let sums = match metric {
            Metric::RequestsByIdentity => &mut self.requests_by_identity,
            Metric::FindingsByIdentity => &mut self.findings_by_identity,
            Metric::Findings => &mut self.findings,
            _ => &mut self.requests,
        };
        match read {
            Read::Sums(read) => {
                for (key, value) in read.0 {
                    *sums.0.entry(key).or_default() += sign * value;
                }
            }
            Read::Targets(rows) => {
                for row in rows {
                    let Some(target) = fleet.target_of(&row.labels) else { continue };
                    let counts = self.targets.entry(target).or_default();
                    let count = match metric {
                        Metric::IncompleteByTarget => &mut counts.incomplete,
                        Metric::LostByTarget => &mut counts.lost,
                        _ => &mut counts.requests,
                    };
                    *count += sign * row.value();
                }
            }
        }
    }

    /// Takes in at how many looks a target watched a kubelet.
    pub(super) fn watched(&mut self, fleet: &Fleet, row: &Row) {
        if let Some(target) = fleet.target_of(&row.labels) {
            self.targets.entry(target).or_default().watched += row.value();
        }
    }
}

/// What makes the counts less than certain.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    notes: BTreeMap<&'static str, Note>,
}

impl Doubts {
    /// Something about the input, so many times more; the first text stays.
    pub(super) fn add(&mut self, id: &'static str, count: u64, text: impl FnOnce() -> String) {
        if count > 0 {
            self.notes.entry(id).or_insert_with(|| Note { id, count: 0, text: text() }).count += count;
        }
    }

    /// What the server said beside its answer to a question.
    pub(super) fn remarks(&mut self, what: &str, remarks: Remarks) {
        if remarks.partial {
            self.add("partial-answer", 1, || {
                format!("the server says that its answers are partial, first when asked for {what}: all counts are at least")
            });
        }
        for warning in remarks.warnings {
            self.add("server-warning", 1, || format!("the server warned, first when asked for {what}: {}", inert(&warning)));
        }
    }
}

/// Puts everything together.
pub(super) fn observed(fleet: &Fleet, counts: &Counts, kubelets: &[Row], looks: Looks, mut doubts: Doubts) -> Observed {
    let mut observed = Observed { window: window(fleet, looks), ..Observed::default() };
    requests(counts, &mut observed, &mut doubts);
    findings(counts, &mut observed, &mut doubts);
    nodes(fleet, counts, kubelets, looks, &mut observed, &mut doubts);
    lives(fleet, looks, &mut doubts);
    observed.notes = doubts.notes.into_values().collect();
    observed
}

/// From the first to the last time that any agent was scraped.
fn window(fleet: &Fleet, looks: Looks) -> Option<(Timestamp, Timestamp)> {
    let first = fleet
        .lives
        .values()
        .map(|life| if life.at_start { looks.start } else { life.opening.map_or(life.first, |(from, _)| from.max(looks.start)) })
        .min()?;
    let last =
        fleet.lives.values().map(|life| if life.at_end { looks.end } else { life.closing.map_or(life.last, |(from, _)| from) }).max()?;
    Some((Timestamp::from_millisecond(first).ok()?, Timestamp::from_millisecond(last).ok()?))
}

fn requests(counts: &Counts, observed: &mut Observed, doubts: &mut Doubts) {
    let mut rest: BTreeMap<(String, String), f64> = BTreeMap::new();
    for (key, value) in &counts.requests.0 {
        *rest.entry((key.endpoint.clone(), key.access.clone())).or_default() += value;
    }
    for (key, value) in &counts.requests_by_identity.0 {
        *rest.entry((key.endpoint.clone(), key.access.clone())).or_default() -= value;
        add_use(observed, doubts, who(&key.identity), key, *value);
    }
    for ((endpoint, access), value) in rest {
        let key = Key { endpoint, access, ..Key::default() };
        add_use(observed, doubts, Who::Nobody, &key, value);
    }
}

fn add_use(observed: &mut Observed, doubts: &mut Doubts, who: Who, key: &Key, value: f64) {
    let count = whole(value, doubts);
    if count == 0 {
        return;
    }
    let (Some(endpoint), Some(access)) = (Endpoint::of_label(&key.endpoint), AccessKind::parse(&key.access)) else {
        return doubts.add("unknown-label", count, || {
            format!(
                "requests with labels that this version does not know are left out, such as endpoint=\"{}\" access=\"{}\"",
                inert(&key.endpoint),
                inert(&key.access)
            )
        });
    };
    observed.identities.entry(who.clone()).or_default();
    *observed.uses.entry(Use { who, endpoint, access, verb: Verb::Unknown }).or_default() += count;
}

fn findings(counts: &Counts, observed: &mut Observed, doubts: &mut Doubts) {
    let mut rest: BTreeMap<&str, f64> = BTreeMap::new();
    for (key, value) in &counts.findings.0 {
        *rest.entry(&key.finding).or_default() += value;
    }
    let mut all: Vec<(&str, Who, f64)> = Vec::new();
    for (key, value) in &counts.findings_by_identity.0 {
        *rest.entry(&key.finding).or_default() -= value;
        all.push((&key.finding, who(&key.identity), *value));
    }
    all.extend(rest.into_iter().map(|(finding, value)| (finding, Who::Nobody, value)));
    for (id, who, value) in all {
        let count = whole(value, doubts);
        if count == 0 {
            continue;
        }
        let Some(finding) = Finding::parse(id) else {
            doubts
                .add("unknown-label", count, || format!("findings that this version does not know are left out, such as `{}`", inert(id)));
            continue;
        };
        observed.identities.entry(who.clone()).or_default();
        observed.findings.entry((finding, who)).or_default().count += count;
    }
}

fn nodes(fleet: &Fleet, counts: &Counts, kubelets: &[Row], looks: Looks, observed: &mut Observed, doubts: &mut Doubts) {
    let window = Duration::from_millis(u64::try_from(looks.end - looks.start).unwrap_or(0));
    let step = Duration::from_millis(u64::try_from(looks.step).unwrap_or(0));
    let processes = fleet.processes();
    let doubles: BTreeSet<usize> =
        processes.iter().flat_map(|process| process.doubles_at_start().chain(process.doubles_at_end())).collect();
    // Added up before they are looked at: what a target has too much, another of the same node may have too little.
    let mut sums: BTreeMap<&str, TargetCounts> = BTreeMap::new();
    for target in 0..fleet.targets.len() {
        let counts = counts.targets.get(&target).copied().unwrap_or_default();
        let sum = sums.entry(fleet.node(target)).or_default();
        sum.requests += counts.requests;
        sum.incomplete += counts.incomplete;
        sum.lost += counts.lost;
        sum.watched += if doubles.contains(&target) { 0.0 } else { counts.watched };
    }
    for (name, sum) in sums {
        let requests = whole(sum.requests, doubts);
        let looks_watched = u32::try_from(whole(sum.watched, doubts)).unwrap_or(u32::MAX);
        let node = NodeSeen {
            requests,
            // One request may lack several things, each counted.
            partial: whole(sum.incomplete, doubts).min(requests),
            lost: Some(whole(sum.lost, doubts)),
            watched: Some(step.saturating_mul(looks_watched).min(window)),
            ..NodeSeen::default()
        };
        observed.nodes.insert(name.to_owned(), node);
    }
    let nameless = (0..fleet.targets.len()).filter(|target| !fleet.nodes.contains_key(target)).count();
    for row in kubelets {
        let version = row.labels.own("version");
        if let Some(target) = fleet.target_of(&row.labels).filter(|_| !version.is_empty())
            && let Some(node) = observed.nodes.get_mut(fleet.node(target))
        {
            node.kubelet = Some(version.to_owned());
        }
    }
    doubts.add("nameless-node", u64::try_from(nameless).unwrap_or(u64::MAX), || {
        "agents that do not tell their node (label node of kubewitness_build_info) are listed by their address".to_owned()
    });
}

/// What the counts cannot hold, by how the agents came and went.
fn lives(fleet: &Fleet, looks: Looks, doubts: &mut Doubts) {
    let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let processes = fleet.processes();
    doubts.add("ended", of(processes.iter().filter(|process| process.ended().is_some()).count()), || {
        "agents ended or were no longer scraped within the window: what they counted after their last scrape is in no number".to_owned()
    });
    doubts.add("late", of(processes.iter().filter(|process| process.late(looks).is_some()).count()), || {
        "agents ran before they were first scraped: their requests count from the first scrape on".to_owned()
    });
    doubts.add("scraped-twice", of(processes.iter().filter(|process| process.doubles_at_end().next().is_some()).count()), || {
        "agents are scraped by several targets at once; each counts once".to_owned()
    });
    if fleet.lives.values().all(|life| !life.at_end) {
        doubts.add("none-at-end", 1, || "no agent is scraped at the end of the window".to_owned());
    }
    let mut clusters: Vec<&str> =
        fleet.targets.iter().map(|labels: &Labels| labels.target("cluster")).filter(|name| !name.is_empty()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    if let [one, other, ..] = clusters[..] {
        doubts.add("clusters", of(clusters.len()), || {
            format!("clusters are added up, such as {} and {}: identities of the same name are taken for one; choose a cluster with --prometheus-selector", inert(one), inert(other))
        });
    }
}

fn who(identity: &str) -> Who {
    if identity == "other" { Who::Others } else { Who::User(identity.to_owned()) }
}

/// The most that is a count, so that no sum of counts overflows: a thousand requests a second make less in thirty years.
const MOST: f64 = 1e12;

/// A count. What is below zero, beyond all counts, or no number, comes of series that contradict each other, and is not counted.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and `MOST`")]
fn whole(value: f64, doubts: &mut Doubts) -> u64 {
    if value > -0.5 && value <= MOST {
        return value.round() as u64;
    }
    doubts.add("contradiction", 1, || {
        format!("counts came out below zero, beyond all counts, or as no number ({value:e}): samples are missing or were deleted, and other counts may be too low by it")
    });
    0
}

/// A server's text without what a terminal obeys, and not too long.
fn inert(text: &str) -> String {
    text.chars().take(200).map(|character| if character.is_control() { ' ' } else { character }).collect()
}
