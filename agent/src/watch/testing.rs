//! Events for tests.

use super::row::Row;
use crate::report::{Heard, Lines};

/// What an event says.
pub(super) struct Made<'a> {
    pub(super) at: &'a str,
    pub(super) audit_id: &'a str,
    pub(super) stage: &'a str,
    pub(super) user: &'a str,
    pub(super) uri: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) access: &'a str,
    pub(super) code: Option<u16>,
    pub(super) findings: &'a str,
}

impl Default for Made<'_> {
    fn default() -> Self {
        Self {
            at: "2026-03-04T05:06:07.123456Z",
            audit_id: "1",
            stage: "ResponseComplete",
            user: "system:serviceaccount:monitoring:agent",
            uri: "/exec/default/web/main?command=id",
            endpoint: "exec",
            access: "proxy-only",
            code: Some(101),
            findings: "",
        }
    }
}

impl Made<'_> {
    /// As a line, with its end.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut event = serde_json::json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "auditID": self.audit_id,
            "stage": self.stage,
            "requestURI": self.uri,
            "user": {"username": self.user},
            "stageTimestamp": self.at,
            "annotations": {"kubewitness.dev/access": self.access, "kubewitness.dev/endpoint": self.endpoint},
        });
        if let Some(code) = self.code {
            event["responseStatus"] = serde_json::json!({"metadata": {}, "code": code});
        }
        if !self.findings.is_empty() {
            event["annotations"]["kubewitness.dev/findings"] = self.findings.into();
        }
        format!("{event}\n").into_bytes()
    }
}

/// Shows the row of an event, which is read from its line.
pub(super) fn row(made: &Made, mut look: impl FnMut(&Row)) {
    let mut seen = 0;
    Lines::default().feed(&made.line(), |heard| match heard {
        Heard::Event(event, _) => {
            seen += 1;
            look(&Row::of(event));
        }
        heard => panic!("{heard:?}"),
    });
    assert_eq!(seen, 1);
}
