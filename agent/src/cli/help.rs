//! The short help, `-h`: the main flags, on one screen.

use clap::Command;

/// The command with flags in one list, and without their environment variables: all that is in the long help.
pub(super) fn brief(command: Command) -> Command {
    let command = command.mut_args(|flag| if flag.is_positional() { flag.hide_env(true) } else { flag.hide_env(true).help_heading(None) });
    command.mut_subcommands(brief)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory as _};

    use super::*;
    use crate::cli::Cli;

    /// Flags whose variable has another name than they, because another command has a flag of that name which means something else.
    const OTHERWISE: [(&str, &str); 1] = [("rbac", "KUBEWITNESS_REPORT_RBAC")];
    /// Columns and lines of a small terminal; a help of so many lines is read with one turn of the wheel.
    const COLUMNS: usize = 80;
    const LINES: usize = 32;
    const LONG_COLUMNS: usize = 100;

    /// Each command that somebody can type, by its names.
    fn commands(command: &Command) -> Vec<(String, Command)> {
        let mut found = vec![(command.get_name().to_owned(), command.clone())];
        let own = command.get_subcommands().filter(|sub| sub.get_name() != "help");
        found.extend(own.flat_map(commands).map(|(name, sub)| (format!("{} {name}", command.get_name()), sub)));
        found
    }

    fn built(command: Command, columns: usize) -> Command {
        let mut command = command.term_width(columns);
        command.build();
        command
    }

    fn flags(command: &Command) -> Vec<&Arg> {
        let own = command.get_arguments().filter(|flag| !flag.is_positional());
        own.filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version")).collect()
    }

    #[test]
    fn short_help_fits_a_screen() {
        for (name, mut command) in commands(&built(brief(Cli::command()), COLUMNS)) {
            let help = command.render_help().to_string();
            assert!(help.lines().count() <= LINES, "{name}: {} lines\n{help}", help.lines().count());
            assert!(help.lines().all(|line| line.chars().count() <= COLUMNS), "{name}:\n{help}");
            assert!(!help.contains("[env"), "{name}:\n{help}");
        }
    }

    #[test]
    fn long_help_is_no_wider_than_it_may_be() {
        for (name, mut command) in commands(&built(Cli::command(), LONG_COLUMNS)) {
            let help = command.render_long_help().to_string();
            let wide: Vec<_> = help.lines().filter(|line| line.chars().count() > LONG_COLUMNS).collect();
            assert!(wide.is_empty(), "{name}: {wide:#?}");
        }
    }

    #[test]
    fn every_help_shows_two_examples() {
        for (name, mut command) in commands(&built(Cli::command(), LONG_COLUMNS)) {
            for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
                let examples = help.split_once("Examples:").map_or("", |(_, examples)| examples);
                let count = examples.lines().filter(|line| line.starts_with("  ") && line.contains("kubewitness ")).count();
                assert!(count >= 2, "{name}: {count} examples\n{help}");
            }
        }
    }

    #[test]
    fn every_flag_is_in_a_group_and_the_first_comes_without_a_heading() {
        for (name, command) in commands(&built(Cli::command(), LONG_COLUMNS)) {
            let flags = flags(&command);
            let bare = flags.iter().filter(|flag| flag.get_help_heading().is_none()).count();
            assert!(bare <= 8, "{name}: {bare} flags are in no group");
            for flag in &flags {
                assert!(flag.get_help().is_some(), "{name} {flag}: it has no help");
            }
        }
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        for (name, command) in commands(&built(Cli::command(), LONG_COLUMNS)) {
            for flag in flags(&command) {
                let long = flag.get_long().unwrap_or_else(|| panic!("{name} {flag}: it has no long name"));
                let variable = flag.get_env().and_then(|variable| variable.to_str()).unwrap_or_default();
                let usual = format!("KUBEWITNESS_{}", long.to_uppercase().replace('-', "_"));
                assert!(variable == usual || OTHERWISE.contains(&(long, variable)), "{name} --{long}: `{variable}` is not {usual}");
            }
        }
    }
}
