//! The report for programs: JSON whose fields are documented in `docs/report.md` and stay as they are within a version.

mod course;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Error, Value};

use self::course::{Migration, Timeline};
use super::{Caveat, Change, Example, Holder, HolderKind, Line, NewRule, Replacement, Report, Seen, Step, Way, Who, text::sentences};
use crate::inert::obeyed;
use crate::rbac::Subject;

/// The version of the document.
pub const VERSION: &str = "kubewitness.dev/report/v1";

/// Of the nodes that are too old for a role so many are named; `coverage.nodes` has the versions of all.
const NAMED: usize = 20;

/// The report as a document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    version: &'static str,
    coverage: Coverage,
    findings: Vec<Finding>,
    matrix: Vec<Use>,
    /// `null` without RBAC objects.
    holders: Option<Vec<HolderOf>>,
    replacements: Vec<ReplacementOf>,
    migration: Migration,
    /// `null` where the source does not tell it.
    timeline: Option<Timeline>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Coverage {
    source: String,
    rbac: Option<String>,
    window: Option<Window>,
    requests: u64,
    nodes: Vec<Node>,
    caveats: Vec<Remark>,
    notes: Vec<Note>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Window {
    from: jiff::Timestamp,
    to: jiff::Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    name: String,
    kubelet: Option<String>,
    /// Whether anything was seen of it.
    seen: bool,
    requests: u64,
    partial: u64,
    lost: Option<u64>,
    watched_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Remark {
    id: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct Note {
    id: &'static str,
    count: u64,
    text: String,
}

#[derive(Debug, Serialize)]
struct Finding {
    #[serde(rename = "finding")]
    id: &'static str,
    severity: &'static str,
    #[serde(flatten)]
    identity: Identity,
    count: u64,
    examples: Vec<ExampleOf>,
}

#[derive(Debug, Serialize)]
struct Identity {
    /// The username; `null` where there is none.
    identity: Option<String>,
    /// `user`, `others` or `nobody`.
    who: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExampleOf {
    time: jiff::Timestamp,
    node: String,
    #[serde(rename = "auditID")]
    audit_id: String,
    request: String,
    #[serde(rename = "sourceIP")]
    source_ip: String,
    /// The event itself; `null` where it is not kept.
    event: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Use {
    #[serde(flatten)]
    identity: Identity,
    endpoint: &'static str,
    access: &'static str,
    verb: &'static str,
    count: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HolderOf {
    subject: SubjectOf,
    kind: &'static str,
    binding: String,
    role: String,
    /// From 0.
    rule: u16,
    verbs: Vec<&'static str>,
    nodes: Option<Vec<String>>,
    wildcard: bool,
    can_exec: bool,
    used: Times,
    execs: Times,
    through_api_server: u64,
}

/// How often; `null` where it cannot be told.
#[derive(Debug, Serialize)]
struct Times(Option<u64>);

#[derive(Debug, Serialize)]
struct SubjectOf {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplacementOf {
    subject: SubjectOf,
    verdict: &'static str,
    text: &'static str,
    basis: Basis,
    covers: Vec<Covered>,
    /// The rules of the recommended role, `null` if there is none.
    role: Option<Role>,
    kept: Vec<KeptOf>,
    steps: Vec<StepOf>,
    diff: Vec<DiffLine>,
    kubelet: Kubelet,
    proof: Option<ProofOf>,
    granted_by: BTreeMap<String, u64>,
    caveats: Vec<Remark>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Basis {
    requests: u64,
    window: Option<Window>,
    nodes: Option<usize>,
    of_nodes: usize,
}

#[derive(Debug, Serialize)]
struct Covered {
    resource: String,
    verb: &'static str,
    /// Requests by endpoint.
    endpoints: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Role {
    name: String,
    rules: Vec<Rule>,
    /// The `ClusterRole` as YAML.
    yaml: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: [&'static str; 1],
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_names: Option<Vec<String>>,
    verbs: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct KeptOf {
    /// `null` for requests through the API server.
    endpoint: Option<&'static str>,
    count: u64,
    instead: &'static str,
    text: &'static str,
}

#[derive(Debug, Serialize)]
struct StepOf {
    action: &'static str,
    binding: String,
    role: String,
    /// From 0.
    rules: Vec<u16>,
    subject: SubjectOf,
    others: Vec<SubjectOf>,
    text: String,
}

#[derive(Debug, Serialize)]
struct DiffLine {
    change: &'static str,
    resource: String,
    verbs: Vec<&'static str>,
    before: Vec<WayOf>,
    after: Vec<WayOf>,
}

#[derive(Debug, Serialize)]
struct WayOf {
    binding: String,
    role: String,
    /// From 0.
    rule: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kubelet {
    needs: Option<String>,
    gate_is_enough_in: Option<String>,
    too_old: Nodes,
    only_with_gate: Nodes,
    version_unknown: Nodes,
}

/// How many nodes, and the first of them by name.
#[derive(Debug, Serialize)]
struct Nodes {
    count: usize,
    first: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofOf {
    /// Whether all that was seen stays allowed, and `nodes/proxy` is gone.
    holds: bool,
    missing: Vec<String>,
    still_held_by: Vec<Holding>,
    unclear: Option<String>,
}

#[derive(Debug, Serialize)]
struct Holding {
    binding: String,
    role: String,
    /// From 0.
    rule: u16,
    subject: SubjectOf,
}

impl Document {
    /// The document as JSON, indented, with nothing left in it that a terminal obeys.
    pub fn json(&self) -> Result<String, Error> {
        let mut json = String::new();
        for character in serde_json::to_string_pretty(self)?.chars() {
            // The only line feeds are those of the indentation.
            if obeyed(character) && character != '\n' {
                let _infallible = write!(json, "\\u{:04x}", u32::from(character));
            } else {
                json.push(character);
            }
        }
        json.push('\n');
        Ok(json)
    }

    /// The document of a report.
    pub fn of(report: &Report) -> Self {
        Self {
            version: VERSION,
            coverage: coverage(&report.coverage),
            findings: report
                .findings
                .iter()
                .map(|(finding, who, found)| Finding {
                    id: finding.id(),
                    severity: finding.severity().as_str(),
                    identity: who.into(),
                    count: found.count,
                    examples: found.examples.iter().map(example).collect(),
                })
                .collect(),
            matrix: report
                .matrix
                .iter()
                .map(|(seen, count)| Use {
                    identity: (&seen.who).into(),
                    endpoint: seen.endpoint.label(),
                    access: seen.access.as_str(),
                    verb: seen.verb.label(),
                    count: *count,
                })
                .collect(),
            holders: report.holders.as_ref().map(|holders| holders.iter().map(holder).collect()),
            replacements: report.replacements.iter().map(replacement).collect(),
            migration: Migration::of(report),
            timeline: report.timeline.as_ref().map(Timeline::of),
        }
    }
}

fn coverage(coverage: &super::Coverage) -> Coverage {
    let node = |(name, node): (&String, &super::Node)| {
        let seen = node.seen.as_ref();
        Node {
            name: name.clone(),
            kubelet: node.kubelet.clone(),
            seen: seen.is_some(),
            requests: seen.map_or(0, |seen| seen.requests),
            partial: seen.map_or(0, |seen| seen.partial),
            lost: seen.and_then(|seen| seen.lost),
            watched_seconds: seen.and_then(|seen| seen.watched).map(|watched| watched.as_secs()),
        }
    };
    Coverage {
        source: coverage.source.clone(),
        rbac: coverage.rbac.clone(),
        window: coverage.window.map(window),
        requests: coverage.requests,
        nodes: coverage.nodes.iter().map(node).collect(),
        caveats: remarks(&coverage.caveats),
        notes: coverage.notes.iter().map(|note| Note { id: note.id, count: note.count, text: note.text.clone() }).collect(),
    }
}

fn holder(holder: &Holder) -> HolderOf {
    let by = &holder.grant.by;
    HolderOf {
        subject: (&holder.grant.subject).into(),
        kind: match holder.kind {
            HolderKind::Ordinary => "ordinary",
            HolderKind::ApiServer => "api-server",
            HolderKind::Masters => "system-masters",
            HolderKind::BuiltIn => "built-in",
        },
        binding: holder.grant.binding.to_string(),
        role: by.role.to_string(),
        rule: by.rule,
        verbs: by.verbs.words(),
        nodes: by.nodes.as_ref().map(|nodes| nodes.iter().map(ToString::to_string).collect()),
        wildcard: by.by_wildcard,
        can_exec: holder.can_exec(),
        used: holder.used.into(),
        execs: holder.execs.into(),
        through_api_server: holder.through_api_server,
    }
}

fn replacement(replacement: &Replacement) -> ReplacementOf {
    let basis = replacement.basis;
    let endpoints =
        |used: &BTreeMap<crate::kubelet::Endpoint, u64>| used.iter().map(|(endpoint, count)| (endpoint.label(), *count)).collect();
    ReplacementOf {
        subject: (&replacement.subject).into(),
        verdict: replacement.verdict.id(),
        text: sentences::verdict(replacement),
        basis: Basis { requests: basis.requests, window: basis.window.map(window), nodes: basis.nodes, of_nodes: basis.of_nodes },
        covers: replacement
            .covers
            .iter()
            .map(|(right, used)| Covered {
                resource: format!("nodes/{}", right.subresource.as_str()),
                verb: right.word(),
                endpoints: endpoints(used),
            })
            .collect(),
        role: replacement.role.as_ref().map(|role| Role {
            name: role.name.clone(),
            rules: role.rules.iter().map(rule).collect(),
            yaml: role.to_string(),
        }),
        kept: replacement
            .kept
            .iter()
            .map(|kept| KeptOf {
                endpoint: kept.endpoint.as_ref().map(crate::kubelet::Endpoint::label),
                count: kept.count,
                instead: kept.instead.id(),
                text: kept.instead.text(),
            })
            .collect(),
        steps: replacement.steps.iter().map(step).collect(),
        diff: replacement.diff.iter().map(diff_line).collect(),
        kubelet: kubelet(&replacement.upgrade),
        proof: replacement.proof.as_ref().map(proof),
        granted_by: replacement.granted_by.clone(),
        caveats: remarks(&replacement.caveats),
    }
}

fn diff_line(line: &Line) -> DiffLine {
    let ways = |ways: &[Way]| {
        ways.iter().map(|way| WayOf { binding: way.binding.to_string(), role: way.role.to_string(), rule: way.rule }).collect()
    };
    DiffLine {
        change: match line.change {
            Change::Goes => "goes",
            Change::Comes => "comes",
            Change::Stays => "stays",
        },
        resource: line.resource.clone(),
        verbs: line.verbs.clone(),
        before: ways(&line.before),
        after: ways(&line.after),
    }
}

fn rule(rule: &NewRule) -> Rule {
    let names = rule.nodes.as_ref().map(|nodes| nodes.iter().cloned().collect());
    Rule { api_groups: [""], resources: rule.resources(), resource_names: names, verbs: rule.verbs.clone() }
}

fn step(step: &Step) -> StepOf {
    StepOf {
        action: step.action.id(),
        binding: step.binding.to_string(),
        role: step.role.to_string(),
        rules: step.rules.clone(),
        subject: (&step.subject).into(),
        others: step.others.iter().map(Into::into).collect(),
        text: sentences::step(step),
    }
}

fn kubelet(upgrade: &super::Upgrade) -> Kubelet {
    let nodes =
        |all: &[(String, String)]| Nodes { count: all.len(), first: all.iter().take(NAMED).map(|(name, _)| name.clone()).collect() };
    let unknown = &upgrade.unknown;
    Kubelet {
        needs: upgrade.needs.map(|release| release.to_string()),
        gate_is_enough_in: upgrade.gate_is_enough.then(|| super::Release::WITH_GATE.to_string()),
        too_old: nodes(&upgrade.too_old),
        only_with_gate: nodes(&upgrade.with_gate),
        version_unknown: Nodes { count: unknown.len(), first: unknown.iter().take(NAMED).cloned().collect() },
    }
}

fn proof(proof: &super::Proof) -> ProofOf {
    let still = proof.still.iter().map(|grounds| Holding {
        binding: grounds.binding.to_string(),
        role: grounds.role.to_string(),
        rule: grounds.rule,
        subject: (&grounds.subject).into(),
    });
    ProofOf {
        holds: proof.holds(),
        missing: proof.missing.iter().map(|(right, _)| format!("{} nodes/{}", right.word(), right.subresource.as_str())).collect(),
        still_held_by: still.collect(),
        unclear: proof.unclear.as_ref().map(ToString::to_string),
    }
}

fn window((from, to): (jiff::Timestamp, jiff::Timestamp)) -> Window {
    Window { from, to }
}

fn remarks(caveats: &[Caveat]) -> Vec<Remark> {
    caveats.iter().map(|caveat| Remark { id: caveat.id, text: caveat.text.clone() }).collect()
}

fn example(example: &Example) -> ExampleOf {
    let Example { time, node, audit_id, request, source_ip, event } = example.clone();
    let event = event.and_then(|written| serde_json::from_str(&written.json).ok());
    ExampleOf { time, node, audit_id, request, source_ip, event }
}

impl From<&Who> for Identity {
    fn from(who: &Who) -> Self {
        match who {
            Who::User(user) => Self { identity: Some(user.clone()), who: "user" },
            Who::Others => Self { identity: None, who: "others" },
            Who::Nobody => Self { identity: None, who: "nobody" },
        }
    }
}

impl From<Seen> for Times {
    fn from(seen: Seen) -> Self {
        Self(match seen {
            Seen::Times(count) => Some(count),
            Seen::Never => Some(0),
            Seen::Unknown => None,
        })
    }
}

impl From<&Subject> for SubjectOf {
    fn from(subject: &Subject) -> Self {
        let (namespace, name) = match subject.as_service_account() {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, &*subject.name),
        };
        Self { kind: subject.kind.as_str(), namespace, name: name.to_owned() }
    }
}
