//! The two forms of a test that measures: one for every run, and one for `cargo xtask torture`, whose figures stand in a document.

use std::fmt::Display;

use crate::figures::Figures;

/// How thoroughly.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    is_long: bool,
    figures: Figures,
}

impl Form {
    /// The one that is part of every test run. It measures nothing worth a document.
    pub const fn short(figures: Figures) -> Self {
        Self { is_long: false, figures }
    }

    /// The one whose figures go into a table.
    pub const fn long(figures: Figures) -> Self {
        Self { is_long: true, figures }
    }

    /// One of two, by the form.
    pub fn of<T>(self, short: T, long: T) -> T {
        if self.is_long { long } else { short }
    }

    /// A row of the table: what happened, what was to be seen, what was, what is counted as lost, and what is to be said about it.
    pub fn row(self, what: &str, expected: impl Display, seen: u64, lost: u64, note: &str) {
        let cells = [what.to_owned(), expected.to_string(), seen.to_string(), lost.to_string(), note.to_owned()];
        if self.is_long {
            self.figures.row(&cells);
        } else {
            eprintln!("{}", cells.join(" | "));
        }
    }
}
