//! `cargo xtask setup`: the toolchain and the tools, each put in place once.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::progress::{note, step};
use crate::project::{self, TOOLCHAIN};
use crate::{args, machine};

const HELP: &str = "\
Usage: cargo xtask setup

Puts in place, unless they are there: the project's Rust toolchain with rust-src, clippy, rustfmt and the musl targets (through
rustup), bpf-linker, cargo-deny and mdBook (through cargo, in ~/.cache/kubewitness/tools, or under KUBEWITNESS_CACHE). Says what else to
install to build for arm64. The other commands do the part of this that they need, so there is seldom a reason to call it.

Examples:
  cargo xtask setup
  KUBEWITNESS_CACHE=/var/cache/kubewitness cargo xtask setup
";

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    args::none(args, "cargo xtask setup --help")?;
    all()?;
    toolchain(&Arch::ALL)?;
    if let Err(missing) = machine::compiler_for_arm64() {
        note(&format!("to build for arm64: {missing:#}"));
    }
    for missing in [machine::root(), machine::go(), machine::kernel()].into_iter().filter_map(Result::err) {
        note(&format!("to run the agent or a cluster on this machine: {missing:#}"));
    }
    Ok(())
}

/// Whatever any command needs.
pub(crate) fn all() -> Result<()> {
    for_build(&[Arch::Amd64])?;
    install(&CARGO_DENY)?;
    install(&MDBOOK)?;
    Ok(())
}

/// What building for these machines needs.
pub(crate) fn for_build(archs: &[Arch]) -> Result<()> {
    machine::architecture()?;
    machine::rustup()?;
    machine::free_space(project::root(), BUILD_MIB)?;
    toolchain(archs)?;
    if archs.contains(&Arch::Arm64) {
        machine::compiler_for_arm64()?;
    }
    install(&BPF_LINKER)?;
    Ok(())
}

/// A tree after `cargo xtask test` holds that much; most of it is debug information.
const BUILD_MIB: u64 = 3072;

/// The toolchain's parts as `rustup component list` names them, but for the standard libraries of its targets.
const PARTS: [&str; 3] = ["rust-src", "clippy-x86_64-unknown-linux-gnu", "rustfmt-x86_64-unknown-linux-gnu"];

fn toolchain(archs: &[Arch]) -> Result<()> {
    let installed = project::answer(Command::new("rustup").args(["component", "list", "--installed", "--toolchain", TOOLCHAIN]));
    let libraries = archs.iter().map(|arch| format!("rust-std-{}", arch.musl()));
    let parts: Vec<String> = PARTS.map(str::to_owned).into_iter().chain(libraries).collect();
    if installed.is_ok_and(|list| parts.iter().all(|part| list.lines().any(|line| line == part))) {
        return Ok(());
    }
    let targets: Vec<&str> = archs.iter().map(|arch| arch.musl()).collect();
    step(&format!("setup: Rust {TOOLCHAIN} with rust-src, clippy, rustfmt and {}, about 1 minute", targets.join(", ")), || {
        project::run(
            Command::new("rustup")
                .args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal", "--no-self-update"])
                .args(["-c", "rust-src", "-c", "clippy", "-c", "rustfmt"])
                .args(targets.iter().flat_map(|target| ["-t", target])),
        )
    })
}

/// A program that cargo installs. Each runs for seconds and would be optimised for minutes.
struct Tool {
    name: &'static str,
    version: &'static str,
    /// What it takes on two cores.
    takes: &'static str,
    /// Of the Rust code; what is C or C++ in it follows where the tool compiles it.
    opt_level: &'static str,
    /// What more `cargo install` is told.
    arguments: &'static [&'static str],
}

/// Later versions want a system's LLVM; this one uses the toolchain's, and that is where the work is done.
const BPF_LINKER: Tool = Tool { name: "bpf-linker", version: "0.10.3", takes: "about 1 minute", opt_level: "1", arguments: &[] };

const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", takes: "about 2 minutes", opt_level: "1", arguments: &[] };

/// The client of the announcement's attack. Its TLS is OpenSSL: here the system's.
const WEBSOCAT: Tool = Tool {
    name: "websocat",
    version: "1.14.1",
    takes: "less than 1 minute",
    opt_level: "0",
    arguments: &["--no-default-features", "--features", "ssl"],
};

/// The same where the system has no headers of OpenSSL: it is compiled along.
const WEBSOCAT_WITH_OPENSSL: Tool =
    Tool { takes: "about 2 minutes with OpenSSL", arguments: &["--no-default-features", "--features", "ssl,vendored_openssl"], ..WEBSOCAT };

/// websocat, for the demo alone.
pub(crate) fn websocat() -> Result<PathBuf> {
    let headers = project::answer(Command::new("pkg-config").args(["--exists", "openssl"])).is_ok();
    let missing = "websocat could not be built; if it is OpenSSL that is missing, install libssl-dev and pkg-config";
    install(if headers { &WEBSOCAT } else { &WEBSOCAT_WITH_OPENSSL }).context(missing)
}

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", takes: "about 1 minute", opt_level: "0", arguments: &[] };

/// cargo-fuzz, for fuzzing alone.
pub(crate) fn cargo_fuzz() -> Result<PathBuf> {
    install(&CARGO_FUZZ)
}

/// For its search alone: it neither serves nor watches here.
const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    takes: "about 1 minute",
    opt_level: "1",
    arguments: &["--no-default-features", "--features", "search"],
};

/// mdBook.
pub(crate) fn mdbook() -> Result<PathBuf> {
    install(&MDBOOK)
}

/// Where the tool is, which is built first if it is not there.
fn install(tool: &Tool) -> Result<PathBuf> {
    let &Tool { name, version, takes, opt_level, arguments } = tool;
    let path = project::tool(name)?;
    let installed = project::answer(Command::new(&path).arg("--version"));
    if installed.is_ok_and(|said| said.split_whitespace().any(|word| word.trim_start_matches('v') == version)) {
        return Ok(path);
    }
    step(&format!("setup: {name} {version}, {takes}"), || {
        let tools = project::cache()?.join("tools");
        // The folder stays when the build is interrupted, and the next one goes on from there.
        let building = tools.join("build").join(name);
        fs::create_dir_all(&building).with_context(|| format!("cannot make the folder {}", building.display()))?;
        project::run(
            project::cargo(&["install", name, "--version", version, "--locked", "--root"])
                .arg(&tools)
                .args(arguments)
                .env("CARGO_TARGET_DIR", &building)
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", opt_level)
                .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")]),
        )?;
        fs::remove_dir_all(&building).with_context(|| format!("cannot remove the folder {}", building.display()))
    })?;
    Ok(path)
}
