//! `cargo xtask portable`: what of the agent is for every system, checked and built for macOS and Windows.
//!
//! Only `rbac` and `report` are; what watches a kubelet is for Linux. A crate of theirs holds C, and one C compiler serves both systems: zig, which
//! brings the headers of each. It and `cargo-zigbuild`, which hands it to cargo, come from `PyPI` as they are.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::args::{self, Usage};
use crate::progress::{note, step};
use crate::project::{self, TOOLCHAIN};
use crate::stamp;

const HELP: &str = "\
Usage: cargo xtask portable [--build]

Checks with clippy that `rbac` and `report` compile for macOS (aarch64-apple-darwin) and Windows (x86_64-pc-windows-gnu). Puts the targets'
standard libraries and a C compiler for them (zig, with cargo-zigbuild, from PyPI: needs python3 with venv, 440 MB) in place first.

Options:
  --build  also link target/x86_64-pc-windows-gnu/release/kubewitness.exe, and run both commands with wine if it is installed. Linking for
           macOS takes Apple's SDK, so for macOS it stays at the check

Examples:
  cargo xtask portable
  cargo xtask portable --build
";

const MACOS: &str = "aarch64-apple-darwin";
const WINDOWS: &str = "x86_64-pc-windows-gnu";

/// The compiler and what hands it to cargo, as `pip` names them.
const TOOLS: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.1"];

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let build = match args {
        [] => false,
        [option] if option == "--build" => true,
        [other, ..] => return Err(Usage::error(format!("`{other}` is not understood"), "cargo xtask portable --help")),
    };
    let tools = tools()?;
    step("portable: the standard libraries", || {
        project::run(Command::new("rustup").args(["target", "add", "--toolchain", TOOLCHAIN, MACOS, WINDOWS]))
    })?;
    for target in [MACOS, WINDOWS] {
        step(&format!("portable: clippy for {target}"), || {
            project::run(zigbuild(&tools, "clippy", target)?.args(["--", "-D", "warnings"]))
        })?;
    }
    if build {
        step("portable: kubewitness.exe", || link(&tools))?;
        try_with_wine(&tools)?;
    }
    Ok(())
}

/// The folder of the tools' programs; they are installed if they are not there.
fn tools() -> Result<PathBuf> {
    let folder = project::cache()?.join("tools/portable");
    let programs = folder.join("bin");
    let pip = || Command::new(programs.join("pip"));
    let installed = project::answer(pip().args(["freeze", "--disable-pip-version-check"])).unwrap_or_default();
    if !TOOLS.iter().all(|tool| installed.lines().any(|line| line == *tool)) {
        step("setup: zig and cargo-zigbuild", || {
            let made = project::run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            made.context("there is no python3 with venv: install python3-venv")?;
            project::run(pip().args(["install", "--quiet", "--disable-pip-version-check"]).args(TOOLS))
        })?;
    }
    Ok(programs)
}

/// A subcommand of cargo on the agent alone, with zig for what is C.
fn zigbuild(tools: &Path, subcommand: &str, target: &str) -> Result<Command> {
    let mut path = OsString::from(tools);
    path.push(":");
    path.push(env::var_os("PATH").context("PATH is not set")?);
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN, "cargo-zigbuild", subcommand, "--package", "kubewitness", "--target", target]);
    command.current_dir(project::root()).env("PATH", path);
    // As `project::cargo` does it.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    Ok(command)
}

fn link(tools: &Path) -> Result<()> {
    project::run(zigbuild(tools, "zigbuild", WINDOWS)?.env_remove("KUBEWITNESS_COMMIT").arg("--release"))?;
    let program = folder().join("kubewitness.exe");
    let built = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    // What cargo links anew only if something changed has its commit already.
    let Ok(stamped) = stamp::with_commit(built, &project::commit()) else { return Ok(()) };
    fs::write(&program, stamped).with_context(|| format!("cannot write {}", program.display()))
}

/// Where cargo puts the program for Windows.
fn folder() -> PathBuf {
    project::root().join("target").join(WINDOWS).join("release")
}

/// What the program is asked, a part of its answer, and how it ends.
const ASKED: [(&[&str], &str, i32); 4] = [
    (&["--version"], "kernel programs  none", 0),
    (&["rbac", "--fail-on", "critical", "agent/tests/manifests"], "node-agent", 3),
    (&["report", "fuzz/seeds/events/lines"], "nodes/proxy", 0),
    (&["run", "--node-name", "here"], "run it on the node", 1),
];

/// What Rust asks Windows for random bytes with, which Debian's wine (8.0) does not have: made of what it has.
const RANDOM: &str = "\
#include <stddef.h>
__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *data, unsigned long length);
__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *data, size_t length) {
    return SystemFunction036(data, (unsigned long)length);
}
";

/// Runs the program for Windows, if there is something to run it with.
fn try_with_wine(tools: &Path) -> Result<()> {
    if project::answer(Command::new("wine").arg("--version")).is_err() {
        note("wine is not installed: the program for Windows was built and not run");
        return Ok(());
    }
    let folder = folder();
    fs::write(folder.join("random.c"), RANDOM).context("the folder of the program cannot be written to")?;
    let mut zig = Command::new(tools.join("python-zig"));
    zig.args(["cc", "-target", "x86_64-windows-gnu", "-shared", "-o", "bcryptprimitives.dll", "random.c", "-ladvapi32"]);
    project::run(zig.current_dir(&folder))?;
    for (words, expected, status) in ASKED {
        step(&format!("portable: kubewitness.exe {}", words.join(" ")), || {
            let mut command = Command::new("wine");
            command.arg(folder.join("kubewitness.exe")).args(words).current_dir(project::root());
            command.env("WINEDEBUG", "-all").env("WINEPREFIX", folder.join("wine"));
            let output = command.output().context("wine cannot be started")?;
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            ensure!(output.status.code() == Some(status) && said.contains(expected), "it ended with {} and said: {said}", output.status);
            Ok(())
        })?;
    }
    Ok(())
}
