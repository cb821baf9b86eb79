//! `cargo xtask miri`: what reads bytes, run by an interpreter that sees undefined behaviour, also in the crates that it uses.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::args;
use crate::progress::step;
use crate::project;

const HELP: &str = "\
Usage: cargo xtask miri

Runs the seeds of fuzz/ that need no kernel, no socket and no C through Miri: executables, records, request targets. Miri comes with the nightly
toolchain alone, which rustup installs if it is not there.

Examples:
  cargo xtask miri
";

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    args::none(args, "cargo xtask miri --help")?;
    step("miri: the nightly toolchain with Miri", toolchain)?;
    step("miri: the seeds; about 2 minutes the first time", || {
        let mut command = Command::new("rustup");
        // It is older than the toolchain that the agent is built with, and what it compiles here does not mind.
        command.args(["run", "nightly", "cargo", "miri", "test", "--ignore-rust-version"]);
        command.current_dir(project::root().join("fuzz/miri")).env("MIRIFLAGS", "-Zmiri-disable-isolation");
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
            command.env_remove(name);
        }
        project::run(&mut command)
    })
}

fn toolchain() -> Result<()> {
    let has_miri = |list: String| ["miri", "rust-src"].iter().all(|part| list.lines().any(|line| line.starts_with(part)));
    let installed = project::answer(Command::new("rustup").args(["component", "list", "--installed", "--toolchain", "nightly"]));
    if installed.is_ok_and(has_miri) {
        return Ok(());
    }
    let install = ["toolchain", "install", "nightly", "--profile", "minimal", "--no-self-update", "-c", "miri", "-c", "rust-src"];
    project::run(Command::new("rustup").args(install)).context("there is no nightly toolchain with Miri for this machine")
}
