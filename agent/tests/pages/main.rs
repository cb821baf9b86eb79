//! What pages and help tell people to type: each `kubewitness` command line is one that kubewitness understands, and what needs neither a
//! cluster nor a node is run, its output compared where the page shows it.
//!
//! Other programs are looked at where they are at hand: `cargo xtask` in `xtask/tests/pages.rs`, helm and kubectl in
//! `tests/tests/rendering/pages.rs`.

mod run;
mod shown;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use kubewitness::cli::Cli;
use kubewitness_pages::{
    all,
    console::{Invocation, Typed, invocations},
};

const PROGRAM: &str = "kubewitness";

/// A command line and where it stands: `docs/rbac.md:8`, or the command whose help has it.
struct Told {
    place: String,
    typed: Typed,
}

impl Told {
    /// What kubewitness is told in it, with what it reads.
    fn invocations(&self) -> Vec<Invocation> {
        self.typed.invocations().into_iter().filter(|invocation| invocation.program == PROGRAM).collect()
    }
}

/// Those of the pages and of the examples in help that run kubewitness.
fn told() -> Vec<Told> {
    let pages = all();
    let of_pages = pages.iter().flat_map(|page| {
        let typed = page.typed().into_iter().chain(page.run_by_ci());
        typed.map(|typed| Told { place: format!("{}:{}", page.path, typed.line), typed })
    });
    of_pages.chain(examples(&Cli::command())).filter(|told| !told.invocations().is_empty()).collect()
}

/// The examples of a command and of those below it: lines of the text behind the options that are indented and run kubewitness.
fn examples(command: &clap::Command) -> Vec<Told> {
    let text = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string).unwrap_or_default();
    // A long one goes on behind a backslash.
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| text + part.trim_start());
    let lines = text.lines().filter(|line| line.starts_with("  ")).map(|line| {
        // What an example does stands behind it, further than a blank away.
        let line = line.trim_start();
        let line = line.split_once("   ").map_or(line, |(line, _)| line);
        let typed = Typed { line: 0, text: line.to_owned(), output: Vec::new(), folder: None };
        Told { place: format!("the help of {}", command.get_name()), typed }
    });
    let of_this: Vec<Told> = lines.filter(|told| !told.invocations().is_empty()).collect();
    of_this.into_iter().chain(command.get_subcommands().flat_map(examples)).collect()
}

fn understood(invocation: &Invocation) -> Result<(), clap::Error> {
    let parsed = Cli::try_parse_from([PROGRAM].into_iter().chain(invocation.arguments.iter().map(String::as_str)));
    match parsed {
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        parsed => parsed.map(|_| ()),
    }
}

#[test]
fn every_command_line_is_understood() {
    let told = told();
    let wrong: Vec<String> = told
        .iter()
        .flat_map(|told| told.invocations().into_iter().map(move |invocation| (told, invocation)))
        .filter_map(|(told, invocation)| Some(format!("{}: {}\n{}", told.place, told.typed.text, understood(&invocation).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(told.len() > 40, "only {} are found", told.len());
}

/// Spans like `kubewitness doctor --kubelet-file` may leave values out. What they name must be there all the same.
#[test]
fn every_span_of_code_names_what_is_there() {
    let mut seen = 0;
    for page in all() {
        for (line, text) in page.spans() {
            for invocation in invocations(&text).iter().filter(|invocation| invocation.program == PROGRAM) {
                seen += 1;
                let Err(error) = understood(invocation) else { continue };
                let unknown = [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand];
                assert!(!unknown.contains(&error.kind()), "{}:{line}: `{text}`\n{error}", page.path);
            }
        }
    }
    assert!(seen > 20, "only {seen} are found");
}
