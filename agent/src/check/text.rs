//! The report for people: 80 columns, but for names and places, which are never broken.

use std::fmt::Write as _;

use super::{Finding, FinerRight, Kind, Named, Report};
use crate::inert::Inert;
use crate::judge::Severity;

const WIDTH: usize = 80;

impl Report {
    /// The report as text, with colours if they are wanted.
    pub fn text(&self, colours: bool) -> String {
        let mut text = String::new();
        for of_kind in self.findings.chunk_by(|one, other| one.kind == other.kind) {
            section(&mut text, of_kind, colours);
        }
        if self.findings.iter().any(|finding| finding.severity() > Severity::Info) {
            instead(&mut text);
        }
        self.summary(&mut text);
        text
    }

    fn summary(&self, text: &mut String) {
        let origin = if self.manifests.is_some() { "these manifests" } else { "the cluster's RBAC objects" };
        if self.findings.is_empty() {
            wrapped(text, "", &format!("Nobody has nodes/proxy by {origin}."));
        } else {
            let counts: Vec<_> =
                Severity::ALL.into_iter().rev().map(|severity| format!("{} {}", self.count(severity), severity.as_str())).collect();
            let allowed = self.findings.iter().filter(|finding| finding.allowed).count();
            let allowed = if allowed > 0 { format!(", {allowed} allowed") } else { String::new() };
            wrapped(text, "", &format!("{}{allowed}, by {origin}.", counts.join(", ")));
        }
        let Some(manifests) = &self.manifests else {
            return wrapped(text, "", "RBAC is not the whole chain: what webhooks, cloud IAM or AlwaysAllow allow is not here.");
        };
        let (roles, bindings) = (manifests.roles.len(), manifests.bindings.len());
        let read = format!(
            "Read: {}, {}, {}",
            count(manifests.documents, "document"),
            count(roles as u64, "ClusterRole"),
            count(bindings as u64, "ClusterRoleBinding")
        );
        let namespaced: u64 = ["Role", "RoleBinding"].iter().filter_map(|kind| manifests.left_out.get(*kind)).sum();
        let others = manifests.left_out.values().sum::<u64>() - namespaced;
        let left_out = if others > 0 { format!(" Left out: {}.", count(others, "object of another kind")) } else { String::new() };
        wrapped(text, "", &format!("{read}.{left_out}"));
        if namespaced > 0 {
            wrapped(
                text,
                "",
                &format!(
                    "Left out: {}. Nodes are in no namespace: only a ClusterRoleBinding gives anything on them.",
                    count(namespaced, "Role or RoleBinding")
                ),
            );
        }
        if !manifests.problems.is_empty() {
            wrapped(
                text,
                "",
                &format!("{} could not be read, see the messages: this is not all.", count(manifests.problems.len() as u64, "document")),
            );
        }
    }
}

fn count(number: u64, what: &str) -> String {
    let many = match what {
        _ if number == 1 => what.to_owned(),
        "object of another kind" => "objects of other kinds".to_owned(),
        "Role or RoleBinding" => "Roles and RoleBindings".to_owned(),
        _ => format!("{what}s"),
    };
    format!("{number} {many}")
}

fn section(text: &mut String, findings: &[Finding], colours: bool) {
    let Some(kind) = findings.first().map(|finding| finding.kind) else { return };
    let (on, off) = if colours { (colour(kind.severity()), "\u{1b}[0m") } else { ("", "") };
    let word = kind.severity().as_str().to_uppercase();
    let _infallible = writeln!(text, "{on}{word}{off}  {} ({})", kind.title(), kind.id());
    wrapped(text, "  ", kind.why());
    wrapped(text, "  ", &format!("→ {}", kind.advice()));
    text.push('\n');
    for finding in findings {
        one(text, finding);
    }
    text.push('\n');
}

fn one(text: &mut String, finding: &Finding) {
    let subject = finding.subject.as_ref().map(ToString::to_string);
    let object = || finding.who().replacen(':', " ", 1);
    let allowed = if finding.allowed { "  (allowed)" } else { "" };
    let _infallible = writeln!(text, "  {}{allowed}", Inert(&subject.unwrap_or_else(object)));
    if finding.kind != Kind::Unknown {
        wrapped(text, "    ", &format!("may {}", finding.right()));
    }
    let objects: Vec<_> = [("ClusterRoleBinding", &finding.binding), ("ClusterRole", &finding.role)]
        .into_iter()
        .filter_map(|(kind, named)| Some((kind, named.as_ref()?)))
        .collect();
    let width = objects.iter().map(|(kind, named)| kind.len() + 1 + named.name.chars().count()).max().unwrap_or_default().min(44);
    for (kind, Named { name, place }) in objects {
        let name = Inert(&format!("{kind}/{name}")).to_string();
        let place = place.as_ref().map(|place| format!("  {}", Inert(&place.to_string()))).unwrap_or_default();
        let _infallible = writeln!(text, "{}", format!("    {name:width$}{place}").trim_end());
    }
    if let Some(remark) = &finding.remark {
        wrapped(text, "    ", remark);
    }
}

fn instead(text: &mut String) {
    text.push_str("Instead of nodes/proxy\n");
    for right in FinerRight::ALL {
        let _infallible = writeln!(text, "  {:<17} {:<24} {}", right.resource, right.opens, right.honoured_by());
    }
    wrapped(text, "  ", FinerRight::NONE);
    text.push('\n');
}

/// Writes words in lines of at most [`WIDTH`] columns. A word that is longer has a line of its own.
fn wrapped(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let word = Inert(word).to_string();
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.push_str(indent);
            column = indent.len() + length;
        } else {
            text.push(' ');
            column += 1 + length;
        }
        text.push_str(&word);
    }
    text.push('\n');
}

const fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "\u{1b}[1;31m",
        Severity::Warning => "\u{1b}[1;33m",
        Severity::Info => "\u{1b}[1m",
    }
}
