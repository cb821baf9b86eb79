//! `kubectl kubewitness`: kubectl runs the program `kubectl-NAME` of the path as `kubectl NAME`. Called so, there is what asks a cluster.

use std::{ffi::OsStr, path::Path};

use clap::builder::StyledStr;
use clap::{Command, CommandFactory as _};

use super::{Cli, version};

/// The name of the program.
const PROGRAM: &str = "kubectl-kubewitness";
/// What is typed.
const TYPED: &str = "kubectl kubewitness";
/// What concerns a node stays with `kubewitness`.
const OFFERED: [&str; 2] = ["report", "rbac"];

/// Whether a program of that name is the plugin; on Windows it ends with `.exe`.
pub(super) fn is(program: &OsStr) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == PROGRAM)
}

/// The command line of the plugin: parts of the other one, whose examples are typed otherwise here.
pub(super) fn command() -> Command {
    let whole = Cli::command();
    let offered = OFFERED.iter().filter_map(|name| whole.find_subcommand(name)).cloned();
    let everywhere = whole.get_arguments().filter(|argument| argument.is_global_set()).cloned();
    Command::new(PROGRAM)
        .bin_name(TYPED)
        .version(env!("CARGO_PKG_VERSION"))
        .long_version(version::long())
        .about("Who may run commands through nodes/proxy, who used it, and which role would be enough")
        .arg_required_else_help(true)
        .subcommand_required(true)
        .subcommands(offered.map(retold))
        .args(everywhere)
}

fn retold(command: Command) -> Command {
    let told = |text: Option<&StyledStr>| text.map(|text| retyped(&text.to_string()));
    let (short, long) = (told(command.get_after_help()), told(command.get_after_long_help()));
    command.after_help(short.unwrap_or_default()).after_long_help(long.unwrap_or_default())
}

/// Examples with the name that is typed; a path that ends so, or a namespace, stays.
fn retyped(text: &str) -> String {
    let mut told = String::new();
    for (index, part) in text.split("kubewitness ").enumerate() {
        let is_command = |before: &str| before.is_empty() || before.ends_with("  ") || before.ends_with("| ") || before.ends_with('`');
        if index > 0 {
            let begins = OFFERED.iter().any(|name| part.starts_with(name));
            told += if begins && is_command(&told) { "kubectl kubewitness " } else { "kubewitness " };
        }
        told += part;
    }
    told
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn it_is_known_by_its_name() {
        for (program, expected) in [
            ("kubectl-kubewitness", true),
            ("/usr/bin/kubectl-kubewitness", true),
            ("kubectl-kubewitness.exe", true),
            ("kubewitness", false),
            ("/kubectl-kubewitness/kubewitness", false),
            ("", false),
        ] {
            assert_eq!(is(OsStr::new(program)), expected, "{program:?}");
        }
    }

    #[test]
    fn it_offers_what_asks_a_cluster_and_nothing_else() {
        command().debug_assert();
        for typed in ["report events.jsonl", "rbac --fail-on critical deploy", "rbac --log warn"] {
            let words = [PROGRAM].into_iter().chain(typed.split(' '));
            let matches = command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{typed}: {error}"));
            assert!(Cli::from_arg_matches(&matches).is_ok(), "{typed}");
        }
        for typed in ["run", "completions bash"] {
            let error = command().try_get_matches_from([PROGRAM].into_iter().chain(typed.split(' '))).expect_err(typed);
            assert_eq!(error.kind(), clap::error::ErrorKind::InvalidSubcommand, "{typed}");
        }
    }

    #[test]
    fn its_help_says_what_is_typed() {
        for name in OFFERED {
            let error = command().try_get_matches_from([PROGRAM, name, "--help"]).expect_err("help is an error to clap");
            let help = error.to_string();
            assert!(help.contains(&format!("Usage: kubectl kubewitness {name}")), "{help}");
            assert!(help.contains(&format!("  kubectl kubewitness {name} ")), "{help}");
            assert!(!help.contains(&format!("  kubewitness {name}")), "{help}");
        }
        let text = "  kubectl logs -n kubewitness ds/kubewitness | kubewitness report -\n  kubewitness rbac /var/log/kubewitness report";
        let told = "  kubectl logs -n kubewitness ds/kubewitness | kubectl kubewitness report -\n  kubectl kubewitness rbac /var/log/kubewitness report";
        assert_eq!(retyped(text), told);
    }
}
