//! Findings for people.

use std::fmt::Write as _;

use super::{Finding, Fix, Group, State};
use crate::report::text::{Paint, layout::paragraph};

/// How findings are shown.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns of a line, or more where a word is longer.
    pub width: usize,
    /// Whether to colour.
    pub paint: Paint,
    /// Whether to show what exactly to set.
    pub fixes: bool,
}

/// What a finding is about has this many columns.
const WHAT: usize = 16;
/// Where the text of a finding begins: behind two spaces, its state and what it is about.
const INDENT: usize = 2 + 6 + WHAT + 2;

impl Style {
    /// Findings under the headings of their groups, in the order in which they come.
    pub fn findings(self, findings: &[Finding]) -> String {
        let mut text = String::new();
        let mut group: Option<Group> = None;
        for finding in findings {
            if group.replace(finding.group) != Some(finding.group) {
                let gap = if text.is_empty() { "" } else { "\n" };
                let _infallible = writeln!(text, "{gap}{}", self.paint.heading(finding.group.title()));
            }
            text += &self.finding(finding);
        }
        text
    }

    /// One finding: what was found, what to do, and what exactly to set.
    pub fn finding(self, finding: &Finding) -> String {
        let state = format!("{:<4}", finding.state.word());
        let state = match finding.state {
            State::Ok => self.paint.good(&state),
            State::Off => state,
            State::Warn => self.paint.caution(&state),
            State::Fail => self.paint.bad(&state),
        };
        let mut lines = paragraph(&finding.detail, INDENT, 0, self.width).into_iter();
        let first = lines.next().unwrap_or_default();
        let mut text = format!("  {state}  {:<WHAT$}  {}\n", finding.what, first.trim_start());
        lines.for_each(|line| text += &(line + "\n"));
        for line in finding.advice.iter().flat_map(|advice| paragraph(&format!("→ {advice}"), INDENT, 2, self.width)) {
            text += &(line + "\n");
        }
        if self.fixes {
            finding.fixes.iter().for_each(|fix| text += &self::fix(fix));
        }
        text
    }

    /// How many findings are of which kind, and how to learn more.
    pub fn summary(self, findings: &[&Finding]) -> String {
        let count = |state| findings.iter().filter(|finding| finding.state == state).count();
        let (failures, warnings) = (count(State::Fail), count(State::Warn));
        let text = match (failures, warnings) {
            (0, 0) => "Everything is in place.".to_owned(),
            (0, warnings) => format!("Nothing is in the way; {} to look at.", things(warnings)),
            (failures, 0) => format!("{} in the way.", are(failures)),
            (failures, warnings) => format!("{} in the way, and {} to look at.", are(failures), things(warnings)),
        };
        let more = findings.iter().any(|finding| matches!(finding.state, State::Warn | State::Fail) && !finding.fixes.is_empty());
        let hint = if more && !self.fixes { " With --fix-hints it says what exactly to set." } else { "" };
        let painted = |line: String| match (failures, warnings) {
            (0, 0) => self.paint.good(&line),
            (0, _) => self.paint.caution(&line),
            _ => self.paint.bad(&line),
        };
        paragraph(&(text + hint), 0, 0, self.width).into_iter().map(|line| painted(line) + "\n").collect()
    }
}

fn things(count: usize) -> String {
    counted(count, "thing")
}

/// `1 pod`, `2 pods`
pub(super) fn counted(count: usize, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

fn are(count: usize) -> String {
    format!("{} {}", things(count), if count == 1 { "is" } else { "are" })
}

/// What to set stands on a line of its own and is not wrapped, so that it can be copied; far to the left, so that it fits.
fn fix(fix: &Fix) -> String {
    let (place, set) = fix.parts();
    format!("{:8}{place}: {set}\n", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok(Group::Kernel, "kernel", "Linux 6.18 for amd64"),
            Finding::warn(
                Group::Node,
                "memory",
                "the control group may take 48 MiB; 64 MiB are enough for a usual node",
                "raise the limit",
            )
            .fix(Fix::Helm("resources.limits.memory=64Mi".to_owned())),
            Finding::off(Group::Outputs, "webhook", "none").fix(Fix::Helm("webhook.secretName=SECRET".to_owned())),
        ]
    }

    #[test]
    fn findings_wrap_below_their_text_and_fixes_do_not() {
        let style = Style { width: 60, paint: Paint::Plain, fixes: true };
        assert_eq!(
            style.findings(&findings()),
            "\
Kernel
  ok    kernel            Linux 6.18 for amd64

Node
  warn  memory            the control group may take 48 MiB;
                          64 MiB are enough for a usual node
                          → raise the limit
        helm --set: resources.limits.memory=64Mi

Events and metrics
  off   webhook           none
        helm --set: webhook.secretName=SECRET
"
        );
        let short = Style { fixes: false, ..style }.findings(&findings());
        assert!(!short.contains("helm"), "{short}");
    }

    #[test]
    fn the_summary_counts_and_says_how_to_learn_more() {
        let style = Style { width: 200, paint: Paint::Plain, fixes: false };
        let all = findings();
        let of = |findings: &[Finding]| style.summary(&findings.iter().collect::<Vec<_>>());
        assert_eq!(of(&all[..1]), "Everything is in place.\n");
        assert_eq!(of(&all), "Nothing is in the way; 1 thing to look at. With --fix-hints it says what exactly to set.\n");
        let failed = Finding { state: State::Fail, ..all[0].clone() };
        assert_eq!(of(&[failed.clone(), all[0].clone()]), "1 thing is in the way.\n");
        assert_eq!(
            of(&[failed.clone(), failed, all[1].clone()]),
            "2 things are in the way, and 1 thing to look at. With --fix-hints it says what exactly to set.\n"
        );
    }
}
