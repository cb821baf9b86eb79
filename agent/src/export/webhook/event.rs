//! What the queue and the sender need to know of an event, which they have as JSON, and the list in which events are sent.

use bytes::Bytes;
use serde::Deserialize;

use super::queue::Weight;
use crate::judge::{Finding, Severity};

/// What names an event: no other has all of them. A request that is found out while it runs has two events of one stage.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Key {
    /// The same for all stages of a request.
    #[serde(rename = "auditID")]
    pub(super) audit_id: String,
    /// How far the request was.
    pub(super) stage: String,
    /// When it was so far; `None` if that is not to be read.
    #[serde(deserialize_with = "time")]
    pub(super) stage_timestamp: Option<jiff::Timestamp>,
}

impl Key {
    /// Empty for what is no event.
    pub(super) fn of(event: &[u8]) -> Self {
        serde_json::from_slice(event).unwrap_or_default()
    }
}

fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    Ok(String::deserialize(deserializer)?.parse().ok())
}

/// An alarm is an event with a finding that is worse than a mere piece of information.
pub(super) fn weight(event: &[u8]) -> Weight {
    // What callers chose cannot look like this: a quote in it is escaped.
    const FINDINGS: &[u8] = br#""kubewitness.dev/findings":""#;
    let found = memchr::memmem::find(event, FINDINGS).map(|at| &event[at + FINDINGS.len()..]);
    let ids = found.and_then(|rest| str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()).unwrap_or_default();
    let alarm = ids.split(',').filter_map(Finding::parse).any(|finding| finding.severity() != Severity::Info);
    if alarm { Weight::Alarm } else { Weight::Usual }
}

/// `audit.k8s.io/v1` `EventList` (k8s.io/apiserver/pkg/apis/audit/v1/types.go), as the API server sends it.
pub(super) fn list<'a>(events: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut list = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
    for (number, event) in events.enumerate() {
        if number > 0 {
            list.push(b',');
        }
        list.extend_from_slice(event);
    }
    list.extend_from_slice(b"]}\n");
    list.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_by_its_findings_and_by_nothing_else() {
        let event = |findings: &str, agent: &str| {
            let annotations = serde_json::json!({"kubewitness.dev/findings": findings});
            serde_json::json!({"userAgent": agent, "annotations": annotations}).to_string()
        };
        let spoof = r#""kubewitness.dev/findings":"unlogged-exec""#;
        for (event, expected) in [
            (event("unlogged-exec", ""), Weight::Alarm),
            (event("nodes-proxy-fallback,probing", ""), Weight::Alarm),
            (event("nodes-proxy-fallback", ""), Weight::Usual),
            (event("exec-attempt", spoof), Weight::Usual),
            (event("", spoof), Weight::Usual),
            (format!("{{\"userAgent\":{}}}", serde_json::json!(spoof)), Weight::Usual),
            (r#"{"kubewitness.dev/findings":"#.to_owned(), Weight::Usual),
        ] {
            assert_eq!(weight(event.as_bytes()), expected, "{event}");
        }
    }

    #[test]
    fn keys_are_read_and_lists_are_json() {
        let event = br#"{"auditID":"a","stage":"Panic","stageTimestamp":"2026-01-01T00:00:00.000001Z","verb":"get"}"#;
        let key = Key::of(event);
        assert_eq!((key.audit_id.as_str(), key.stage.as_str()), ("a", "Panic"));
        assert_eq!(key.stage_timestamp, "2026-01-01T00:00:00.000001Z".parse().ok());
        assert_eq!(Key::of(b"{"), Key::default());
        assert_eq!(Key::of(br#"{"auditID":"a","stageTimestamp":"soon"}"#).audit_id, "a");
        for count in 0..3 {
            let events = vec![&event[..]; count];
            let list: serde_json::Value = serde_json::from_slice(&list(events.into_iter())).unwrap();
            assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("EventList"), count));
        }
    }
}
