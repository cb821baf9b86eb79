//! The report as JSON, `kubewitness.dev/rbac/v1`. `docs/rbac.md` documents it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Finding, FinerRight, Named, Report};
use crate::inert::obeyed;
use crate::judge::Severity;
use crate::manifest::Place;

const VERSION: &str = "kubewitness.dev/rbac/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    version: &'static str,
    source: Source<'a>,
    summary: Summary,
    findings: Vec<Item<'a>>,
    finer_rights: Vec<Finer>,
    problems: Vec<Problem<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Source<'a> {
    Cluster,
    Manifests { documents: u64, cluster_roles: usize, cluster_role_bindings: usize, left_out: &'a BTreeMap<String, u64> },
}

#[derive(Serialize)]
struct Summary {
    critical: usize,
    warning: usize,
    info: usize,
    allowed: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    id: &'static str,
    severity: &'static str,
    allowed: bool,
    who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_role_binding: Option<NamedItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_role: Option<NamedItem<'a>>,
    rules: &'a [u16],
    verbs: Vec<&'static str>,
    by_wildcard: bool,
    /// Absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<&'a str>>,
    message: String,
    why: &'static str,
    advice: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'a str>,
}

#[derive(Serialize)]
struct SubjectItem<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
}

#[derive(Serialize)]
struct NamedItem<'a> {
    name: &'a str,
    #[serde(flatten)]
    place: Option<PlaceItem<'a>>,
}

#[derive(Serialize)]
struct PlaceItem<'a> {
    file: &'a str,
    line: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
}

#[derive(Serialize)]
struct Finer {
    resource: &'static str,
    opens: &'static str,
    kubelet: &'static str,
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(flatten)]
    place: PlaceItem<'a>,
    text: &'a str,
}

impl Report {
    /// The report as JSON, in which nothing is left that a terminal obeys.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let source = self.manifests.as_ref().map_or(Source::Cluster, |manifests| Source::Manifests {
            documents: manifests.documents,
            cluster_roles: manifests.roles.len(),
            cluster_role_bindings: manifests.bindings.len(),
            left_out: &manifests.left_out,
        });
        let problems = self.manifests.iter().flat_map(|manifests| &manifests.problems);
        pretty(&Document {
            version: VERSION,
            source,
            summary: Summary {
                critical: self.count(Severity::Critical),
                warning: self.count(Severity::Warning),
                info: self.count(Severity::Info),
                allowed: self.findings.iter().filter(|finding| finding.allowed).count(),
            },
            findings: self.findings.iter().map(item).collect(),
            finer_rights: FinerRight::ALL.map(|FinerRight { resource, opens, kubelet }| Finer { resource, opens, kubelet }).into(),
            problems: problems.map(|problem| Problem { place: place(&problem.place), text: &problem.text }).collect(),
        })
    }
}

/// A value as indented JSON. What a terminal obeys is escaped; between strings there is nothing of it but line feeds.
pub(super) fn pretty(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string_pretty(value)?;
    let mut inert = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        if obeyed(character) && character != '\n' {
            let _infallible = write!(inert, "\\u{:04x}", u32::from(character));
        } else {
            inert.push(character);
        }
    }
    inert.push('\n');
    Ok(inert)
}

fn item(finding: &Finding) -> Item<'_> {
    let subject = finding.subject.as_ref().map(|subject| match subject.as_service_account() {
        Some((namespace, name)) => SubjectItem { kind: subject.kind.as_str(), namespace: Some(namespace), name },
        None => SubjectItem { kind: subject.kind.as_str(), namespace: None, name: &subject.name },
    });
    Item {
        id: finding.kind.id(),
        severity: finding.severity().as_str(),
        allowed: finding.allowed,
        who: finding.who(),
        subject,
        cluster_role_binding: finding.binding.as_ref().map(named),
        cluster_role: finding.role.as_ref().map(named),
        rules: &finding.rules,
        verbs: finding.verbs.words(),
        by_wildcard: finding.by_wildcard,
        nodes: finding.nodes.as_ref().map(|nodes| nodes.iter().map(AsRef::as_ref).collect()),
        message: finding.to_string(),
        why: finding.kind.why(),
        advice: finding.kind.advice(),
        remark: finding.remark.as_deref(),
    }
}

fn named(named: &Named) -> NamedItem<'_> {
    NamedItem { name: &named.name, place: named.place.as_ref().map(place) }
}

fn place(place: &Place) -> PlaceItem<'_> {
    PlaceItem { file: &place.file, line: place.line, template: place.template.as_deref() }
}
