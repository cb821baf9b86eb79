//! `cargo xtask`: everything that is done to kubewitness, each as one command that needs nothing but rustup.
//!
//! Builds with the stable Rust that is at hand; the project's own toolchain is put in place by [`setup`].

mod arch;
mod args;
mod auditable;
mod bench;
mod book;
mod build;
mod cluster;
mod consumption;
mod demo;
mod fuzz;
mod image;
mod machine;
mod matrix;
mod miri;
mod package;
mod parts;
mod portable;
mod progress;
mod project;
mod setup;
mod stamp;
mod test;
mod torture;

use std::env;
use std::process::ExitCode;

use crate::args::Usage;

/// A subcommand: what is typed, what it does, and the function that takes what was typed after it.
type Command = (&'static str, &'static str, fn(&[String]) -> anyhow::Result<()>);

const COMMANDS: &[Command] = &[
    ("setup", "put the toolchain and the build tools in place", setup::command),
    ("build", "build target/release/kubewitness, one static binary with the kernel programs inside; for arm64 too", build::command),
    ("package", "packages of Debian and RPM and a tarball, for machines without a cluster", package::command),
    ("portable", "check and build for macOS and Windows what of the agent runs there", portable::command),
    ("image", "the static binary as an OCI image, with its bill of materials", image::command),
    ("cluster", "a real one-node cluster in a network namespace of its own", cluster::run),
    ("demo", "the attack of the Kubernetes 1.36 announcement on a real kubelet, and what is seen of it", demo::command),
    ("bench", "measure what the documentation promises", bench::command),
    ("book", "docs/ as a book in target/book", book::command),
    ("miri", "what reads bytes, run by an interpreter that sees undefined behaviour", miri::command),
    ("fuzz", "hostile input for everything that reads what others wrote", fuzz::command),
    ("matrix", "every kubelet, in every way that it is built, set up and run: the figures of docs/compatibility.md", matrix::command),
    ("test", "check formatting, lints, documentation, licences, and run the tests", test::command),
    ("torture", "what goes wrong on a node, for hours, and the figures of it in docs/", torture::command),
];

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                   what it is all about, on one screen
  cargo xtask build                  the binary, from a fresh clone
  cargo xtask test                   all that CI checks
  cargo xtask test --only clippy     one of its steps
";

/// Exit status: 0 fine, 1 failed, 2 wrong usage.
fn main() -> ExitCode {
    let args: Vec<String> = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::error(&format!("{error:#}"));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn dispatch(args: &[String]) -> anyhow::Result<()> {
    let Some((name, rest)) = args.split_first() else {
        args::print(&help());
        return Ok(());
    };
    if matches!(name.as_str(), "-h" | "--help" | "help") {
        args::print(&help());
        return Ok(());
    }
    match COMMANDS.iter().find(|(known, ..)| known == name) {
        Some((_, _, run)) => run(rest),
        None => Err(Usage::error(format!("there is no command `{name}`"), "cargo xtask --help")),
    }
}

fn help() -> String {
    let commands: Vec<String> = COMMANDS.iter().map(|(name, what, _)| format!("  {name:<8} {what}")).collect();
    format!("Usage: cargo xtask COMMAND [--help]\n\nCommands:\n{}\n\n{EXAMPLES}", commands.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_usage_is_told_from_failure() {
        for typed in [
            &["nonsense"][..],
            &["setup", "now"],
            &["build", "--fast"],
            &["build", "--arch"],
            &["build", "--arch", "mips"],
            &["package", "apk"],
            &["package", "--try", "--arch", "arm64"],
            &["portable", "--fast"],
            &["image", "--arch", "mips"],
            &["image", "--name"],
            &["demo", "--lunch"],
            &["demo", "--keep", "--down"],
            &["bench", "lunch"],
            &["book", "--close"],
            &["fuzz", "--only", "lunch"],
            &["matrix", "--only"],
            &["test", "--only"],
            &["test", "--only", "lunch"],
            &["torture", "--only", "lunch"],
        ] {
            let args: Vec<String> = typed.iter().map(ToString::to_string).collect();
            let error = dispatch(&args).expect_err("must be refused");
            assert!(error.is::<Usage>(), "{typed:?}: {error:#}");
            assert!(format!("{error:#}").contains("--help"), "{typed:?} must say where help is: {error:#}");
        }
    }

    #[test]
    fn help_lists_every_command() {
        for (name, what, _) in COMMANDS {
            assert!(help().contains(what), "{name}");
        }
    }
}
