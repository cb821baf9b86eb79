//! Where things are, and how other programs are run: the project's root, its cache, its own cargo.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// The toolchain that everything but xtask is built with.
pub(crate) const TOOLCHAIN: &str = "1.98.0";

/// The workspace's root, from where xtask was compiled.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Where tools live that outlast a clone: `KUBEWITNESS_CACHE`, else `~/.cache/kubewitness`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(cache) = env::var_os("KUBEWITNESS_CACHE").filter(|cache| !cache.is_empty()) {
        return std::path::absolute(&cache).with_context(|| format!("KUBEWITNESS_CACHE is no path: `{}`", Path::new(&cache).display()));
    }
    let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.context("there is no home directory to keep the build tools in: set HOME or KUBEWITNESS_CACHE")?;
    Ok(home.join(".cache/kubewitness"))
}

/// The commit that a binary is built from, with `-dirty` behind it if there is more in the tree: `KUBEWITNESS_COMMIT`, which a source without
/// its history needs, else what git says; `unknown` if nobody says.
pub(crate) fn commit() -> String {
    if let Some(commit) = env::var("KUBEWITNESS_COMMIT").ok().filter(|commit| !commit.is_empty()) {
        return commit;
    }
    let git = |args: &[&str]| answer(Command::new("git").args(args).current_dir(root()));
    // The history must be this tree's own: an unpacked source may lie in somebody else's.
    let is_own = git(&["rev-parse", "--show-prefix"]).is_ok_and(|below| below.trim().is_empty());
    let Some(head) = git(&["rev-parse", "--verify", "HEAD"]).ok().filter(|_| is_own) else { return "unknown".to_owned() };
    let changes = git(&["status", "--porcelain", "--"].into_iter().chain(BUILT).collect::<Vec<_>>());
    let dirty = if changes.is_ok_and(|changes| changes.is_empty()) { "" } else { "-dirty" };
    format!("{}{dirty}", head.trim())
}

/// What a binary is made from; what else lies in the tree does not change it.
const BUILT: [&str; 5] = ["agent", "agent-ebpf", "xtask", "Cargo.toml", "Cargo.lock"];

/// When what is made was made, in seconds since 1970: `SOURCE_DATE_EPOCH`, else the time of the commit, or 0 where there is no history.
pub(crate) fn epoch() -> Result<u64> {
    let (said, who) = match env::var("SOURCE_DATE_EPOCH") {
        Ok(said) => (said, "SOURCE_DATE_EPOCH"),
        Err(_) => (answer(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root())).unwrap_or("0".into()), "git's time"),
    };
    said.trim().parse().with_context(|| format!("{who} is `{}`: it must be seconds since 1970", said.trim()))
}

/// A tool that [`crate::setup`] installs.
pub(crate) fn tool(name: &str) -> Result<PathBuf> {
    Ok(cache()?.join("tools/bin").join(name))
}

/// The project's own cargo, at the root.
///
/// It goes through rustup by name, because the `cargo` in PATH may be a distribution's. rustup also puts the toolchain's libraries
/// first in `LD_LIBRARY_PATH`, where bpf-linker takes the first LLVM that it meets: it must be the one that wrote the bitcode.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN, "cargo"]).args(args).current_dir(root());
    // The cargo that started xtask is another one, and it has left its traces.
    for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "RUSTC", "RUSTDOC"] {
        command.env_remove(name);
    }
    // The paths that the documentation names are true for everybody.
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end; what it prints is for the user. Fails with the command line if that fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| not_started(command, &error))?;
    if !status.success() {
        bail!("`{}` failed ({status}); what it printed above says why", shown(command));
    }
    Ok(())
}

/// What a command that answers a question prints, if it succeeds.
pub(crate) fn answer(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    if !status.success() {
        let why = String::from_utf8_lossy(&stderr);
        bail!("`{}` failed ({status}): {}", shown(command), why.trim().lines().last().unwrap_or("it said nothing"));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn not_started(command: &Command, error: &io::Error) -> anyhow::Error {
    let program = command.get_program().display();
    match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!("`{program}` is not installed, or not in PATH"),
        _ => anyhow::anyhow!("`{program}` cannot be started: {error}"),
    }
}

/// The command line as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_command_and_the_reason() {
        let failed = run(Command::new("sh").args(["-c", "exit 3"])).expect_err("it exits with 3");
        assert!(format!("{failed:#}").starts_with("`sh -c exit 3` failed (exit status: 3)"), "{failed:#}");

        let missing = run(&mut Command::new("no-such-program-anywhere")).expect_err("there is no such program");
        assert_eq!(format!("{missing:#}"), "`no-such-program-anywhere` is not installed, or not in PATH");

        let refused = answer(Command::new("sh").args(["-c", "echo noise >&2; echo the reason >&2; exit 1"])).expect_err("it exits with 1");
        assert!(format!("{refused:#}").ends_with(": the reason"), "{refused:#}");
    }

    /// The lint `unsafe_code` denies it, and can be lifted anywhere: here only the places where it may be, and with its reason.
    #[test]
    fn unsafe_code_is_where_the_kernel_is_and_nowhere_else() {
        const ALLOWED: [&str; 2] = ["agent/src/probe/", "agent-ebpf/src/"];
        // In two parts, so that this file does not hold it.
        let word = ["un", "safe"].concat();
        let mut folders: Vec<PathBuf> = ["agent", "agent-ebpf", "xtask", "tests", "fuzz"].map(|folder| root().join(folder)).into();
        let (mut seen, mut wrong) = (0, Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                if entry.is_dir() && !entry.ends_with("target") {
                    folders.push(entry);
                } else if entry.extension().is_some_and(|extension| extension == "rs") {
                    let path = entry.strip_prefix(root()).expect("below the root").display().to_string();
                    let text = std::fs::read_to_string(&entry).expect("it can be read");
                    let lines: Vec<&str> = text.lines().collect();
                    for (number, line) in lines.iter().enumerate() {
                        if ["{", "fn", "impl", "trait"].iter().any(|after| line.contains(&format!("{word} {after}"))) {
                            seen += 1;
                            let explained = lines[number.saturating_sub(6)..=number]
                                .iter()
                                .any(|line| line.contains("SAFETY:") || line.contains("/// # Safety"));
                            if !explained || !ALLOWED.iter().any(|allowed| path.starts_with(allowed)) {
                                wrong.push(format!("{path}:{}", number + 1));
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 3, "the kernel programs have some, so this finds nothing");
        assert!(wrong.is_empty(), "not where it may be, or without a SAFETY sentence: {wrong:?}");
    }

    #[test]
    fn an_answer_is_what_went_to_stdout() {
        let said = answer(Command::new("sh").args(["-c", "echo yes; echo no >&2"])).expect("it exits with 0");
        assert_eq!(said, "yes\n");
    }
}
