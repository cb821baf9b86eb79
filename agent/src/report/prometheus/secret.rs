//! What must never be printed.

use std::{convert::Infallible, fmt, str::FromStr};

/// A token, a password, or the value of a header. It has no `Display`, and its `Debug`, which the command line needs, tells nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The first line of a file's text: editors and `echo` leave a line break at its end.
    pub(super) fn of_file(text: &str) -> Self {
        Self(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
