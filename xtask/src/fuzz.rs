//! `cargo xtask fuzz`: hostile input for everything that reads what others wrote, found by libFuzzer.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use kubewitness_tests::figures::Figures;

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::consumption::Consumption;
use crate::progress::{note, step};
use crate::{build, project, setup};

const HELP: &str = "\
Usage: cargo xtask fuzz [--seconds COUNT] [--only TARGET] [--sanitizer]

Runs every target of fuzz/ in turn on one core, from the seeds in fuzz/seeds and from what earlier runs found (fuzz/corpus). Stops at an input
that panics, takes longer than 10 s or more than 512 MB; it is then in fuzz/artifacts/TARGET. Mend it, and put it into fuzz/seeds/TARGET:
`cargo test -p kubewitness --test fuzz` plays all of them.

Options:
  --seconds COUNT  how long in all, 300 if not given
  --only TARGET    this target alone
  --sanitizer      with AddressSanitizer: half as fast, and it sees into the unsafe code of dependencies

Examples:
  cargo xtask fuzz
  cargo xtask fuzz --only gobin --seconds 3600
";

/// `fuzz/fuzz_targets`, and the longest input that makes sense.
const TARGETS: [(&str, u32); 8] = [
    ("events", 16 << 10),
    ("gobin", 64 << 10),
    ("manifests", 16 << 10),
    ("plan", 64 << 10),
    ("prometheus", 16 << 10),
    ("rbac", 16 << 10),
    ("records", 32 << 10),
    ("uris", 4 << 10),
];

const FIGURES: Figures = Figures::of("docs/reliability-hostile.md", "fuzz");

struct Options {
    seconds: u64,
    only: Option<&'static str>,
    sanitizer: bool,
}

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let options = parse(args)?;
    setup::for_build(&[Arch::Amd64])?;
    let cargo_fuzz = setup::cargo_fuzz()?;
    // The agent's crate holds the kernel programs.
    build::programs()?;
    step("fuzz: the targets, with their counters; some minutes the first time", || compile(&cargo_fuzz, options.sanitizer))?;
    all(options.seconds, options.only)
}

/// Runs the targets that were compiled, one after the other, for so long in all.
fn all(seconds: u64, only: Option<&str>) -> Result<()> {
    let wanted: Vec<_> = TARGETS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    let each = (seconds / wanted.len() as u64).max(1);
    let mut spent = Duration::ZERO;
    for (name, longest) in wanted {
        let (time, runs) = step(&format!("fuzz: {name} for {each} s"), || run(name, *longest, each))?;
        note(&format!("{name:<11} {:>7.1} s of processor time, {runs} inputs", time.as_secs_f64()));
        FIGURES.row(&[*name, &format!("{each} s"), &format!("{:.1} s", time.as_secs_f64()), &runs]);
        spent += time;
    }
    note(&format!("in all      {:>7.1} s of processor time", spent.as_secs_f64()));
    Ok(())
}

fn parse(args: &[String]) -> Result<Options> {
    let wrong = |what: String| Usage::error(what, "cargo xtask fuzz --help");
    let mut options = Options { seconds: 300, only: None, sanitizer: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let count = args.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                options.seconds = count.ok_or_else(|| wrong("`--seconds` needs a number".into()))?;
            }
            "--only" => {
                let name = args.next().ok_or_else(|| wrong("`--only` needs the name of a target".into()))?;
                let known = TARGETS.iter().map(|(known, _)| *known).find(|known| known == name);
                options.only = Some(known.ok_or_else(|| wrong(format!("there is no target `{name}`")))?);
            }
            "--sanitizer" => options.sanitizer = true,
            other => return Err(wrong(format!("`{other}` is not understood"))),
        }
    }
    Ok(options)
}

/// cargo-fuzz wants unstable flags; the toolchain takes them where it is told that it may.
fn compile(cargo_fuzz: &Path, sanitizer: bool) -> Result<()> {
    let mut command = project::cargo(&["fuzz", "build", "--release", "--debug-assertions", "--target", HOST]);
    command.args(["--sanitizer", if sanitizer { "address" } else { "none" }]);
    project::run(command.env("RUSTC_BOOTSTRAP", "1").env("PATH", with_first(cargo_fuzz)?).current_dir(folder()))
}

/// The targets run here, not on the static binary's.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// PATH with the folder of a program at its beginning: cargo finds its subcommands there.
fn with_first(program: &Path) -> Result<OsString> {
    let first = program.parent().map(Path::to_path_buf);
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(first.into_iter().chain(std::env::split_paths(&rest))).context("PATH cannot be set")
}

fn folder() -> PathBuf {
    project::root().join("fuzz")
}

/// The processor time that it took, and how many inputs were tried.
fn run(name: &str, longest: u32, seconds: u64) -> Result<(Duration, String)> {
    let folder = folder();
    let (corpus, artifacts) = (folder.join("corpus").join(name), folder.join("artifacts").join(name));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let log_file = corpus.with_extension("log");
    let log = fs::File::create(&log_file).with_context(|| format!("cannot write {}", log_file.display()))?;
    let mut command = Command::new("nice");
    command.args(["-n", "15"]).arg(folder.join("target").join(HOST).join("release").join(name));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={longest}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-timeout=10", "-rss_limit_mb=512", "-print_final_stats=1"]).arg(&corpus).arg(folder.join("seeds").join(name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().context("`nice` cannot be started")?;
    let start = Instant::now();
    let mut time = Duration::ZERO;
    let status = loop {
        time = Consumption::of(child.id()).map_or(time, |usage| usage.processor.max(time));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // libFuzzer keeps its time unless an input hangs it, which its own limit ends.
        if start.elapsed() > Duration::from_secs(seconds + 120) {
            child.kill()?;
            child.wait()?;
            bail!("{name} does not end; see {}", log_file.display());
        }
        thread::sleep(Duration::from_millis(100));
    };
    let said = fs::read_to_string(&log_file).unwrap_or_default();
    if !status.success() {
        let why = said.lines().find(|line| line.contains("panicked at") || line.contains("ERROR:")).unwrap_or("see there");
        bail!(
            "{name} found an input that breaks it ({why}); it is in {}, and what was said in {}",
            artifacts.display(),
            log_file.display()
        );
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).unwrap_or("?").trim().to_owned();
    Ok((time, runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let parsed = |typed: &[&str]| parse(&typed.iter().map(ToString::to_string).collect::<Vec<_>>());
        let options = parsed(&["--only", "gobin", "--seconds", "60"]).expect("both are known");
        assert_eq!((options.only, options.seconds, options.sanitizer), (Some("gobin"), 60, false));
        for wrong in [&["--seconds", "0"][..], &["--seconds"], &["--only", "lunch"], &["now"]] {
            assert!(parsed(wrong).is_err_and(|error| error.is::<Usage>()), "{wrong:?}");
        }
    }

    #[test]
    fn each_target_has_a_program_and_seeds() {
        for (name, _) in TARGETS {
            assert!(folder().join("fuzz_targets").join(name).with_extension("rs").exists(), "{name}");
            assert!(fs::read_dir(folder().join("seeds").join(name)).expect("a folder").next().is_some(), "{name}");
        }
    }
}
