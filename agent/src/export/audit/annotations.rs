//! The annotations of an event: the check in the kubelet's own words, and what was made of it.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::exchange::{Caller, Exchange, Gap, LocalCaller, Place};
use crate::judge::{Backing, Finding, Judgement, Verdict, WhatIf};
use crate::kubelet::Grant;
use crate::observation::{Check, Decision, Text};

/// What an event holds of which something was not seen.
pub(super) const COMPLETENESS: &str = "kubewitness.dev/completeness";

/// What an event holds whose agent leaves others out.
pub(super) const AUDIT_POLICY: &str = "kubewitness.dev/audit-policy";
/// More refused requests of this caller may follow that have no events.
pub(super) const REFUSED_EVENTS: &str = "kubewitness.dev/refused-events";

/// Keys and values, in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Annotations<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl Annotations<'_> {
    /// Adds one that is not there.
    pub(super) fn insert(&mut self, key: &'static str, value: &'static str) {
        let place = self.0.partition_point(|(before, _)| *before < key);
        self.0.insert(place, (key, value.into()));
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == key)
    }
}

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

pub(super) fn annotations<'a>(verdict: &'a Verdict, node: &'a str) -> Annotations<'a> {
    let exchange = &verdict.exchange;
    let judgement = &verdict.judgement;
    let last = exchange.checks.last();
    let all = [
        ("authorization.k8s.io/decision", last.and_then(decision).map(Cow::from)),
        ("authorization.k8s.io/reason", last.and_then(|check| check.reason.known()).map(Cow::from)),
        ("kubewitness.dev/access", Some(judgement.access.kind().as_str().into())),
        ("kubewitness.dev/caller", caller(&exchange.caller).map(Cow::from)),
        ("kubewitness.dev/checks", (!exchange.checks.is_empty()).then(|| checks(&exchange.checks).into())),
        (COMPLETENESS, completeness(exchange).map(Cow::from)),
        ("kubewitness.dev/endpoint", Some(judgement.endpoint.label().into())),
        ("kubewitness.dev/findings", (!judgement.findings.is_empty()).then(|| join(judgement.findings.iter().map(Finding::id)).into())),
        ("kubewitness.dev/granted-by", granted_by(judgement).map(Cow::from)),
        ("kubewitness.dev/node", Some(node.into())),
        ("kubewitness.dev/transport", Some(judgement.transport.as_str().into())),
        ("kubewitness.dev/without-nodes-proxy", without_nodes_proxy(judgement).map(Cow::from)),
    ];
    let mut present = Vec::with_capacity(all.len() + 2);
    present.extend(all.into_iter().filter_map(|(key, value)| Some((key, value?))));
    Annotations(present)
}

/// The API server's word for it (k8s.io/apiserver/pkg/endpoints/filters/authorization.go); it has none for an error.
fn decision(check: &Check) -> Option<&'static str> {
    match check.decision {
        Decision::Allow => Some("allow"),
        Decision::Deny | Decision::NoOpinion => Some("forbid"),
        Decision::Error => None,
    }
}

/// `get nodes/pods=no-opinion get nodes/proxy=allow`
fn checks(checks: &[Check]) -> String {
    let mut words = String::with_capacity(64);
    for check in checks {
        let answer = match check.decision {
            Decision::Deny => "deny",
            Decision::Allow => "allow",
            Decision::NoOpinion => "no-opinion",
            Decision::Error => "error",
        };
        let space = if words.is_empty() { "" } else { " " };
        words.extend([space, shown(&check.verb), " nodes/", shown(&check.subresource), "=", answer]);
    }
    words
}

fn shown(text: &Text) -> &str {
    match text.known() {
        Some("") => "\"\"",
        Some(word) => word,
        None => "?",
    }
}

/// What the kubelet was told, and whether the RBAC objects bear it out.
pub(in crate::export) fn granted_by(judgement: &Judgement) -> Option<String> {
    let grant = judgement.access.grant().filter(|grant| **grant != Grant::Unknown)?;
    Some(match judgement.entitlement.as_ref().map(|entitlement| entitlement.backing) {
        Some(Backing::Stale) => format!("{grant} (stale)"),
        Some(Backing::Contradicted) => Grant::OutsideRbac.to_string(),
        Some(Backing::Confirmed | Backing::Unknown) | None => grant.to_string(),
    })
}

fn without_nodes_proxy(judgement: &Judgement) -> Option<String> {
    judgement.entitlement.as_ref()?.without_nodes_proxy.as_ref().map(WhatIf::to_string)
}

/// A caller of this node: `pod default/web 2f3c…`, or `process 4242 curl`.
pub(in crate::export) fn caller(caller: &Caller) -> Option<String> {
    let Caller::Local(caller) = caller else { return None };
    let LocalCaller { pid, comm, place } = &**caller;
    Some(match place {
        Place::Pod { uid, name: Some((namespace, name)) } => format!("pod {namespace}/{name} {uid}"),
        Place::Pod { uid, name: None } => format!("pod {uid}"),
        Place::Host | Place::Unknown if *pid == 0 => format!("process ? {comm}"),
        Place::Host | Place::Unknown => format!("process {pid} {comm}"),
    })
}

/// `partial: <why>` where anything is missing; groups beyond those that are kept count as cut.
fn completeness(exchange: &Exchange) -> Option<String> {
    let mut gaps = exchange.gaps.clone();
    let groups_missing = exchange.checks.last().is_some_and(|check| check.user.group_count != Some(check.user.groups.len()));
    if groups_missing && !gaps.contains(&Gap::Cut) {
        gaps.push(Gap::Cut);
    }
    (!gaps.is_empty()).then(|| format!("partial: {}", join(gaps.into_iter().map(Gap::as_str))))
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(",")
}
