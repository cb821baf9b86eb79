//! `cargo xtask torture`: what goes wrong on a node, for hours, and the figures of it in `docs/`.

use anyhow::Result;

use crate::arch::Arch;
use crate::args;
use crate::parts::{self, Part};
use crate::{build, fuzz, image};

const HELP: &str = "\
Usage: cargo xtask torture [--only PART[,PART…]] [--list]

Runs the long form of what `cargo xtask test` runs a short form of, one part after the other, and writes what it measured into docs/. Needs
root and Go, and a machine that nobody else uses. A part that fails does not keep the others from their turn.

Options:
  --only PART  these parts alone
  --list       show the parts
";

/// The one without a test target is `cargo xtask fuzz`.
const PARTS: &[Part] = &[
    Part {
        name: "faults",
        what: "kubelet and agent restarted, killed, upgraded, stopped, out of memory, without a disk, without an API server",
        targets: &["faults"],
    },
    Part {
        name: "selfcheck",
        what: "the agent is blinded: probes, tracepoint, loop, and the kubelet's own counters",
        targets: &["selfcheck"],
    },
    Part {
        name: "hostile",
        what: "impostors, injection, crafted executables, the agent's own port, secrets, the report's page in a browser",
        targets: &["hostile", "page"],
    },
    Part {
        name: "floods",
        what: "10,000 execs under a flood, what overflows, what is refused, what is never the same twice",
        targets: &["floods"],
    },
    Part { name: "fuzz", what: "hostile input for everything that reads what others wrote, for five minutes", targets: &[] },
];

const OWN_HELP: &str = "cargo xtask torture --help";

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let Some(wanted) = parts::chosen(PARTS, args, OWN_HELP)? else {
        args::print(&parts::list(PARTS));
        return Ok(());
    };
    build::all(Arch::Amd64)?;
    image::of_what_is_built()?;
    parts::run("torture", &wanted, |part| if part.targets.is_empty() { fuzz::command(&[]) } else { parts::measure(part, Some("1.36")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_or_those_that_are_named() {
        let names = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(ToString::to_string).collect();
            parts::chosen(PARTS, &typed, OWN_HELP).map(|parts| parts.map(|parts| parts.iter().map(|part| part.name).collect::<Vec<_>>()))
        };
        assert_eq!(names(&[]).expect("all").expect("parts").len(), PARTS.len());
        assert_eq!(names(&["--only", "floods,faults"]).expect("both are known"), Some(vec!["floods", "faults"]));
        assert_eq!(names(&["--list"]).expect("known"), None);
        assert!(names(&["--only", "lunch"]).is_err() && names(&["--only"]).is_err() && names(&["lunch"]).is_err());
    }
}
