//! `cargo xtask bench pure`: the parts that are values in and values out, each by itself.

use anyhow::Result;

use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::{build, project, setup};

const HELP: &str = "\
Usage: cargo xtask bench pure [NAME]

Runs the benches of agent/benches, compiled as the agent is shipped: planning of a real kubelet, decoding, judging and writing of events, RBAC
answers, reports. Criterion compares each with the last run. Takes two minutes.

Examples:
  cargo xtask bench pure
  cargo xtask bench pure judge
";

pub(super) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    if let [_, other, ..] = args {
        return Err(Usage::error(format!("`{other}` is not understood"), "cargo xtask bench pure --help"));
    }
    setup::for_build(&[Arch::Amd64])?;
    project::run(build::benches()?.args(["--bench", "pure", "--"]).args(args))
}
