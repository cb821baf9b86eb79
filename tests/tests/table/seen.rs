//! What the agent wrote, and how it differs from what it should have written.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use crate::expect::{CLIENT, Expected};

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// For people.
    pub(crate) what: String,
    /// No two requests have the same.
    pub(crate) user_agent: String,
    /// The events that it must lead to, in order.
    pub(crate) expected: Expected,
    /// How long the client waited.
    pub(crate) took: Duration,
}

/// After this time the agent takes what is neither answered nor over to run.
const GRACE: Duration = Duration::from_millis(300);

/// All events.
pub(crate) struct Seen {
    events: Vec<Value>,
}

impl Seen {
    pub(crate) fn of(events: Vec<Value>) -> Self {
        Self { events }
    }

    pub(crate) fn events(&self) -> &[Value] {
        &self.events
    }

    /// The requests that are over.
    pub(crate) fn complete(&self) -> usize {
        self.ends().count()
    }

    fn ends(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(|event| event["stage"] == "ResponseComplete")
    }

    /// Each 20th refusal within a minute, of one user or of one address without a user, is probing, once a minute. How many minutes
    /// these were is not known, so at least one in 20 and at least one of many must be told, and none of those who were refused less.
    pub(crate) fn probing(&self) -> Vec<String> {
        let mut refused: HashMap<String, (usize, usize)> = HashMap::new();
        for event in self.ends() {
            let annotation = |key| event["annotations"][key].as_str().unwrap_or_default();
            let who = match annotation("kubewitness.dev/access") {
                "denied" => event["user"]["username"].to_string(),
                "unauthenticated" => event["sourceIPs"].to_string(),
                _ => "who was let in".to_owned(),
            };
            let (refusals, told) = refused.entry(who).or_default();
            *refusals += 1;
            *told += usize::from(annotation("kubewitness.dev/findings").split(',').any(|finding| finding == "probing"));
        }
        refused
            .remove("who was let in")
            .filter(|(_, told)| *told > 0)
            .into_iter()
            .map(|_| "being let in is not probing".to_owned())
            .chain(
                refused
                    .into_iter()
                    .filter(|(_, (refusals, told))| *told > refusals / 20 || (*refusals >= 60 && *told == 0))
                    .map(|(who, (refusals, told))| format!("{who} was refused {refusals} times, which is told as probing {told} times")),
            )
            .collect()
    }

    /// Every difference, a line each.
    pub(crate) fn compare(&self, sent: &[Sent]) -> Vec<String> {
        let mut by_agent: HashMap<&str, Vec<&Value>> = HashMap::new();
        for event in &self.events {
            by_agent.entry(event["userAgent"].as_str().unwrap_or_default()).or_default().push(event);
        }
        let mut wrong = Vec::new();
        let mut ids = HashSet::new();
        for sent in sent {
            let seen = by_agent.remove(sent.user_agent.as_str()).unwrap_or_default();
            let told: HashSet<_> = seen.iter().filter_map(|event| event["auditID"].as_str()).collect();
            if told.len() != 1 || !told.into_iter().all(|id| ids.insert(id.to_owned())) {
                wrong.push(format!("{}: its events have not one audit id of their own", sent.what));
            }
            let bare: Vec<_> = seen.iter().map(|event| strip(event)).collect();
            let slow = sent.took >= GRACE || sent.expected.or_else;
            if slow && sent.expected.if_slow.as_ref() == Some(&bare) {
                continue;
            }
            let expected = &sent.expected.events;
            if bare.len() != expected.len() {
                let stages: Vec<_> = bare.iter().map(|event| event["stage"].as_str().unwrap_or_default()).collect();
                wrong.push(format!("{}: {} events expected, seen {stages:?} ({:?})", sent.what, expected.len(), sent.took));
            }
            for (seen, expected) in bare.iter().zip(expected) {
                let mut differences = Vec::new();
                difference("", seen, expected, &mut differences);
                wrong.extend(differences.into_iter().map(|difference| format!("{}, {}: {difference}", sent.what, expected["stage"])));
            }
        }
        wrong
    }
}

/// Without what differs from run to run, which is looked at by itself: a wrong one stays in, and is a difference.
fn strip(event: &Value) -> Value {
    let mut event = event.clone();
    let time = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let in_order = time(&event, "requestReceivedTimestamp") <= time(&event, "stageTimestamp");
    let process = format!("process {} ", std::process::id());
    let local = event.pointer("/annotations/kubewitness.dev~1caller").and_then(Value::as_str).is_some_and(|it| it.starts_with(&process));
    let credential = event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].as_str();
    let known = credential.is_some_and(|id| id.starts_with("JTI=") || id.starts_with("X509SHA256="));
    let Some(fields) = event.as_object_mut() else { return event };
    fields.remove("auditID");
    if in_order {
        fields.remove("requestReceivedTimestamp");
        fields.remove("stageTimestamp");
    }
    let annotations = fields.get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        if local {
            annotations.insert("kubewitness.dev/caller".to_owned(), Value::from(CLIENT));
        }
        without_probing(annotations);
    }
    let user = fields.get_mut("user").and_then(Value::as_object_mut);
    if let (Some(user), true) = (user, known) {
        user.remove("extra");
    }
    event
}

/// Who is refused often is probing. When the twentieth refusal comes depends on time; the rest of the findings does not.
fn without_probing(annotations: &mut serde_json::Map<String, Value>) {
    const KEY: &str = "kubewitness.dev/findings";
    let Some(findings) = annotations.get(KEY).and_then(Value::as_str) else { return };
    let rest: Vec<_> = findings.split(',').filter(|finding| *finding != "probing").collect();
    let rest = rest.join(",");
    if rest.is_empty() {
        annotations.remove(KEY);
    } else {
        annotations.insert(KEY.to_owned(), Value::String(rest));
    }
}

/// The fields in which two values differ, with both.
fn difference(path: &str, seen: &Value, expected: &Value, into: &mut Vec<String>) {
    if let (Value::Object(left), Value::Object(right)) = (seen, expected) {
        let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
        for name in names {
            let missing = &Value::Null;
            difference(&format!("{path}/{name}"), left.get(name).unwrap_or(missing), right.get(name).unwrap_or(missing), into);
        }
    } else if seen != expected {
        into.push(format!("{path} is {seen}, not {expected}"));
    }
}
