//! The report for people.

pub(crate) mod layout;
mod paint;
pub(crate) mod sentences;

use self::layout::{Table, paragraph};
pub use self::paint::Paint;
use self::sentences::{by, times, who};
use super::manifest::Before;
use super::words::{counted, some};
use super::{Change, Example, Holder, HolderKind, Replacement, Report, Verdict};
use crate::inert::Inert;
use crate::when::When;

/// The report in lines of this many columns, or more where a word is longer. Nothing in it is obeyed by a terminal but the colours.
pub fn text(report: &Report, width: usize, paint: Paint, when: &When) -> String {
    let mut page = Page { text: String::new(), width: width.max(40), paint, when };
    page.coverage(report);
    page.findings(report);
    page.matrix(report);
    page.holders(report);
    page.replacements(report);
    page.text
}

/// Of a longer request line the rest is left out; its event holds all of it.
const LONGEST_REQUEST: usize = 160;

struct Page<'a> {
    text: String,
    width: usize,
    paint: Paint,
    when: &'a When,
}

impl Page<'_> {
    fn coverage(&mut self, report: &Report) {
        let coverage = &report.coverage;
        self.title("What was seen");
        for line in sentences::basis(coverage, self.when) {
            self.paragraph(&line, 2, 2);
        }
        let caveats = coverage.caveats.iter().map(|caveat| caveat.text.clone());
        let notes = coverage.notes.iter().map(|note| format!("{} ({})", note.text, note.count));
        for line in caveats.chain(notes) {
            self.caution(&line);
        }
    }

    fn findings(&mut self, report: &Report) {
        self.title("Findings");
        if report.findings.is_empty() {
            self.paragraph("None.", 2, 0);
        }
        for (finding, who, found) in &report.findings {
            let severity = finding.severity();
            let word = format!("{:<8}", severity.as_str());
            let line = format!("{} {} {}", finding.id(), self::who(who), counted(found.count, "request"));
            for (index, line) in paragraph(&line, 12, 2, self.width).into_iter().enumerate() {
                let line = if index == 0 { format!("  {}  {}", self.paint.severity(severity, &word), line.trim_start()) } else { line };
                self.line(&line);
            }
            for example in found.examples.iter().take(2) {
                self.paragraph(&self::example(example, self.when), 14, 2);
            }
        }
    }

    fn matrix(&mut self, report: &Report) {
        self.title("Who used what");
        if report.matrix.is_empty() {
            return self.paragraph("Nothing was seen.", 2, 0);
        }
        let row = |(seen, count): (&super::Use, &u64)| {
            let verb = match seen.verb.label() {
                "unknown" => "?",
                label => label,
            };
            vec![who(&seen.who), seen.endpoint.label().to_owned(), seen.access.as_str().to_owned(), verb.to_owned(), count.to_string()]
        };
        let head = [("IDENTITY", false), ("ENDPOINT", false), ("ACCESS", false), ("VERB", false), ("REQUESTS", true)];
        self.table(&Table { head: &head, rows: report.matrix.iter().map(row).collect() });
    }

    fn holders(&mut self, report: &Report) {
        self.title("Who holds nodes/proxy");
        let Some(holders) = &report.holders else {
            let text = "Not known without RBAC objects: name them with --rbac cluster or --rbac-from FILE.";
            return self.paragraph(text, 2, 0);
        };
        if holders.is_empty() {
            return self.paragraph("Nobody.", 2, 0);
        }
        let row = |holder: &Holder| {
            let by = &holder.grant.by;
            let wildcard = if by.by_wildcard { ", wildcard" } else { "" };
            let kind = match holder.kind {
                HolderKind::Ordinary => "",
                HolderKind::ApiServer => ", the API server",
                HolderKind::Masters => ", allowed everything anyway",
                HolderKind::BuiltIn => ", built in",
            };
            let nodes = if by.nodes.is_some() { ", some nodes" } else { "" };
            let by = format!("{} ({} rule {}{wildcard}{nodes}{kind})", holder.grant.binding, by.role, by.rule + 1);
            let verbs = holder.grant.by.verbs.words().join(",");
            vec![sentences::subject(&holder.grant.subject), verbs, times(holder.used), times(holder.execs), by]
        };
        let head = [("SUBJECT", false), ("VERBS", false), ("USED", true), ("EXEC", true), ("BINDING (ROLE)", false)];
        self.table(&Table { head: &head, rows: holders.iter().map(row).collect() });
        self.list("Never seen to use it", holders.iter().filter(|holder| holder.is_unused()));
        let could = "Could run commands in every pod by it, and never did";
        self.list(could, holders.iter().filter(|holder| holder.could_exec_and_never_did()));
    }

    fn list<'a>(&mut self, what: &str, holders: impl Iterator<Item = &'a Holder>) {
        let mut subjects: Vec<String> = holders.map(|holder| sentences::subject(&holder.grant.subject)).collect();
        subjects.dedup();
        if !subjects.is_empty() {
            let text = format!("{what}: {}.", subjects.join(", "));
            self.paragraph(&text, 2, 2);
        }
    }

    fn replacements(&mut self, report: &Report) {
        self.title("What would be enough instead");
        let (masters, others): (Vec<_>, Vec<_>) =
            report.replacements.iter().partition(|replacement| replacement.verdict == Verdict::Masters);
        if others.is_empty() {
            self.paragraph("Nobody else holds or was seen to use nodes/proxy.", 2, 0);
        }
        for (index, replacement) in others.into_iter().enumerate() {
            if index > 0 {
                self.text.push('\n');
            }
            self.replacement(replacement);
        }
        if !masters.is_empty() {
            let names: Vec<String> = masters.iter().map(|replacement| sentences::subject(&replacement.subject)).collect();
            let text = format!("Members of system:masters, let in before RBAC is asked; no role changes that: {}.", some(&names));
            self.paragraph(&text, 2, 2);
        }
    }

    fn replacement(&mut self, replacement: &Replacement) {
        let heading = format!("{}: {}", sentences::subject(&replacement.subject), sentences::verdict(replacement));
        for (index, line) in paragraph(&heading, 2, 2, self.width).into_iter().enumerate() {
            let line = if index == 0 { self.paint.heading(&line) } else { line };
            self.line(&line);
        }
        self.paragraph(&sentences::rests_on(replacement, self.when), 4, 2);
        for kept in &replacement.kept {
            self.paragraph(&sentences::kept(kept), 4, 2);
        }
        if let Some(role) = &replacement.role {
            for line in sentences::upgrade(&replacement.upgrade) {
                self.paragraph(&line, 4, 2);
            }
            for (name, rules) in &replacement.before {
                self.line(&format!("    # before: ClusterRole {}, as far as it concerns nodes", Inert(name)));
                for rule in rules {
                    self.block(&Before(rule).to_string());
                }
            }
            self.line("    # after");
            self.block(&role.to_string());
        }
        self.diff(replacement);
        self.steps(replacement);
        for caveat in &replacement.caveats {
            self.paragraph(&format!("! {}", caveat.text), 4, 2);
        }
    }

    /// A table of its own, without a head, signs in front: what a right goes by, or comes by.
    fn diff(&mut self, replacement: &Replacement) {
        let new = replacement.role.as_ref().map(|role| role.name.as_str());
        let widest = |cells: &mut dyn Iterator<Item = usize>| cells.max().unwrap_or(0);
        let resources = widest(&mut replacement.diff.iter().map(|line| line.resource.len()));
        let verbs = widest(&mut replacement.diff.iter().map(|line| line.verbs.join(",").len()));
        for line in &replacement.diff {
            let (sign, ways) = match line.change {
                Change::Goes => ('-', &line.before),
                Change::Comes => ('+', &line.after),
                Change::Stays => (' ', &line.after),
            };
            let ways: Vec<String> = ways.iter().map(|way| by(way, new)).collect();
            let columns = format!("{sign} {:<resources$}  {:<verbs$}  ", line.resource, line.verbs.join(","));
            let indent = 4 + columns.len();
            for (index, wrapped) in paragraph(&format!("by {}", ways.join(" and ")), indent, 0, self.width).into_iter().enumerate() {
                let wrapped = if index == 0 { format!("    {columns}{}", wrapped.trim_start()) } else { wrapped };
                let painted = match line.change {
                    Change::Goes => self.paint.bad(&wrapped),
                    Change::Comes => self.paint.good(&wrapped),
                    Change::Stays => wrapped,
                };
                self.line(&painted);
            }
        }
    }

    fn steps(&mut self, replacement: &Replacement) {
        let later = if replacement.verdict.takes_away() { "" } else { "Once it needs it no more: " };
        for (index, step) in replacement.steps.iter().enumerate() {
            let text = format!("{}. {later}{}", index + 1, sentences::step(step));
            self.paragraph(&text, 4, 3);
        }
        if let Some(proof) = &replacement.proof {
            for line in sentences::proof(replacement, proof) {
                self.paragraph(&format!("Checked: {line}"), 4, 2);
            }
            return;
        }
        let granted: Vec<String> = replacement.granted_by.keys().cloned().collect();
        let granted = if granted.is_empty() { "not told".to_owned() } else { some(&granted) };
        self.paragraph(&format!("Not checked, without RBAC objects. Granted by, as the kubelets said: {granted}."), 4, 2);
    }

    fn title(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let title = self.paint.heading(title);
        self.line(&title);
    }

    fn caution(&mut self, text: &str) {
        for line in paragraph(&format!("! {text}"), 2, 2, self.width) {
            let line = self.paint.caution(&line);
            self.line(&line);
        }
    }

    fn paragraph(&mut self, text: &str, indent: usize, hang: usize) {
        for line in paragraph(text, indent, hang, self.width) {
            self.line(&line);
        }
    }

    fn table(&mut self, table: &Table<'_>) {
        table.lines(self.width).iter().for_each(|line| self.line(line));
    }

    fn block(&mut self, yaml: &str) {
        yaml.lines().for_each(|line| self.line(&format!("    {line}")));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn example(example: &Example, when: &When) -> String {
    let Example { time, node, audit_id, request, source_ip, .. } = example;
    let mut shown: String = request.chars().take(LONGEST_REQUEST).collect();
    if shown.len() < request.len() {
        shown.push('…');
    }
    format!("{} {node} {source_ip} {shown} ({audit_id})", when.moment(*time))
}

#[cfg(test)]
mod tests;
