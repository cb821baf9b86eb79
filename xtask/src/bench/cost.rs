//! The run: rounds of all configurations, each under all loads, then what was promised.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use kubewitness_tests::figures::Figures;
use serde_json::json;

use super::bed::Bed;
use super::detection;
use super::load::{LOADS, Load, MEMORY, PROCESSOR, RATE, WAKEUPS};
use super::subject::Subject;
use super::summary::{Promise, Results, Wanted};
use super::{Options, attach};
use crate::arch::Arch;
use crate::progress::{note, step};
use crate::{build, machine, project, setup};

const TABLE: Figures = Figures::of("docs/performance.md", "cost");
const PROMISES: Figures = Figures::of("docs/performance.md", "promises");
const MACHINE: Figures = Figures::of("docs/performance.md", "machine");
const DOCUMENT: &str = "docs/performance.json";

pub(super) fn measure(options: &Options) -> Result<()> {
    machine::root()?;
    setup::for_build(&[Arch::Amd64])?;
    build::all(Arch::Amd64)?;
    let loads: Vec<&Load> = match &options.only {
        Some(only) => only.clone(),
        None => LOADS.iter().filter(|load| load.is_quick || !options.quick).collect(),
    };
    let bed = step("bench: a cluster", Bed::up)?;
    if loads.iter().any(|load| load.name == "pods") {
        bed.list_pods()?;
    }
    if loads.iter().any(|load| load.name == "logs") {
        step("bench: a long log", || bed.talker())?;
    }
    let mut results = Results::default();
    for round in 1..=options.rounds {
        step(&format!("bench: round {round} of {}", options.rounds), || all(&bed, &loads, round, &mut results))?;
    }
    let mut promises = promises(&results);
    if options.only.is_none() {
        promises.extend(step("bench: how soon an exec is told", || detections(&bed, options.quick))?);
        promises.push(step("bench: how soon a kubelet is watched", || attachments(&bed, options.rounds.max(2)))?);
    }
    let is_whole = options.only.is_none() && !options.quick;
    for row in results.rows() {
        TABLE.put(&row, is_whole);
    }
    for promise in &promises {
        PROMISES.put(&promise.cells(), is_whole);
    }
    if is_whole {
        let machine = describe()?;
        for (what, value) in &machine {
            MACHINE.put(&[*what, value], true);
        }
        let document = json!({ "machine": machine.into_iter().collect::<std::collections::BTreeMap<_, _>>(), "rounds": options.rounds,
            "samples": results.document() });
        fs::write(project::root().join(DOCUMENT), serde_json::to_string_pretty(&document)? + "\n")?;
    }
    let short: Vec<&str> = promises.iter().filter(|promise| !promise.is_kept()).map(|promise| promise.what.as_str()).collect();
    ensure!(short.is_empty(), "falls short: {}", short.join("; "));
    Ok(())
}

/// One round: each configuration once. Each round begins with another one, but for the bare kubelet, which is always first.
fn all(bed: &Bed, loads: &[&Load], round: usize, results: &mut Results) -> Result<()> {
    let mut others = Subject::ALL[1..].to_vec();
    let first = round % others.len();
    others.rotate_left(first);
    for subject in [Subject::None].into_iter().chain(others) {
        let running = subject.start(bed)?;
        for load in loads.iter().filter(|load| subject == Subject::Agent || !load.is_idle()) {
            let sample = load.run(bed, running.pid()).with_context(|| format!("{} under `{}`", subject.name(), load.name))?;
            results.add(load, subject, sample);
        }
        let said = running.stop(bed)?;
        if !said.is_empty() {
            note(&format!("{}: {said}", subject.name()));
        }
    }
    Ok(())
}

fn promises(results: &Results) -> Vec<Promise> {
    let mut promises = Vec::new();
    let mut promise = |what: String, value: Option<f64>, wanted: Wanted| {
        promises.extend(value.map(|value| Promise { what, value, beside: None, wanted }));
    };
    for load in ["healthz-1", "healthz-8", "healthz-64"] {
        let throughput = results.ratio(load, RATE, Subject::Agent, Subject::Floor);
        promise(format!("{load}: throughput, as a part of the floor's"), throughput, Wanted::AtLeast(0.95));
        let [floor, own, stepped, sniffer] =
            [Subject::Floor, Subject::Agent, Subject::Stepped, Subject::Sniffer].map(|subject| results.cost(load, subject));
        // A cost within what the bare kubelet differs by from round to round may come out below nothing, and there is no multiple of that.
        let times = |other: Option<f64>, one: Option<f64>| Some(if one? > 0.0 { other? / one? } else { f64::NAN });
        promise(format!("{load}: cost of a request, as a multiple of the floor's"), times(own, floor), Wanted::AtMost(1.5));
        promise(format!("{load}: how much more the stepped one costs"), times(stepped, own), Wanted::AtLeast(6.0));
        promise(format!("{load}: how much more the sniffer costs"), times(sniffer, own), Wanted::AtLeast(6.0));
    }
    for load in ["exec-stream", "logs"] {
        let bytes = results.ratio(load, RATE, Subject::Agent, Subject::None);
        promise(format!("{load}: bytes a second, as a part of the bare kubelet's"), bytes, Wanted::AtLeast(0.99));
    }
    let idle = |measure: &str| results.median("idle", Subject::Agent, measure);
    promise("idle: percent of a processor".to_owned(), idle(PROCESSOR), Wanted::AtMost(0.1));
    promise("idle: wakeups a second".to_owned(), idle(WAKEUPS), Wanted::AtMost(1.0));
    promise("idle: memory in MiB".to_owned(), idle(MEMORY), Wanted::AtMost(20.0));
    promises
}

fn detections(bed: &Bed, is_quick: bool) -> Result<Vec<Promise>> {
    let execs = if is_quick { 200 } else { 1000 };
    let mut promises = Vec::new();
    for (how, is_saturated, most) in [("unloaded", false, 5.0), ("saturated", true, 50.0)] {
        let delays = detection::measure(bed, execs, is_saturated)?;
        let [p50, p99, p999] = [500, 990, 999].map(|part| delays.permille(part));
        note(&format!("{how}: {execs} execs are told after {p50:.2} ms (p50), {p99:.2} (p99), {p999:.2} (p999)"));
        let what = format!("{how}: ms until an exec is told, p99 of {execs}");
        let beside = Some(format!("p50 {p50:.2}, p999 {p999:.2}"));
        promises.push(Promise { what, value: p99, beside, wanted: Wanted::AtMost(most) });
    }
    Ok(promises)
}

fn attachments(bed: &Bed, times: usize) -> Result<Promise> {
    let delays = attach::measure(bed, times)?;
    let [shortest, .., longest] = delays[..] else { bail!("a kubelet must start twice at least") };
    let what = "ms from LISTEN until a kubelet of 84 MB is watched that was never seen, the longest".to_owned();
    let beside = Some(format!("the shortest {shortest:.2}, {times} starts"));
    Ok(Promise { what, value: longest, beside, wanted: Wanted::AtMost(150.0) })
}

/// The machine, as far as it says.
fn describe() -> Result<Vec<(&'static str, String)>> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = processor.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("?".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let count = processor.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = project::answer(Command::new("uname").arg("-sr"))?.trim().to_owned();
    let virtual_machine = if field("flags").split(' ').any(|flag| flag == "hypervisor") { ", of a virtual machine" } else { "" };
    Ok(vec![
        ("processor", format!("{count} × {}{virtual_machine}", field("model name"))),
        ("kernel", kernel),
        ("kubelet", "1.36.3, Go 1.26.8".to_owned()),
        ("date", jiff::Timestamp::now().strftime("%F").to_string()),
    ])
}
