//! What commands that print have in common.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use terminal_size::terminal_size_of;

use crate::{judge::Severity, when::When};

/// The severity from which on findings make a command fail.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FailOn {
    None,
    Info,
    Warning,
    Critical,
}

impl FailOn {
    /// The exit status where this is the gravest finding.
    pub(super) fn status(self, gravest: Option<Severity>) -> ExitCode {
        let least = match self {
            Self::None => return ExitCode::SUCCESS,
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Critical => Severity::Critical,
        };
        if gravest >= Some(least) { ExitCode::from(3) } else { ExitCode::SUCCESS }
    }
}

/// Whether standard output shows colours (<https://no-color.org>).
pub(super) fn colours() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How standard output shows times. JSON has them in UTC in any case.
pub(super) fn when() -> When {
    if io::stdout().is_terminal() { When::local() } else { When::Utc }
}

/// How many columns standard output has, where it is a terminal.
pub(super) fn columns() -> Option<usize> {
    let (width, _) = terminal_size_of(io::stdout())?;
    Some(usize::from(width.0)).filter(|columns| *columns > 0)
}

/// Writes to standard output. Whoever reads it may have seen enough.
pub(super) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("the report cannot be printed"),
    }
}
