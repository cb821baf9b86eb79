//! `cargo xtask torture`: what goes wrong on a node, for hours, and the figures of it in `docs/`.

use std::time::Instant;

use anyhow::{Result, anyhow};

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::{note, seconds, step};
use crate::{build, fuzz, image, project};

const HELP: &str = "\
Usage: cargo xtask torture [--only PART[,PART…]] [--list]

Runs the long form of what `cargo xtask test` runs a short form of, one part after the other, and writes what it measured into docs/. Needs
root and Go, and a machine that nobody else uses. A part that fails does not keep the others from their turn.

Options:
  --only PART  these parts alone
  --list       show the parts
";

/// A part: its name, what it does, and the test targets of the crate `tests` that it is; none is `cargo xtask fuzz`.
type Part = (&'static str, &'static str, &'static [&'static str]);

const PARTS: &[Part] = &[
    ("faults", "kubelet and agent restarted, killed, upgraded, stopped, out of memory, without a disk, without an API server", &["faults"]),
    ("selfcheck", "the agent is blinded: probes, tracepoint, loop, and the kubelet's own counters", &["selfcheck"]),
    ("hostile", "impostors, injection, crafted executables, the agent's own port, secrets", &["hostile"]),
    ("floods", "10,000 execs under a flood, what overflows, what is refused, what is never the same twice", &["floods"]),
    ("fuzz", "hostile input for everything that reads what others wrote, for five minutes", &[]),
];

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let Some(wanted) = parse(args)? else {
        for (name, what, _) in PARTS {
            note(&format!("{name:<10} {what}"));
        }
        return Ok(());
    };
    build::all(Arch::Amd64)?;
    image::of_what_is_built()?;
    let mut failed = Vec::new();
    for (name, what, targets) in wanted {
        let begun = Instant::now();
        let result = step(&format!("{name}: {what}"), || {
            if targets.is_empty() { fuzz::command(&[]) } else { targets.iter().try_for_each(|target| run(target)) }
        });
        note(&format!("{name:<10} {:<7} {:>9}", if result.is_ok() { "ok" } else { "FAILED" }, seconds(begun.elapsed())));
        failed.extend(result.err().map(|error| format!("{name}: {error:#}")));
    }
    if failed.is_empty() { Ok(()) } else { Err(anyhow!("failed: {}", failed.join("; "))) }
}

/// Both forms of a test target: the short one first, so that what is wrong is known soon.
fn run(target: &str) -> Result<()> {
    let mut command = project::cargo(&["test", "-p", "kubewitness-tests", "--features", "kubewitness-tests/e2e", "--test", target]);
    command.env("KUBEWITNESS_FIGURES", "1").env("KUBEWITNESS_E2E_KUBELETS", "1.36").env("KUBEWITNESS_LONG", "1");
    project::run(command.args(["--", "--include-ignored", "--nocapture", "--test-threads", "1"]))
}

/// The parts that are asked for; `None` where they are only to be shown.
fn parse(args: &[String]) -> Result<Option<Vec<&'static Part>>> {
    let wrong = |what: String| Usage::error(what, "cargo xtask torture --help");
    let mut wanted: Vec<&Part> = PARTS.iter().collect();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => return Ok(None),
            "--only" => {
                let names = args.next().ok_or_else(|| wrong("`--only` needs the name of a part".into()))?;
                let part =
                    |name: &str| PARTS.iter().find(|(known, ..)| *known == name).ok_or_else(|| wrong(format!("there is no part `{name}`")));
                wanted = names.split(',').map(part).collect::<Result<_>>()?;
            }
            other => return Err(wrong(format!("`{other}` is not understood"))),
        }
    }
    Ok(Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_or_those_that_are_named() {
        let names = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
            parse(&typed).map(|parts| parts.map(|parts| parts.iter().map(|(name, ..)| *name).collect::<Vec<_>>()))
        };
        assert_eq!(names(&[]).expect("all").expect("parts").len(), PARTS.len());
        assert_eq!(names(&["--only", "floods,faults"]).expect("both are known"), Some(vec!["floods", "faults"]));
        assert_eq!(names(&["--list"]).expect("known"), None);
        assert!(names(&["--only", "lunch"]).is_err() && names(&["--only"]).is_err() && names(&["lunch"]).is_err());
    }
}
