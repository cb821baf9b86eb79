//! One screen: what the agent saw, and what the API server's audit log holds. At most 100 columns and 45 lines.

use std::env;
use std::io::{self, IsTerminal as _};

use anyhow::Result;
use serde_json::Value;

use super::audit::Entry;
use super::scenes::{METRIC, Played, Seen};
use super::{events, write_out};
use crate::progress::separate;

/// Columns of the screen.
pub(super) const WIDTH: usize = 100;

/// Titles and widths of the table's columns; one blank between them.
const COLUMNS: [(&str, usize); 7] =
    [("scene", 10), ("identity", 23), ("endpoint", 13), ("access", 15), ("transport", 9), ("code", 4), ("findings", 20)];

/// Prints the screen on stdout.
pub(super) fn print(played: &Played, release: &str) -> Result<()> {
    separate();
    write_out(&format!("{}\n", lines(played, release, Paint::for_stdout()).join("\n")))
}

/// The lines of the screen.
fn lines(played: &Played, release: &str, paint: Paint) -> Vec<String> {
    let (before, websocat, spdy) = played.attacks();
    let mut lines = vec![paint.bold(&format!("What kubewitness saw on port 10250 of a kubelet {release}")), String::new()];
    lines.extend(table(&played.scenes, paint));
    lines.extend([String::new(), paint.bold("Scene 5: the announcement's attack, with a token that may do nothing but `get nodes/proxy`")]);
    let alert = websocat.alert.as_ref().unwrap_or(&Value::Null);
    lines.extend(command(alert));
    lines.push(cut(&format!("  {}", played.loot), WIDTH));
    lines.push(paint.bold("Its audit event by kubewitness, the essentials"));
    lines.extend(events::essentials(alert).iter().map(|line| alarming(&cut(&format!("  {line}"), WIDTH), paint)));
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

/// What was typed, by what was seen of it.
fn command(alert: &Value) -> [String; 2] {
    let uri = events::text(&alert["requestURI"]);
    [
        r#"  $ websocat --insecure --header "Authorization: Bearer $TOKEN" --protocol v4.channel.k8s.io \"#.to_owned(),
        cut(&format!(r#"      "wss://$NODE_IP:10250{uri}""#), WIDTH),
    ]
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

pub(super) fn logged(entry: &Entry) -> String {
    cut(&format!("  {}  {}  {}  {}", entry.user, entry.verb, entry.uri, entry.code), WIDTH)
}

/// What raises an alert is red, the fallback yellow.
pub(super) fn alarming(line: &str, paint: Paint) -> String {
    match line {
        alert if alert.contains("unlogged-exec") => paint.red(line),
        fallback if fallback.contains("nodes-proxy-fallback") => paint.yellow(line),
        _ => line.to_owned(),
    }
}

/// At most `width` characters, the last of them an ellipsis where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Colours, or none.
#[derive(Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// Colours where stdout is a terminal and nobody objects.
    pub(super) fn for_stdout() -> Self {
        Self(io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none())
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(false)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::demo::events::Row;

    fn seen(title: &'static str, rows: Vec<Row>, counted: f64, logged: Vec<Entry>) -> Seen {
        Seen { title, rows, wrong: Vec::new(), counted, logged, alert: None }
    }

    fn entry(uri: &str) -> Entry {
        Entry { user: "system:node:node1".to_owned(), verb: "create".to_owned(), uri: uri.to_owned(), code: "201".to_owned() }
    }

    /// As many rows as the demo has, each cell longer than its column.
    fn played() -> Played {
        let long = "x".repeat(300);
        let wide = Row::from([&*long; 6]);
        let attack = Row::from(["default:intruder", "exec", "proxy-only", "websocket", "101", "unlogged-exec"]);
        let mut scenes: Vec<_> = [1, 1, 3, 2].iter().map(|&rows| seen("scene", vec![wide.clone(); rows], 0.0, Vec::new())).collect();
        scenes.push(seen("5 websocat", vec![attack.clone()], 1.0, vec![entry("/tokenreviews"), entry(&long)]));
        scenes.push(seen("6 SPDY", vec![attack], 2.0, Vec::new()));
        scenes.push(seen("7 refused", vec![wide.clone(), wide], 2.0, Vec::new()));
        let annotations = ["access", "checks", "granted-by", "transport", "caller", "findings"];
        let annotations: serde_json::Map<_, _> = annotations.iter().map(|key| (format!("kubewitness.dev/{key}"), json!(long))).collect();
        scenes[4].alert = Some(json!({
            "stage": "ResponseStarted", "requestReceivedTimestamp": "t", "stageTimestamp": "t", "verb": "get", "requestURI": long,
            "sourceIPs": ["192.0.2.1"], "user": {"username": long}, "objectRef": {"resource": "pods", "name": long},
            "responseStatus": {"metadata": {}, "code": 101}, "annotations": annotations,
        }));
        Played { scenes, loot: long }
    }

    #[test]
    fn it_fits_on_a_screen_whatever_was_seen() {
        let lines = lines(&played(), "1.36.3", Paint(false));
        assert!(lines.len() <= 45, "{} lines", lines.len());
        for line in &lines {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(!line.contains('\x1b'), "{line:?}");
        }
    }

    #[test]
    fn the_alert_is_red_where_there_are_colours() {
        let lines = lines(&played(), "1.36.3", Paint(true));
        let red = |line: &&String| line.starts_with("\x1b[31m") && line.contains("unlogged-exec") && line.ends_with("\x1b[0m");
        assert_eq!(lines.iter().filter(red).count(), 2, "the rows of the two attacks");
        assert!(lines.iter().any(|line| line.contains("\x1b[31m0 → 1 → 2\x1b[0m")));
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
