//! One screen: what the agent saw, and what the API server's audit log holds. At most 100 columns and 45 lines.

use std::env;
use std::io::{self, IsTerminal as _};

use anyhow::Result;

use super::audit::Entry;
use super::scenes::{METRIC, Played, Seen};
use super::{events, write_out};

/// Columns of the screen.
const WIDTH: usize = 100;

/// Titles and widths of the table's columns; one blank between them.
const COLUMNS: [(&str, usize); 7] =
    [("scene", 10), ("identity", 25), ("endpoint", 13), ("access", 15), ("transport", 9), ("code", 4), ("findings", 20)];

/// Prints the screen on stdout; with colours where that is a terminal and nobody objects.
pub(super) fn print(played: &Played, release: &str) -> Result<()> {
    let coloured = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    write_out(&format!("\n{}\n", lines(played, release, Paint(coloured)).join("\n")))
}

/// The lines of the screen.
fn lines(played: &Played, release: &str, paint: Paint) -> Vec<String> {
    let (before, websocat, spdy) = played.attacks();
    let mut lines = vec![paint.bold(&format!("What kubewitness saw on port 10250 of a kubelet {release}")), String::new()];
    lines.extend(table(&played.scenes, paint));
    lines.extend([String::new(), paint.bold("The audit event of scene 5, the announcement's attack; what it got was")]);
    lines.push(cut(&format!("  {}", played.loot), WIDTH));
    lines.extend(events::essentials(&played.alert).iter().map(|line| alarming(&cut(&format!("  {line}"), WIDTH), paint)));
    lines.extend([String::new(), paint.bold("The metric that moved, before scene 5, after it, after scene 6")]);
    lines.push(format!("  {METRIC}  {}", paint.red(&format!("{} → {} → {}", before.counted, websocat.counted, spdy.counted))));
    lines.extend([String::new(), paint.bold("All that the API server's own audit log holds about scene 5: no user, no pod, no command")]);
    lines.extend(websocat.logged.iter().map(logged));
    lines.push(paint.bold("and about scene 6"));
    lines.extend(spdy.logged.iter().map(logged));
    if spdy.logged.is_empty() {
        lines.push("  nothing: the kubelet remembered both answers".to_owned());
    }
    lines
}

fn table(scenes: &[Seen], paint: Paint) -> Vec<String> {
    let head = row(&COLUMNS.map(|(title, _)| title));
    let mut lines = vec![paint.bold(&head)];
    for seen in scenes {
        for (number, request) in seen.rows.iter().enumerate() {
            let [identity, endpoint, access, transport, code, findings] = request.cells();
            let title = if number == 0 { seen.title } else { "" };
            lines.push(alarming(&row(&[title, identity, endpoint, access, transport, code, findings]), paint));
        }
    }
    lines
}

/// The last column is not filled up.
fn row(cells: &[&str; COLUMNS.len()]) -> String {
    let filled = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{:<width$}", cut(cell, width)));
    filled.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn logged(entry: &Entry) -> String {
    cut(&format!("  {}  {}  {}  {}", entry.user, entry.verb, entry.uri, entry.code), WIDTH)
}

/// What raises an alert is red, the fallback yellow.
fn alarming(line: &str, paint: Paint) -> String {
    match line {
        alert if alert.contains("unlogged-exec") => paint.red(line),
        fallback if fallback.contains("nodes-proxy-fallback") => paint.yellow(line),
        _ => line.to_owned(),
    }
}

/// At most `width` characters, the last of them an ellipsis where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Colours, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
