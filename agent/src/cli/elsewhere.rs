//! What stands for a command that watches a kubelet, on a system where there is none.

use std::{env::consts::OS, ffi::OsString, process::ExitCode};

use anyhow::{Result, bail};
use clap::Parser;

/// Only on Linux, where a kubelet is
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Whatever the command takes where it works, so that it is this that is told.
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<OsString>,
}

pub(super) fn run(_: Args) -> Result<ExitCode> {
    bail!(
        "this command watches the kubelet of a Linux node, and this is {OS}: run it on the node; `rbac`, `report` and `doctor` work here too"
    )
}
