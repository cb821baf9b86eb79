//! `cargo xtask test`: all that is checked before a change is taken, in the order in which a mistake is cheapest to find.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::{note, seconds, step};
use crate::project::{self, TOOLCHAIN};
use crate::{book, build, image, setup};

const HELP: &str = "\
Usage: cargo xtask test [--long] [--only STEP]

Runs the steps setup, fmt, build, clippy, doc, book, deny, unit and e2e, and stops at the first that fails.

Options:
  --long       sixteen times the cases of every property, real kubelets of three releases instead of one, 10,000 questions to a
               real API server instead of 500, a fleet of 5,000 nodes, and what is measured for docs/. For the rest that takes
               long see `cargo xtask matrix` and `cargo xtask torture`
  --only STEP  this step alone

Examples:
  cargo xtask test
  cargo xtask test --only unit --long
";

/// A step: its name, what it does, and the work.
type Step = (&'static str, &'static str, fn(&Options) -> Result<()>);

const STEPS: &[Step] = &[
    ("setup", "the toolchain and the tools", |_| setup::all()),
    ("fmt", "the formatting", |_| project::run(&mut project::cargo(&["fmt", "--all", "--check"]))),
    ("build", "the static binary", |_| build::all(Arch::Amd64)),
    ("clippy", "the lints, of the agent and of the kernel programs", |_| clippy()),
    ("doc", "the documentation of the code", |_| doc()),
    ("book", "the pages in docs as a book, and every link in it", |_| book::build(false)),
    ("deny", "licences, sources and advisories of the dependencies", |_| deny()),
    ("unit", "the tests that need no root", unit),
    ("e2e", "the agent beside real kubelets; needs root", e2e),
];

struct Options {
    long: bool,
    only: Option<&'static str>,
}

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let options = parse(args)?;
    let wanted: Vec<&Step> = STEPS.iter().filter(|(name, ..)| options.only.is_none_or(|only| only == *name)).collect();
    let mut times = Vec::new();
    let mut failed = None;
    for (name, what, work) in &wanted {
        let start = Instant::now();
        let result = step(&format!("{name}: {what}"), || work(&options));
        times.push((*name, result.is_ok(), start.elapsed()));
        if let Err(error) = result {
            failed = Some(anyhow!("the step {name} failed: {error:#}; try again with `cargo xtask test --only {name}`"));
            break;
        }
    }
    if wanted.len() > 1 {
        table(&wanted, &times);
    }
    failed.map_or(Ok(()), Err)
}

fn parse(args: &[String]) -> Result<Options> {
    let wrong = |what: String| Usage::error(what, "cargo xtask test --help");
    let mut options = Options { long: false, only: None };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--long" => options.long = true,
            "--only" => {
                let name = args.next().ok_or_else(|| wrong("`--only` needs the name of a step".into()))?;
                let known = STEPS.iter().map(|(known, ..)| *known).find(|known| known == name);
                options.only = Some(known.ok_or_else(|| wrong(format!("there is no step `{name}`")))?);
            }
            other => return Err(wrong(format!("`{other}` is not understood"))),
        }
    }
    Ok(options)
}

fn table(wanted: &[&Step], times: &[(&str, bool, Duration)]) {
    for (name, what, _) in wanted {
        match times.iter().find(|(ran, ..)| ran == name) {
            Some((_, ok, time)) => note(&format!("{name:<7} {:<8} {:>9}  {what}", if *ok { "ok" } else { "FAILED" }, seconds(*time))),
            None => note(&format!("{name:<7} {:<8} {:>9}  {what}", "not run", "")),
        }
    }
}

/// A cargo command on all crates but the kernel programs.
fn on_host(subcommand: &str) -> Command {
    project::cargo(&[subcommand, "--workspace", "--exclude", "kubewitness-ebpf"])
}

fn clippy() -> Result<()> {
    project::run(on_host("clippy").args(["--all-targets", "--features", E2E, "--", "-D", "warnings"]))?;
    // What Miri runs takes modules of the agent by their paths, and notices late what they need.
    project::run(project::cargo(&["check", "--quiet", "--tests"]).current_dir(project::root().join("fuzz/miri")))?;
    project::run(build::bpf_cargo(&build::Place::here()?, "clippy", Arch::Amd64)?.args(["--features", "bench", "--", "-D", "warnings"]))
}

fn doc() -> Result<()> {
    project::run(on_host("doc").arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))
}

/// The advisories are a repository on GitHub: where that cannot be reached the rest is checked all the same.
fn deny() -> Result<()> {
    if advisories_are_here()? {
        return project::run(cargo_deny()?.args(["check", "--disable-fetch"]));
    }
    note("the advisories are not checked: their database (github.com/RustSec/advisory-db) cannot be reached from here");
    project::run(cargo_deny()?.args(["check", "licenses", "bans", "sources"]))
}

/// Brings the advisory database up to date, if that can be done within a minute.
fn advisories_are_here() -> Result<bool> {
    let mut fetch = cargo_deny()?;
    fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = fetch.spawn().context("cargo-deny cannot be started: run `cargo xtask setup`")?;
    succeeds_within(child, Duration::from_secs(60))
}

fn succeeds_within(mut child: Child, limit: Duration) -> Result<bool> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// cargo-deny, told which toolchain's cargo it shall ask.
fn cargo_deny() -> Result<Command> {
    let mut command = Command::new(project::tool("cargo-deny")?);
    command.args(["--workspace", "--log-level", "warn"]).current_dir(project::root());
    command.env("RUSTUP_TOOLCHAIN", TOOLCHAIN).env_remove("CARGO");
    Ok(command)
}

fn unit(options: &Options) -> Result<()> {
    let mut command = on_host("test");
    if options.long {
        command.env("PROPTEST_CASES", "4096");
    }
    project::run(&mut command)
}

/// What turns the tests on real clusters on.
const E2E: &str = "kubewitness-tests/e2e";

/// The targets whose tests that take long belong to `--long`; those of the others are run by `cargo xtask matrix` and `torture`.
const LONG: [&str; 4] = ["alerts", "front", "prometheus", "sinks"];

/// The clusters of a test share the processors of this machine with the others, so one test runs at a time. One that fails does not keep the
/// others from their turn: each round takes a quarter of an hour.
fn e2e(options: &Options) -> Result<()> {
    build::all(Arch::Amd64)?;
    image::of_what_is_built()?;
    let kubelets = if options.long { "1.30,1.36,1.37" } else { "1.36" };
    let mut command = project::cargo(&["test", "--no-fail-fast", "-p", "kubewitness-tests", "--features", E2E]);
    command.env("KUBEWITNESS_E2E_KUBELETS", kubelets).env("RUST_TEST_THREADS", "1");
    if !options.long {
        return project::run(&mut command);
    }
    project::run(command.env("KUBEWITNESS_LONG", "1"))?;
    let mut command = project::cargo(&["test", "-p", "kubewitness-tests", "--features", E2E]);
    command.env("KUBEWITNESS_E2E_KUBELETS", kubelets).env("KUBEWITNESS_LONG", "1").args(LONG.iter().flat_map(|target| ["--test", target]));
    project::run(command.args(["--", "--ignored", "--test-threads", "1"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(typed: &[&str]) -> Result<Options> {
        parse(&typed.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        let options = parsed(&["--long", "--only", "deny"]).expect("both are known");
        assert!(options.long);
        assert_eq!(options.only, Some("deny"));
        let options = parsed(&[]).expect("none is needed");
        assert!(!options.long);
        assert_eq!(options.only, None);
    }

    #[test]
    fn help_names_every_step_in_order() {
        let names: Vec<&str> = STEPS.iter().map(|(name, ..)| *name).collect();
        let (last, first) = names.split_last().expect("there are steps");
        assert!(HELP.contains(&format!("{} and {last}", first.join(", "))));
    }

    #[test]
    fn a_fetch_that_hangs_is_given_up() {
        let within =
            |script: &str, limit| succeeds_within(Command::new("sh").args(["-c", script]).spawn().expect("sh"), limit).expect("waited");
        assert!(within("exit 0", Duration::from_secs(10)));
        assert!(!within("exit 1", Duration::from_secs(10)));
        assert!(!within("exec sleep 60", Duration::from_millis(100)));
    }
}
