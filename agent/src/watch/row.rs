//! What is shown of an event.

use jiff::Timestamp;

use crate::inert::Inert;
use crate::judge::{Finding, Severity};
use crate::kubelet::PodTarget;
use crate::rbac::Subject;
use crate::report::{Event, Stage};

/// One line's worth of an event. Its texts are as callers chose them.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// When it had come so far.
    pub(super) at: Option<Timestamp>,
    /// `auditID`
    pub(super) audit_id: &'a str,
    /// The whole name; empty if nobody was recognised.
    pub(super) identity: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) pod: Option<PodTarget>,
    pub(super) access: &'a str,
    /// The status of the answer; none before it, and where it was not seen.
    pub(super) code: Option<u32>,
    /// It is over.
    pub(super) is_over: bool,
    /// Findings, the gravest first.
    pub(super) findings: Vec<Finding>,
    /// Those that are not known here: a newer agent may have written them.
    pub(super) unknown: Vec<&'a str>,
    /// Something of it was not seen.
    pub(super) is_partial: bool,
}

impl<'a> Row<'a> {
    pub(super) fn of(event: &'a Event<'a>) -> Self {
        let mut findings = Vec::new();
        let mut unknown = Vec::new();
        for id in event.findings() {
            match Finding::parse(id) {
                Some(finding) => findings.push(finding),
                None => unknown.push(id),
            }
        }
        // As they are declared, the gravest comes first.
        findings.sort_unstable();
        Self {
            at: event.at().or_else(|| event.received()),
            audit_id: event.audit_id(),
            identity: event.user_name(),
            endpoint: event.endpoint(),
            pod: event.pod(),
            access: event.access().unwrap_or_default(),
            code: event.code(),
            is_over: event.stage() == Stage::Ended,
            findings,
            unknown,
            is_partial: event.is_partial(),
        }
    }

    /// The severity of its gravest finding. One that is not known may be as grave as any.
    pub(super) fn severity(&self) -> Option<Severity> {
        let unknown = (!self.unknown.is_empty()).then_some(Severity::Warning);
        self.findings.iter().map(|finding| finding.severity()).max().max(unknown)
    }

    /// Whether anything is wrong with it.
    pub(super) fn has_findings(&self) -> bool {
        !self.findings.is_empty() || !self.unknown.is_empty()
    }

    /// The words for what is wrong with it, the gravest first.
    pub(super) fn words(&self) -> Vec<String> {
        let known = self.findings.iter().map(|finding| finding.id().to_owned());
        let unknown = self.unknown.iter().map(|id| Inert(id).to_string());
        let partial = self.is_partial.then(|| "partial".to_owned());
        known.chain(unknown).chain(partial).collect()
    }

    /// What was asked for: `exec default/web/main`.
    pub(super) fn request(&self) -> String {
        let pod = self.pod_name();
        let space = if pod.is_empty() { "" } else { " " };
        format!("{}{space}{pod}", Inert(self.endpoint))
    }

    /// `default/web/main`; empty where no pod is named.
    pub(super) fn pod_name(&self) -> String {
        let Some(PodTarget { namespace, pod, container, .. }) = &self.pod else { return String::new() };
        let container = container.iter().flat_map(|container| ["/", container]);
        Inert(&[&**namespace, "/", pod].into_iter().chain(container).collect::<String>()).to_string()
    }

    /// The status of the answer, with `+` while the request goes on: `101+`, and `+` before an answer.
    pub(super) fn code(&self) -> String {
        let code = self.code.map(|code| code.to_string());
        let none = if self.is_over { "-" } else { "" };
        format!("{}{}", code.as_deref().unwrap_or(none), if self.is_over { "" } else { "+" })
    }
}

/// A name in few words: `monitoring/agent` for a `ServiceAccount`, `node:worker-1` for a node, `-` for nobody.
pub(super) fn short(identity: &str) -> String {
    if identity.is_empty() {
        return "-".to_owned();
    }
    if let Some((namespace, name)) = Subject::of_username(identity).as_service_account() {
        return format!("{namespace}/{name}");
    }
    identity.strip_prefix("system:").filter(|rest| rest.starts_with("node:")).unwrap_or(identity).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, row};
    use super::*;

    #[test]
    fn names_in_few_words() {
        for (identity, expected) in [
            ("", "-"),
            ("jane", "jane"),
            ("system:anonymous", "system:anonymous"),
            ("system:serviceaccount:monitoring:agent", "monitoring/agent"),
            ("system:node:worker-1", "node:worker-1"),
            ("system:nodes", "system:nodes"),
            ("system:serviceaccount:", "system:serviceaccount:"),
        ] {
            assert_eq!(short(identity), expected);
        }
    }

    #[test]
    fn codes_tell_whether_the_request_goes_on() {
        for (stage, code, expected) in [
            ("ResponseStarted", None, "+"),
            ("ResponseStarted", Some(101), "101+"),
            ("ResponseComplete", Some(101), "101"),
            ("ResponseComplete", None, "-"),
            ("Panic", Some(200), "200"),
        ] {
            row(&Made { stage, code, ..Made::default() }, |row| assert_eq!(row.code(), expected));
        }
    }

    #[test]
    fn the_gravest_finding_comes_first_and_gives_the_severity() {
        for (findings, words, severity) in [
            ("", "", None),
            ("nodes-proxy-fallback", "nodes-proxy-fallback", Some(Severity::Info)),
            ("nodes-proxy-fallback,unlogged-exec,verb-bypass", "unlogged-exec verb-bypass nodes-proxy-fallback", Some(Severity::Critical)),
            ("of-tomorrow", "of-tomorrow", Some(Severity::Warning)),
            ("exec-attempt,of\u{202e}tomorrow", r"exec-attempt of\u202etomorrow", Some(Severity::Warning)),
        ] {
            row(&Made { findings, ..Made::default() }, |row| {
                assert_eq!((row.words().join(" ").as_str(), row.severity()), (words, severity));
            });
        }
    }
}
