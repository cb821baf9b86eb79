//! What xtask says while it works: a line before each step, one after it with its time. All on stderr; colours only on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Does `work`, announced as `what`, and says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    line(BOLD, &format!("==> {what}"));
    let start = Instant::now();
    let result = work();
    let (style, end) = if result.is_ok() { (GREEN, "done") } else { (RED, "failed") };
    line(style, &format!("    {end} in {}: {what}", seconds(start.elapsed())));
    result
}

/// Something to know that is no failure.
pub(crate) fn note(text: &str) {
    line("", &format!("    {text}"));
}

/// A blank line before what follows on stdout.
pub(crate) fn separate() {
    line("", "");
}

/// The one sentence at the end of a run that failed.
pub(crate) fn error(text: &str) {
    line(RED, &format!("error: {text}"));
}

/// `0.4 s`, `75.0 s`: one unit, so that a column of them compares at a glance.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// A closed stderr is no reason to stop working.
fn line(style: &str, text: &str) {
    let mut err = io::stderr().lock();
    let coloured = !style.is_empty() && err.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = if coloured { writeln!(err, "{style}{text}{PLAIN}") } else { writeln!(err, "{text}") };
}
