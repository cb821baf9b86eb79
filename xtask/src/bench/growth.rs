//! `cargo xtask bench growth`: what the agent takes as its surroundings grow.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::figures::Figures;

use super::bed::{Bed, write_private};
use super::load::{self, Load, MEMORY, PROCESSOR, RATE, Sample, WATCHER};
use super::subject::{Process, agent};
use super::summary::{Promise, Wanted};
use super::{crowd, drawing};
use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::consumption::Consumption;
use crate::progress::{note, step};
use crate::{build, machine, project, setup};

const HELP: &str = "\
Usage: cargo xtask bench growth [--minutes N]

Measures what the agent takes with more connections, requests a second, identities and RBAC bindings, and then its memory after ten
minutes of requests as fast as they are answered, by 1,000 identities among 10,000 bindings. Writes its tables and the drawing of
docs/performance.md. Takes 15 minutes; fails if the promise on memory falls short. Needs root, Go, wrk, curl, and a machine that nobody
else uses.

Options:
  --minutes N  how long the requests of the last step go on; writes nothing if it is not the 10 that it is by default

Examples:
  cargo xtask bench growth
  cargo xtask bench growth --minutes 1
";

const TABLE: Figures = Figures::of("docs/performance.md", "growth");
const PROMISES: Figures = Figures::of("docs/performance.md", "memory");
const DRAWING: &str = "docs/growth.svg";
const MINUTES: u64 = 10;

const CONNECTIONS: [u32; 4] = [1, 8, 64, 512];
const RATES: [u32; 5] = [250, 500, 1000, 2000, 4000];
const IDENTITIES: [u32; 4] = [1, 10, 100, 1000];
/// Beside those that a cluster has anyway, and with those of the identities.
const BINDINGS: [u32; 4] = [1000, 2000, 5000, 10_000];

/// What grows, and what was measured at each step.
pub(super) struct Curve {
    /// For people.
    pub(super) what: &'static str,
    /// What is measured: its name and its unit.
    pub(super) measure: &'static str,
    pub(super) unit: &'static str,
    pub(super) steps: Vec<(u32, Sample)>,
}

pub(super) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let minutes = parse(args)?;
    machine::root()?;
    setup::for_build(&[Arch::Amd64])?;
    build::all(Arch::Amd64)?;
    let mut bed = step("bench: a cluster", Bed::up)?;
    let mut curves = vec![
        step("bench: connections", || curve(&bed, "connections", (WATCHER, "µs a request"), &CONNECTIONS, load::at))?,
        step("bench: requests a second", || curve(&bed, "requests/s", (PROCESSOR, "% of a processor"), &RATES, load::pace))?,
    ];
    curves.extend(step("bench: identities and bindings", || crowds(&mut bed))?);
    let promise = step(&format!("bench: {minutes} minutes of all of them"), || endure(&bed, Duration::from_mins(minutes)))?;
    let is_whole = minutes == MINUTES;
    for row in curves.iter().flat_map(rows) {
        TABLE.put(&row, is_whole);
    }
    PROMISES.put(&promise.cells(), is_whole);
    if is_whole {
        drawing::draw(&project::root().join(DRAWING), &curves)?;
    }
    ensure!(promise.is_kept(), "falls short: {}", promise.what);
    Ok(())
}

fn parse(args: &[String]) -> Result<u64> {
    let wrong = |what: String| Usage::error(what, "cargo xtask bench growth --help");
    match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        [] => Ok(MINUTES),
        ["--minutes", number] => match number.parse() {
            Ok(minutes @ 1..=1440) => Ok(minutes),
            _ => Err(wrong(format!("`{number}` is no number of minutes from 1 to 1440"))),
        },
        [other, ..] => Err(wrong(format!("`{other}` is not understood"))),
    }
}

/// One agent, and a load that grows.
fn curve(
    bed: &Bed,
    what: &'static str,
    (measure, unit): (&'static str, &'static str),
    numbers: &[u32],
    load: impl Fn(u32) -> Load,
) -> Result<Curve> {
    let agent = watcher(bed)?;
    let steps = numbers.iter().map(|number| Ok((*number, measured(bed, &agent, &load(*number))?))).collect::<Result<_>>()?;
    agent.stop()?;
    Ok(Curve { what, measure, unit, steps })
}

/// More and more identities, then more and more bindings beside theirs.
fn crowds(bed: &mut Bed) -> Result<[Curve; 2]> {
    bed.cluster.apply(
        &serde_json::json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "elsewhere" }, "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }] })
        .to_string(),
    )?;
    let agent = watcher(bed)?;
    let most = IDENTITIES[IDENTITIES.len() - 1];
    let tokens = crowd::identities(bed, 0..most)?;
    let load = load::at(8);
    let mut identities = Vec::new();
    for count in IDENTITIES {
        let asking = tokens.iter().take(count as usize).map(|token| format!("Authorization: Bearer {token}\n"));
        bed.header = bed.file("crowd");
        write_private(&bed.header, &asking.collect::<String>())?;
        // The kubelet asks the API server for each of them the first time.
        load.run(bed, None)?;
        identities.push((count, measured(bed, &agent, &load)?));
    }
    let mut bindings = Vec::new();
    let mut made = most;
    for count in BINDINGS {
        crowd::bindings(bed, made..count)?;
        made = count;
        load.run(bed, None)?;
        bindings.push((count, measured(bed, &agent, &load)?));
    }
    agent.stop()?;
    let unit = "µs a request";
    Ok([
        Curve { what: "identities", measure: WATCHER, unit, steps: identities },
        Curve { what: "bindings", measure: WATCHER, unit, steps: bindings },
    ])
}

/// Requests by all identities, for so long; the most memory that the agent ever had.
fn endure(bed: &Bed, time: Duration) -> Result<Promise> {
    let agent = watcher(bed)?;
    let (load, begun) = (load::at(8), Instant::now());
    let mut requests = 0.0;
    while begun.elapsed() < time {
        requests += 4.0 * measured(bed, &agent, &load)?[RATE];
    }
    let consumption = Consumption::of(agent.pid())?;
    agent.stop()?;
    let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0;
    note(&format!("about {requests:.0} requests; the most memory was {:.1} MiB", mib(consumption.peak)));
    let what = format!(
        "memory in MiB after {} minutes of requests by {} identities among {} bindings",
        time.as_secs() / 60,
        IDENTITIES[IDENTITIES.len() - 1],
        BINDINGS[BINDINGS.len() - 1],
    );
    let beside = Some(format!("at most {:.1}", mib(consumption.peak)));
    Ok(Promise { what, value: mib(consumption.memory), beside, wanted: Wanted::AtMost(28.0) })
}

fn watcher(bed: &Bed) -> Result<Process> {
    agent(bed, &["--events", &bed.file("events.jsonl").display().to_string(), "--max-identities", "1000"])
}

fn measured(bed: &Bed, agent: &Process, load: &Load) -> Result<Sample> {
    let file = bed.file("events.jsonl");
    let sample = load.run(bed, Some(agent.pid())).context("the agent, or what it watches, failed")?;
    // It is appended to; the disk shall not fill.
    fs::OpenOptions::new().write(true).open(&file)?.set_len(0)?;
    Ok(sample)
}

fn rows(curve: &Curve) -> Vec<[String; 5]> {
    let row = |(number, sample): &(u32, Sample)| {
        let cell = |measure: &str| sample.get(measure).map_or("–".to_owned(), |value| format!("{value:.1}"));
        [
            format!("{} {number}", curve.what),
            format!("{:.0}", sample.get(RATE).copied().unwrap_or_default()),
            cell(WATCHER),
            cell(PROCESSOR),
            cell(MEMORY),
        ]
    };
    curve.steps.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let parsed = |typed: &[&str]| parse(&typed.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(parsed(&[]).expect("the default"), 10);
        assert_eq!(parsed(&["--minutes", "1"]).expect("a number"), 1);
        for typed in [&["lunch"][..], &["--minutes"], &["--minutes", "0"], &["--minutes", "x"]] {
            assert!(parsed(typed).expect_err("must be refused").is::<Usage>(), "{typed:?}");
        }
    }

    #[test]
    fn a_step_is_a_row() {
        let steps = vec![(8, Sample::from([(RATE, 12_345.6), (WATCHER, 5.06), (PROCESSOR, 10.0), (MEMORY, 30.25)]))];
        let curve = Curve { what: "connections", measure: WATCHER, unit: "µs", steps };
        assert_eq!(rows(&curve), [["connections 8", "12346", "5.1", "10.0", "30.2"].map(str::to_owned)]);
    }
}
