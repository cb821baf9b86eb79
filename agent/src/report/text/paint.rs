//! Colours, for terminals only.

use crate::judge::Severity;

/// Whether to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// With ANSI escapes.
    Colour,
    /// As it is.
    Plain,
}

impl Paint {
    /// A heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.with("1", text)
    }

    /// A line of a difference that comes.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// A line of a difference that goes.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Something that makes the report incomplete.
    pub(crate) fn caution(self, text: &str) -> String {
        self.with("33", text)
    }

    /// A severity.
    pub(crate) fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Critical => self.with("1;31", text),
            Severity::Warning => self.with("33", text),
            Severity::Info => text.to_owned(),
        }
    }

    /// What is beside the matter.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self {
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}
