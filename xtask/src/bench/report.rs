//! `cargo xtask bench report`: how fast `kubewitness report` reads events.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::consumption::Consumption;
use crate::progress::{note, step};
use crate::{build, project, setup};

const HELP: &str = "\
Usage: cargo xtask bench report [--mib N]

Makes up events, the same at each run, and measures how fast target/release/kubewitness reports on them: on one processor, and on all. jq
makes the matrix identity x endpoint x access of an eighth of them, so that its run ends soon; both leave out events that come twice.
Fails if the two disagree, if kubewitness makes less than 300 MB/s on one processor, if it is less than 20 times as fast as jq, or if it
takes more than 150 MB of memory. Each figure is the median of three runs. Needs jq and taskset (util-linux).

Options:
  --mib N  how many MiB of events, 1024 unless told

Examples:
  cargo xtask bench report
";

/// What jq is given to do. Of the ways to leave duplicates out that were tried (`reduce` over an object, `unique` over texts), this one is the
/// fastest; a `reduce` that remembers what it saw takes time that grows with the square.
const JQ: &str = r#"
[inputs
 | select(.annotations["kubewitness.dev/access"] and (.stage == "ResponseComplete" or .stage == "Panic"))
 | {id: (.auditID + .stage),
    use: ((.user.username // "") + " " + .annotations["kubewitness.dev/endpoint"] + " " + .annotations["kubewitness.dev/access"])}]
| unique_by(.id) | group_by(.use) | map({(.[0].use): length}) | add"#;

/// Megabytes a second on one processor.
const WANTED_SPEED: f64 = 300.0;
/// How often as fast as jq, which uses one processor, with all there are.
const WANTED_RATIO: f64 = 20.0;
/// The bound that `kubewitness::report::Collector` promises, in bytes.
const MOST_MEMORY: u64 = 150_000_000;

/// Of which the median counts.
const RUNS: usize = 3;

pub(super) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let mib = parse(args)?;
    ensure!(project::answer(Command::new("jq").arg("--version")).is_ok(), "jq is not installed, and this is a race against it: install it");
    ensure!(project::answer(Command::new("taskset").arg("--version")).is_ok(), "taskset is not installed: install util-linux");
    setup::for_build(&[Arch::Amd64])?;
    build::all(Arch::Amd64)?;
    let examples = step("bench: build what makes events up", build::examples)?;
    let folder = project::root().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (whole, part) = (folder.join("events.jsonl"), folder.join("events-part.jsonl"));
    step("bench: make up events", || make(&examples, mib, &whole).and_then(|()| make(&examples, mib.div_ceil(8), &part)))?;
    let one = step("bench: kubewitness on one processor", || {
        ours(report(Command::new("taskset").args(["-c", &processor()?]).arg(binary())), &whole)
    })?;
    let all = step("bench: kubewitness", || ours(report(&mut Command::new(binary())), &whole))?;
    let own = step("bench: kubewitness on the part", || ours(report(&mut Command::new(binary())), &part))?;
    let jq = step("bench: jq on the part", || median(|| run(Command::new("jq").args(["-nc", JQ]).arg(&part), &part)))?;
    for (who, run) in [("one processor", &one), ("all processors", &all), ("the part", &own), ("jq, the part", &jq)] {
        note(&format!("{who:<14} {run}"));
    }
    let (requests, cells) = size(&own.matrix);
    let equal = if own.matrix == jq.matrix { "the same" } else { "NOT the same" };
    let ratio = all.speed() / jq.speed();
    note(&format!("{ratio:.1} times as fast as jq; of the part, both matrices are {equal}: {requests} requests in {cells} cells"));
    ensure!(own.matrix == jq.matrix, "the two matrices differ: compare {} with what jq makes of it", part.display());
    ensure!(one.speed() >= WANTED_SPEED, "{:.0} MB/s on one processor are less than the {WANTED_SPEED} promised", one.speed());
    ensure!(ratio >= WANTED_RATIO, "{ratio:.1} times as fast as jq is less than the {WANTED_RATIO} promised");
    let memory = one.memory.max(all.memory);
    ensure!(memory <= MOST_MEMORY, "{:.0} MB of memory are more than the {:.0} promised", megabytes(memory), megabytes(MOST_MEMORY));
    Ok(())
}

fn binary() -> PathBuf {
    project::root().join("target/release/kubewitness")
}

/// The first processor that this program may run on: the beginning of `Cpus_allowed_list`, such as `0-3,8` (proc(5)).
fn processor() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("it does not tell its processors")?;
    Ok(allowed.trim().chars().take_while(char::is_ascii_digit).collect())
}

fn report(command: &mut Command) -> &mut Command {
    command.args(["report", "-o", "json"])
}

/// Runs `kubewitness report`, and makes of its document what jq prints.
fn ours(command: &mut Command, file: &Path) -> Result<Run> {
    command.arg(file);
    let mut found = median(|| run(command, file))?;
    found.matrix = matrix(&found.matrix).context("the report has no matrix as docs/report.md tells it")?;
    Ok(found)
}

/// Identity, endpoint and access, each with its count; whoever is not an identity has no name, as in an event.
fn matrix(document: &Value) -> Option<Value> {
    let mut matrix = BTreeMap::<String, u64>::new();
    for cell in document["matrix"].as_array()? {
        let key = format!("{} {} {}", cell["identity"].as_str().unwrap_or_default(), cell["endpoint"].as_str()?, cell["access"].as_str()?);
        *matrix.entry(key).or_default() += cell["count"].as_u64()?;
    }
    serde_json::to_value(matrix).ok()
}

fn parse(args: &[String]) -> Result<u64> {
    let wrong = |what: String| Usage::error(what, "cargo xtask bench report --help");
    match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        [] => Ok(1024),
        ["--mib", number] => match number.parse() {
            Ok(mib @ 1..=65_536) => Ok(mib),
            _ => Err(wrong(format!("`{number}` is no number of MiB from 1 to 65536"))),
        },
        [other, ..] => Err(wrong(format!("`{other}` is not understood"))),
    }
}

/// Writes so many MiB of events.
fn make(examples: &Path, mib: u64, file: &Path) -> Result<()> {
    let out = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let status = Command::new(examples.join("make_events")).arg((mib << 20).to_string()).stdout(out).status()?;
    ensure!(status.success(), "the events could not be written to {}: {status}", file.display());
    Ok(())
}

/// What a run took, and what it printed.
struct Run {
    bytes: u64,
    wall: Duration,
    processor: Duration,
    memory: u64,
    matrix: Value,
}

impl Run {
    fn speed(&self) -> f64 {
        megabytes(self.bytes) / self.wall.as_secs_f64()
    }

    /// What a second of processor time does, however many processors worked.
    fn speed_of_a_core(&self) -> f64 {
        megabytes(self.bytes) / self.processor.as_secs_f64()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (size, wall, processor) = (megabytes(self.bytes), self.wall.as_secs_f64(), self.processor.as_secs_f64());
        let (speed, core, memory) = (self.speed(), self.speed_of_a_core(), megabytes(self.memory));
        write!(
            f,
            "{size:>6.0} MB in {wall:>6.2} s: {speed:>5.0} MB/s; {processor:>6.2} s of processor: {core:>5.0} MB/s; peak {memory:>5.0} MB"
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn median(mut run: impl FnMut() -> Result<Run>) -> Result<Run> {
    let mut runs = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
    ensure!(runs.windows(2).all(|pair| pair[0].matrix == pair[1].matrix), "two runs on the same file differ");
    runs.sort_by_key(|run| run.wall);
    Ok(runs.swap_remove(RUNS / 2))
}

/// Runs a program that prints JSON, and watches what it takes.
fn run(command: &mut Command, file: &Path) -> Result<Run> {
    let out = file.with_extension("out");
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(File::create(&out)?).spawn().context("it cannot be started")?;
    let (mut memory, mut processor) = (0, Duration::ZERO);
    let status = loop {
        // It may be gone by now.
        let usage = Consumption::of(child.id()).unwrap_or_default();
        (memory, processor) = (usage.peak.max(memory), usage.processor.max(processor));
        match child.try_wait()? {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let wall = start.elapsed();
    if !status.success() {
        bail!("`{}` failed: {status}", command.get_program().display());
    }
    let matrix = serde_json::from_slice(&fs::read(&out)?).context("it printed no JSON")?;
    Ok(Run { bytes: fs::metadata(file)?.len(), wall, processor, memory, matrix })
}

/// How many requests a matrix has, and in how many cells.
fn size(matrix: &Value) -> (u64, usize) {
    let cells = matrix.as_object();
    let requests = cells.map_or(0, |cells| cells.values().filter_map(Value::as_u64).sum());
    (requests, cells.map_or(0, serde_json::Map::len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let parsed = |typed: &[&str]| parse(&typed.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(parsed(&[]).expect("the default"), 1024);
        assert_eq!(parsed(&["--mib", "8"]).expect("a number"), 8);
        for typed in [&["lunch"][..], &["--mib"], &["--mib", "0"], &["--mib", "x"], &["report"]] {
            assert!(parsed(typed).expect_err("must be refused").is::<Usage>(), "{typed:?}");
        }
    }

    #[test]
    fn a_report_becomes_what_jq_prints() {
        let cell = |identity: Option<&str>, verb: &str, count: u64| serde_json::json!({"identity": identity, "who": "x", "endpoint": "pods", "access": "single", "verb": verb, "count": count});
        let document = serde_json::json!({"matrix": [cell(Some("a"), "get", 2), cell(Some("a"), "none", 3), cell(None, "get", 4)]});
        assert_eq!(matrix(&document), Some(serde_json::json!({"a pods single": 5, " pods single": 4})));
        assert_eq!(matrix(&serde_json::json!({})), None);
    }

    #[test]
    fn a_program_runs_somewhere() {
        assert!(processor().expect("Linux tells").parse::<u32>().is_ok());
    }
}
