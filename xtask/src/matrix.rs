//! `cargo xtask matrix`: every kubelet, in every way that it is built, set up and run; writes the figures of `docs/compatibility.md`.

use anyhow::Result;

use crate::arch::Arch;
use crate::args;
use crate::parts::{self, Part};
use crate::progress::step;
use crate::{build, setup};

const PARTS: &[Part] = &[
    Part { name: "plans", what: "where each kubelet would be probed, in every shape, and what planning costs", targets: &["matrix_plans"] },
    Part {
        name: "kubelets",
        what: "every endpoint, by everybody, on each kubelet: every event, field by field, and its count",
        targets: &["matrix_kubelets"],
    },
    Part { name: "modes", what: "the ways a kubelet can be set up", targets: &["modes"] },
    Part { name: "multicall", what: "API server and kubelet in one process", targets: &["multicall"] },
    Part { name: "containers", what: "a kubelet in a container, and one whose file is gone", targets: &["containers"] },
    Part { name: "kernels", what: "Debian's kernels of three series in virtual machines", targets: &["kernels"] },
    Part { name: ARM64, what: "the agent for arm64 on three kernels, and the plans of kubelets", targets: &["arm64"] },
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

const OWN_HELP: &str = "cargo xtask matrix --help";

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let Some(wanted) = parts::chosen(PARTS, args, OWN_HELP)? else {
        args::print(&parts::list(PARTS));
        return Ok(());
    };
    step("build: the static binary", || build::all(Arch::Amd64))?;
    if wanted.iter().any(|part| part.name == ARM64) {
        setup::for_build(&[Arch::Arm64])?;
        build::all(Arch::Arm64)?;
    }
    parts::run("matrix", &wanted, |part| parts::measure(part, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Usage;
    use crate::project;

    fn parsed(typed: &[&str]) -> Result<Vec<&'static str>> {
        let args: Vec<_> = typed.iter().map(ToString::to_string).collect();
        parts::chosen(PARTS, &args, OWN_HELP).map(|parts| parts.expect("they are not to be listed").iter().map(|part| part.name).collect())
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
        for part in PARTS {
            for target in part.targets {
                assert!(manifest.contains(&format!("name = \"{target}\"")), "{}", part.name);
            }
        }
    }
}
