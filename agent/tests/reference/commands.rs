//! `docs/reference/commands.md`: every command with its options, from what reads the command line.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use kubewitness::cli::Cli;
use kubewitness_pages::generated;

use super::{HOW, cell};

/// The heading of options that have none.
const OPTIONS: &str = "Options";

#[test]
fn the_commands_are_current() {
    let mut root = Cli::command();
    root.build();
    generated::keep("docs/reference/commands.md", "commands", &commands(&root), HOW);
}

fn commands(root: &Command) -> String {
    let mut page = String::new();
    for command in root.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        section(command, root.get_name(), 2, &mut page);
    }
    page.push_str("## Every command\n\n");
    options(root, |_| true, &mut page);
    page.push_str(&after(root));
    page
}

/// A command and those below it.
fn section(command: &Command, above: &str, depth: usize, page: &mut String) {
    let name = format!("{above} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let _infallible = write!(page, "{} {name}\n\n{}.\n\n```text\n{usage}\n```\n\n", "#".repeat(depth), about.trim_end_matches('.'));
    // What every command takes is told once, at the end.
    options(command, |argument| !argument.is_global_set() && !is_help(argument), page);
    page.push_str(&after(command));
    for below in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        section(below, &name, depth + 1, page);
    }
}

fn is_help(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong)
}

/// A table for each heading, in the order in which the headings come first.
fn options(command: &Command, wanted: impl Fn(&Arg) -> bool, page: &mut String) {
    let listed: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set() && wanted(argument)).collect();
    let heading = |argument: &Arg| argument.get_help_heading().unwrap_or(OPTIONS).to_owned();
    let mut headings: Vec<String> = Vec::new();
    for argument in &listed {
        if !headings.contains(&heading(argument)) {
            headings.push(heading(argument));
        }
    }
    for name in headings {
        let _infallible = write!(page, "| {name} | |\n|---|---|\n");
        for argument in listed.iter().filter(|argument| heading(argument) == name) {
            page.push_str(&row(argument));
        }
        page.push('\n');
    }
}

fn row(argument: &Arg) -> String {
    let flags = [argument.get_short().map(|short| format!("-{short}")), argument.get_long().map(|long| format!("--{long}"))];
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let (flags, value) = if argument.is_positional() {
        (argument.get_value_names().unwrap_or_default().join(" "), String::new())
    } else {
        (flags.into_iter().flatten().collect::<Vec<_>>().join(", "), if takes_value { format!(" {value}") } else { String::new() })
    };
    let mut about = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set()).collect();
    if takes_value && !values.is_empty() {
        let words: Vec<_> = values.iter().map(|value| value.get_name().to_owned()).collect();
        let _infallible = write!(about, ": {}", words.join(", "));
    }
    let default = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",");
    let default = Some(default).filter(|default| takes_value && !default.is_empty()).map(|default| format!("Default: {}.", code(&default)));
    let environment = argument.get_env().map(|name| format!("Environment: {}.", code(&name.to_string_lossy())));
    let more = [default, environment].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let below = if more.is_empty() { String::new() } else { format!("<br>{more}") };
    format!("| {} | {}{below} |\n", code(&format!("{flags}{value}")), cell(&about))
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// Examples and the exit status.
fn after(command: &Command) -> String {
    let text = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string).unwrap_or_default();
    if text.is_empty() { String::new() } else { format!("```text\n{}\n```\n\n", text.trim_end()) }
}
