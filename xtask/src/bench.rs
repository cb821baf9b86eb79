//! `cargo xtask bench`: figures that the documentation promises, measured.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::args::{self, Usage};
use crate::progress::{note, step};
use crate::{build, project, setup};

const HELP: &str = "\
Usage: cargo xtask bench report [--mib N]

Makes up events, the same at each run, and measures how fast the matrix identity x endpoint x access is made of them: by kubewitness from
all of them, and by jq from an eighth, both without counting an event twice. Fails if the two disagree, if kubewitness makes less than
300 MB/s of processor time, or if it is less than 20 times as fast as jq. Needs jq.

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

/// Megabytes a second of processor time.
const WANTED_SPEED: f64 = 300.0;
const WANTED_RATIO: f64 = 20.0;

/// Other work on the machine only ever slows a run down, so the fastest of a few is the truest.
const RUNS: usize = 3;

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let mib = parse(args)?;
    ensure!(project::answer(Command::new("jq").arg("--version")).is_ok(), "jq is not installed, and this is a race against it: install it");
    setup::for_build()?;
    let examples = step("bench: build", build::examples)?;
    let folder = project::root().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (whole, part) = (folder.join("events.jsonl"), folder.join("events-part.jsonl"));
    step("bench: make up events", || make(&examples, mib, &whole).and_then(|()| make(&examples, mib.div_ceil(8), &part)))?;
    let ours = |file: &Path| run(Command::new(examples.join("matrix")).arg(file), file);
    let all = step("bench: kubewitness on all of it", || best(|| ours(&whole)))?;
    let own = step("bench: kubewitness on the part", || best(|| ours(&part)))?;
    let jq = step("bench: jq on the part", || best(|| run(Command::new("jq").args(["-nc", JQ]).arg(&part), &part)))?;
    for (who, run) in [("kubewitness, all", &all), ("kubewitness, part", &own), ("jq, part", &jq)] {
        note(&format!("{who:<18} {run}"));
    }
    ensure!(own.matrix == jq.matrix, "the two matrices differ: compare `matrix` and jq on {}", part.display());
    let ratio = all.speed() / jq.speed();
    let (requests, cells) = size(&all.matrix);
    note(&format!(
        "{requests} requests in {cells} cells; jq's matrix is the same, made {ratio:.1} times slower (jq of the part, ours of all)"
    ));
    ensure!(all.speed_of_a_core() >= WANTED_SPEED, "{:.0} MB/s are less than the {WANTED_SPEED} promised", all.speed_of_a_core());
    ensure!(ratio >= WANTED_RATIO, "{ratio:.1} times as fast as jq is less than the {WANTED_RATIO} promised");
    Ok(())
}

fn parse(args: &[String]) -> Result<u64> {
    let wrong = |what: String| Usage::error(what, "cargo xtask bench --help");
    let ["report", options @ ..] = &*args.iter().map(String::as_str).collect::<Vec<_>>() else {
        return Err(wrong("what shall be measured? `report` is all there is".into()));
    };
    match options {
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

    /// What one processor does, however many worked.
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

fn best(mut run: impl FnMut() -> Result<Run>) -> Result<Run> {
    let mut best = run()?;
    for _ in 1..RUNS {
        let next = run()?;
        ensure!(next.matrix == best.matrix, "two runs on the same file differ");
        if next.wall < best.wall {
            best = next;
        }
    }
    Ok(best)
}

/// Runs a program that prints a matrix, and watches what it takes.
fn run(command: &mut Command, file: &Path) -> Result<Run> {
    let out = file.with_extension("out");
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(File::create(&out)?).spawn().context("it cannot be started")?;
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let (mut memory, mut processor) = (0, Duration::ZERO);
    let status = loop {
        memory = peak_memory(&process).unwrap_or(0).max(memory);
        processor = processor_time(&process).unwrap_or_default().max(processor);
        match child.try_wait()? {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let wall = start.elapsed();
    if !status.success() {
        bail!("`{}` failed: {status}", command.get_program().display());
    }
    let matrix = serde_json::from_slice(&fs::read(&out)?).context("it printed no matrix")?;
    Ok(Run { bytes: fs::metadata(file)?.len(), wall, processor, memory, matrix })
}

/// `VmHWM` of `/proc/PID/status`, in bytes.
fn peak_memory(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? * 1024)
}

/// `utime` and `stime` of `/proc/PID/stat`, which is in hundredths of a second on Linux whatever the kernel's own clock (proc(5)).
fn processor_time(process: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name in parentheses may hold anything; `state` follows it, and is the third field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
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
        assert_eq!(parsed(&["report"]).expect("the default"), 1024);
        assert_eq!(parsed(&["report", "--mib", "8"]).expect("a number"), 8);
        for typed in [&[][..], &["lunch"], &["report", "--mib"], &["report", "--mib", "0"], &["report", "--mib", "x"], &["report", "now"]] {
            assert!(parsed(typed).expect_err("must be refused").is::<Usage>(), "{typed:?}");
        }
    }

    #[test]
    fn a_process_tells_what_it_takes() {
        let own = Path::new("/proc/self");
        assert!(peak_memory(own).expect("VmHWM") > 100_000);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) || processor_time(own).expect("times") < Duration::from_millis(20) {
            std::hint::black_box(start);
        }
    }
}
