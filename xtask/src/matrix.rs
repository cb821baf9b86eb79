//! `cargo xtask matrix`: every kubelet, in every way that it is built, set up and run; writes the figures of `docs/compatibility.md`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::{note, seconds, step};
use crate::{build, project, setup};

/// A part: its name, what it shows, and the test target of `tests/` that shows it.
type Part = (&'static str, &'static str, &'static str);

const PARTS: &[Part] = &[
    ("plans", "where each kubelet would be probed, in every shape, and what planning costs", "matrix_plans"),
    ("kubelets", "every endpoint, by everybody, on each kubelet: every event, field by field, and its count", "matrix_kubelets"),
    ("modes", "the ways a kubelet can be set up", "modes"),
    ("multicall", "API server and kubelet in one process", "multicall"),
    ("containers", "a kubelet in a container, and one whose file is gone", "containers"),
    ("kernels", "Debian's kernels of three series in virtual machines", "kernels"),
    (ARM64, "the agent for arm64 on three kernels, and the plans of kubelets", "arm64"),
];

/// The part that wants an agent for another machine.
const ARM64: &str = "arm64";

const HELP: &str = "\
Usage: cargo xtask matrix [--only PART,…] [--list]

Runs the parts one after the other, all of them also if one fails, and writes what they measured into docs/compatibility.md.
What is not built yet is built: the first run compiles twenty kubelets and takes hours, a later one takes about half an hour. Needs root.

Options:
  --only PART,…  these parts alone
  --list         say which parts there are

KUBEWITNESS_E2E_KUBELETS names the kubelets of the parts `plans` and `kubelets`, all of the matrix if it is not set.

Examples:
  cargo xtask matrix --list
  cargo xtask matrix --only plans,modes
  KUBEWITNESS_E2E_KUBELETS=1.35,1.36.3-go1.26.8-pie cargo xtask matrix --only kubelets
";

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    if args.iter().any(|arg| arg == "--list") {
        let lines = PARTS.iter().map(|(name, what, _)| format!("{name:<12}{what}\n"));
        args::print(&lines.collect::<String>());
        return Ok(());
    }
    let wanted = parse(args)?;
    step("build: the static binary", || build::all(Arch::Amd64))?;
    if wanted.iter().any(|(name, ..)| *name == ARM64) {
        setup::for_build(&[Arch::Arm64])?;
        build::all(Arch::Arm64)?;
    }
    let mut times: Vec<(&str, bool, Duration)> = Vec::new();
    for (name, what, target) in &wanted {
        let start = Instant::now();
        let result = step(&format!("{name}: {what}"), || run(target));
        if let Err(error) = &result {
            note(&format!("{error:#}"));
        }
        times.push((name, result.is_ok(), start.elapsed()));
    }
    for (name, ok, time) in &times {
        note(&format!("{name:<12}{:<8}{:>9}", if *ok { "ok" } else { "FAILED" }, seconds(*time)));
    }
    match times.iter().filter(|(_, ok, _)| !ok).map(|(name, ..)| *name).collect::<Vec<_>>().as_slice() {
        [] => Ok(()),
        failed => bail!("{} failed; try again with `cargo xtask matrix --only {}`", failed.join(", "), failed.join(",")),
    }
}

fn parse(args: &[String]) -> Result<Vec<&'static Part>> {
    let wrong = |what: String| Usage::error(what, "cargo xtask matrix --help");
    let part = |name: &str| PARTS.iter().find(|(known, ..)| *known == name).ok_or_else(|| wrong(format!("there is no part `{name}`")));
    match args {
        [] => Ok(PARTS.iter().collect()),
        [only, names] if only == "--only" => names.split(',').map(part).collect(),
        [only] if only == "--only" => Err(wrong("`--only` needs the names of parts".to_owned())),
        [first, ..] => Err(wrong(format!("`{first}` is not understood"))),
    }
}

/// The clusters of a test share the processors of this machine with the others, so one test runs at a time.
fn run(target: &str) -> Result<()> {
    let mut command = project::cargo(&["test", "-p", "kubewitness-tests", "--features", "kubewitness-tests/e2e", "--test", target]);
    command.env("RUST_TEST_THREADS", "1").env("KUBEWITNESS_FIGURES", "1").env("KUBEWITNESS_LONG", "1");
    project::run(command.args(["--", "--include-ignored", "--nocapture"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(typed: &[&str]) -> Result<Vec<&'static str>> {
        let args: Vec<_> = typed.iter().map(ToString::to_string).collect();
        parse(&args).map(|parts| parts.into_iter().map(|(name, ..)| *name).collect())
    }

    #[test]
    fn parts_are_named_or_all() {
        assert_eq!(parsed(&[]).expect("all").len(), PARTS.len());
        assert_eq!(parsed(&["--only", "modes,plans"]).expect("both are known"), ["modes", "plans"]);
        for typed in [&["--only"][..], &["--only", "lunch"], &["plans"]] {
            assert!(parsed(typed).expect_err("must be refused").is::<Usage>(), "{typed:?}");
        }
    }

    #[test]
    fn every_part_is_a_test_target() {
        let manifest = std::fs::read_to_string(project::root().join("tests/Cargo.toml")).expect("the tests' manifest");
        for (name, _, target) in PARTS {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{name}");
        }
    }
}
