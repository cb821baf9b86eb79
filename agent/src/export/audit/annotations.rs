//! The annotations of an event: the check in the kubelet's own words, and what was made of it.

use std::collections::BTreeMap;

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

pub(super) fn annotations(verdict: &Verdict, node: &str) -> BTreeMap<&'static str, String> {
    let exchange = &verdict.exchange;
    let judgement = &verdict.judgement;
    let last = exchange.checks.last();
    let all = [
        ("authorization.k8s.io/decision", last.and_then(decision).map(str::to_owned)),
        ("authorization.k8s.io/reason", last.and_then(|check| check.reason.known()).map(str::to_owned)),
        ("kubewitness.dev/access", Some(judgement.access.kind().as_str().to_owned())),
        ("kubewitness.dev/caller", caller(&exchange.caller)),
        ("kubewitness.dev/checks", (!exchange.checks.is_empty()).then(|| checks(&exchange.checks))),
        (COMPLETENESS, completeness(exchange)),
        ("kubewitness.dev/endpoint", Some(judgement.endpoint.label().to_owned())),
        ("kubewitness.dev/findings", (!judgement.findings.is_empty()).then(|| join(judgement.findings.iter().map(Finding::id)))),
        ("kubewitness.dev/granted-by", granted_by(judgement)),
        ("kubewitness.dev/node", Some(node.to_owned())),
        ("kubewitness.dev/transport", Some(judgement.transport.as_str().to_owned())),
        ("kubewitness.dev/without-nodes-proxy", without_nodes_proxy(judgement)),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
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
    let word = |check: &Check| {
        let answer = match check.decision {
            Decision::Deny => "deny",
            Decision::Allow => "allow",
            Decision::NoOpinion => "no-opinion",
            Decision::Error => "error",
        };
        format!("{} nodes/{}={answer}", shown(&check.verb), shown(&check.subresource))
    };
    checks.iter().map(word).collect::<Vec<_>>().join(" ")
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
    let Caller::Local(LocalCaller { pid, comm, place }) = caller else { return None };
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
