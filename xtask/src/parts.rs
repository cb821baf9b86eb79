//! Long runs made of parts: chosen by name, run one after the other whatever becomes of the others, and summed up.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::args::Usage;
use crate::progress::{note, seconds, step};
use crate::project;

/// A part of a run.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) what: &'static str,
    /// The test targets of the crate `tests` that show it; none if the command does it in another way.
    pub(crate) targets: &'static [&'static str],
}

/// The parts that `--only` names, all where it is not given; `None` where `--list` asks which there are. `help` is the command that says what
/// is understood.
pub(crate) fn chosen(parts: &'static [Part], args: &[String], help: &'static str) -> Result<Option<Vec<&'static Part>>> {
    let wrong = |what: String| Usage::error(what, help);
    let part_of = |name: &str| parts.iter().find(|part| part.name == name).ok_or_else(|| wrong(format!("there is no part `{name}`")));
    let mut wanted: Vec<&Part> = parts.iter().collect();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => return Ok(None),
            "--only" => {
                let names = args.next().ok_or_else(|| wrong("`--only` needs the names of parts".to_owned()))?;
                wanted = names.split(',').map(part_of).collect::<Result<_>>()?;
            }
            other => return Err(wrong(format!("`{other}` is not understood"))),
        }
    }
    Ok(Some(wanted))
}

/// A line for each part.
pub(crate) fn list(parts: &[Part]) -> String {
    let lines: Vec<String> = parts.iter().map(|Part { name, what, .. }| format!("{name:<12}{what}")).collect();
    lines.join("\n") + "\n"
}

/// Runs them all, also if one fails, and says in the end how each went.
pub(crate) fn run(command: &str, parts: &[&Part], work: impl Fn(&Part) -> Result<()>) -> Result<()> {
    let mut times: Vec<(&str, bool, Duration)> = Vec::new();
    for part in parts {
        let start = Instant::now();
        let result = step(&format!("{}: {}", part.name, part.what), || work(part));
        if let Err(error) = &result {
            note(&format!("{error:#}"));
        }
        times.push((part.name, result.is_ok(), start.elapsed()));
    }
    for (name, ok, time) in &times {
        note(&format!("{name:<12}{:<8}{:>9}", if *ok { "ok" } else { "FAILED" }, seconds(*time)));
    }
    match times.iter().filter(|(_, ok, _)| !ok).map(|(name, ..)| *name).collect::<Vec<_>>().as_slice() {
        [] => Ok(()),
        failed => bail!("{} failed; try again with `cargo xtask {command} --only {}`", failed.join(", "), failed.join(",")),
    }
}

/// Both forms of the tests of a part, and their figures go into `docs`. The clusters of a test share the processors of this machine with the
/// others, so one test runs at a time. `kubelets` are those of `KUBEWITNESS_E2E_KUBELETS`.
pub(crate) fn measure(part: &Part, kubelets: Option<&str>) -> Result<()> {
    for target in part.targets {
        let mut command = project::cargo(&["test", "-p", "kubewitness-tests", "--features", "kubewitness-tests/e2e", "--test", target]);
        command.env("KUBEWITNESS_FIGURES", "1").envs(kubelets.map(|wanted| ("KUBEWITNESS_E2E_KUBELETS", wanted)));
        project::run(command.args(["--", "--include-ignored", "--nocapture", "--test-threads", "1"]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [Part; 2] =
        [Part { name: "good", what: "it works", targets: &["a", "b"] }, Part { name: "bad", what: "it fails", targets: &[] }];

    #[test]
    fn one_that_fails_does_not_keep_the_others_from_their_turn() {
        let ran = std::cell::RefCell::new(Vec::new());
        let result = run("matrix", &[&PARTS[1], &PARTS[0]], |part| {
            ran.borrow_mut().push(part.name);
            anyhow::ensure!(!part.targets.is_empty(), "it fails");
            Ok(())
        });
        assert_eq!(*ran.borrow(), ["bad", "good"]);
        assert_eq!(result.expect_err("one failed").to_string(), "bad failed; try again with `cargo xtask matrix --only bad`");
    }

    #[test]
    fn a_list_has_a_line_for_each() {
        assert_eq!(list(&PARTS), "good        it works\nbad         it fails\n");
    }
}
