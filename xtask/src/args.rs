//! The little that the subcommands share in reading their arguments.

use std::fmt;
use std::io::{self, Write as _};

/// What was typed makes no sense; exit status 2.
#[derive(Debug)]
pub(crate) struct Usage {
    what: String,
    help: &'static str,
}

impl Usage {
    /// `what` is wrong, `help` is the command that explains the right form.
    pub(crate) fn error(what: String, help: &'static str) -> anyhow::Error {
        anyhow::Error::new(Self { what, help })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; see `{}`", self.what, self.help)
    }
}

impl std::error::Error for Usage {}

/// True if help is asked for anywhere in `args`; then `help` has been printed and there is nothing else to do.
pub(crate) fn help_was_asked(args: &[String], help: &str) -> bool {
    let asked = args.iter().any(|arg| arg == "--help" || arg == "-h");
    if asked {
        print(help);
    }
    asked
}

/// Refuses the first of `args`, for a command that takes none.
pub(crate) fn none(args: &[String], help: &'static str) -> anyhow::Result<()> {
    args.first().map_or(Ok(()), |arg| Err(Usage::error(format!("`{arg}` is not understood"), help)))
}

/// Help goes to stdout. A reader that closed it early, like `head`, is no failure.
pub(crate) fn print(help: &str) {
    let _ = io::stdout().write_all(help.as_bytes());
}
