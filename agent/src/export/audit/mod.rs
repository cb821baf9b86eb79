//! A verdict as an event of the API server's own audit log, so that what reads that log reads ours.

mod annotations;
mod explained;
mod json;
mod micros;
mod people;
mod repeats;
#[cfg(test)]
mod tests;

pub use explained::ANNOTATIONS;

pub(super) use annotations::{caller, granted_by};

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use self::annotations::Annotations;
use self::micros::Micros;
use self::people::People;
use self::repeats::Repeats;
use super::Clock;
use crate::judge::{Stage, Verdict};
use crate::kubelet::{Endpoint, Subresource, redact_commands};
use crate::observation::{RequestId, Text, Timestamp};

/// An event of `audit.k8s.io/v1` (k8s.io/apiserver/pkg/apis/audit/v1/types.go), as far as it is filled here.
///
/// What differs from one request of a caller to the next comes first, at the same places in all lines: see [`Auditor::line`]. Its size is bounded by the limits of the wire: a request target of 4 KiB, a reason of 1 KiB, 32 groups of 256 bytes. It borrows from the
/// verdict what that holds: most events live no longer than it takes to write them down.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: Uuid,
    request_received_timestamp: Micros,
    stage_timestamp: Micros,
    pub(super) stage: AuditStage,
    #[serde(rename = "requestURI")]
    request_uri: Cow<'a, str>,
    pub(super) verb: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "json::shared")]
    user: Option<Arc<RawValue>>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Option::is_none")]
    source_ips: Option<[IpAddr; 1]>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    pub(super) object_ref: ObjectReference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Status>,
    annotations: Annotations<'a>,
}

/// How far a request had come: the stages of `audit.k8s.io/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditStage {
    /// Before anything was done. There is no such event here, but a policy may name it.
    RequestReceived,
    /// The headers of the response are out, and more will follow.
    ResponseStarted,
    /// It is over.
    ResponseComplete,
    /// It is over by a panic.
    Panic,
}

impl AuditStage {
    /// The stages that events have here.
    pub const WRITTEN: [Self; 3] = [Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectReference<'a> {
    pub(super) resource: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    api_version: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) subresource: &'a str,
}

/// `meta/v1` `Status`, of which the API server's log holds these two as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Status {
    metadata: Empty,
    code: u16,
}

/// `{}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Empty {}

/// Whether events hold the commands that callers ran, which can hold secrets (kubernetes#97795).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commands {
    /// As sent.
    Full,
    /// Only how many words they had.
    Redacted,
}

/// Writes verdicts down.
#[derive(Debug)]
pub struct Auditor {
    namespace: Uuid,
    node: String,
    commands: Commands,
    people: People,
    repeats: Repeats,
}

/// What an event says of itself beside what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Other events were left out, so that nobody takes the events of this agent for all that was done.
    pub policy: bool,
    /// More refused requests of the same caller may follow within the minute and have no events.
    pub last: bool,
}

/// What is another in every event.
struct Instants {
    audit_id: Uuid,
    received: Micros,
    stage: Micros,
}

impl Auditor {
    /// `namespace` is random for each run of the agent: `auditID`s are made from it and from the request's name. `node` is the name of this node.
    pub fn new(namespace: Uuid, node: impl Into<String>, commands: Commands) -> Self {
        Self { namespace, node: node.into(), commands, people: People::default(), repeats: Repeats::default() }
    }

    /// The event of a verdict.
    pub fn event<'a>(&'a self, verdict: &'a Verdict, clock: Clock) -> AuditEvent<'a> {
        let exchange = &verdict.exchange;
        let request = exchange.request.as_ref();
        let check = exchange.checks.last();
        let verb = check.and_then(|check| check.verb.known()).unwrap_or(verdict.judgement.verb.as_str());
        let Instants { audit_id, received, stage } = self.instants(verdict, clock);
        AuditEvent {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            audit_id,
            request_received_timestamp: received,
            stage_timestamp: stage,
            stage: audit_stage(verdict),
            request_uri: request.map_or_else(Cow::default, |request| self.uri(&request.uri)),
            verb,
            user: check.and_then(|check| self.people.written(&check.user)),
            source_ips: request.and_then(|request| request.remote).map(|remote| [remote.ip().to_canonical()]),
            user_agent: request.and_then(|request| request.user_agent.known()).unwrap_or_default(),
            object_ref: self.object_ref(verdict),
            response_status: verdict.judgement.status.map(|code| Status { metadata: Empty {}, code }),
            annotations: annotations::annotations(verdict, &self.node),
        }
    }

    /// Hands out the same as one line of JSON, newline included. No character that a terminal or a log viewer obeys is in it.
    pub fn line<T>(&self, verdict: &Verdict, clock: Clock, marks: Marks, take: impl FnOnce(&[u8]) -> T) -> T {
        let write = |line: &mut Vec<u8>| {
            let mut event = self.event(verdict, clock);
            event.mark(marks);
            json::write_line(&event, line);
        };
        self.repeats.line(verdict, marks, &self.instants(verdict, clock), write, take)
    }

    fn instants(&self, verdict: &Verdict, clock: Clock) -> Instants {
        let first = first_seen(verdict);
        let begin = verdict.exchange.request.as_ref().map_or(first, |request| request.time);
        Instants {
            audit_id: self.audit_id(verdict.exchange.id, first),
            received: Micros(clock.wall(begin)),
            stage: Micros(clock.wall(verdict.at)),
        }
    }

    /// The same for all stages of one request. A request whose begin was not seen is named by the first thing that was.
    fn audit_id(&self, id: RequestId, first: Timestamp) -> Uuid {
        let begin = id.begin.unwrap_or(first);
        let mut hasher = DefaultHasher::new();
        (self.namespace, id.tgid, id.goroutine, begin).hash(&mut hasher);
        let first = hasher.finish();
        // It has taken in more by then, so the other half is another number.
        hasher.write_u64(first);
        Uuid::new_v8((u128::from(first) << 64 | u128::from(hasher.finish())).to_be_bytes())
    }

    fn uri<'a>(&self, uri: &'a Text) -> Cow<'a, str> {
        let uri = uri.known().unwrap_or_default();
        match self.commands {
            Commands::Full => uri.into(),
            Commands::Redacted => redact_commands(uri).into(),
        }
    }

    fn object_ref<'a>(&'a self, verdict: &'a Verdict) -> ObjectReference<'a> {
        let endpoint = &verdict.judgement.endpoint;
        if let Some(target) = endpoint.target() {
            return ObjectReference {
                resource: "pods",
                namespace: &target.namespace,
                name: &target.pod,
                uid: target.uid.as_deref().unwrap_or_default(),
                api_version: "v1",
                subresource: pod_subresource(endpoint),
            };
        }
        let check = verdict.exchange.checks.last();
        let asked = check.and_then(|check| check.subresource.known());
        let would_be = match endpoint {
            Endpoint::Other => None,
            _ => endpoint.finer().or(endpoint.required()).map(Subresource::as_str),
        };
        ObjectReference {
            resource: "nodes",
            name: check.and_then(|check| check.node.known()).unwrap_or(&self.node),
            api_version: "v1",
            subresource: asked.or(would_be).unwrap_or_default(),
            ..ObjectReference::default()
        }
    }
}

impl AuditEvent<'_> {
    fn mark(&mut self, marks: Marks) {
        if marks.policy {
            self.annotations.insert(annotations::AUDIT_POLICY, "applied");
        }
        if marks.last {
            self.annotations.insert(annotations::REFUSED_EVENTS, "withheld");
        }
    }

    /// Whether something of the request was not seen.
    pub(super) fn is_partial(&self) -> bool {
        self.annotations.contains(annotations::COMPLETENESS)
    }

    /// The event as one line: see [`Auditor::line`].
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(2048);
        json::write_line(self, &mut line);
        line
    }
}

fn audit_stage(verdict: &Verdict) -> AuditStage {
    let panicked = verdict.exchange.end.and_then(|end| end.panicked);
    match verdict.stage {
        Stage::Authorized | Stage::Answered | Stage::Lasting => AuditStage::ResponseStarted,
        Stage::Ended if panicked == Some(true) => AuditStage::Panic,
        Stage::Ended => AuditStage::ResponseComplete,
    }
}

/// The subresource of `pods` that the API server has for the same thing, where it has one.
const fn pod_subresource(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::PortForward(_) => "portforward",
        Endpoint::ContainerLogs(_) => "log",
        Endpoint::AllocatedPods(_) => "",
        _ => endpoint.label(),
    }
}

fn first_seen(verdict: &Verdict) -> Timestamp {
    let exchange = &verdict.exchange;
    let times = [
        exchange.request.as_ref().map(|request| request.time),
        exchange.checks.first().map(|check| check.time),
        exchange.answer.map(|(time, _)| time),
        exchange.end.map(|end| end.time),
    ];
    times.into_iter().flatten().min().unwrap_or(verdict.at)
}
