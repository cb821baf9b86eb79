//! The report as SARIF 2.1.0, for code scanning (OASIS, `sarif-schema-2.1.0.json`; GitHub's "SARIF support for code scanning").

use std::fmt::Write as _;

use serde_json::{Value, json};
use uuid::Uuid;

use super::document::pretty;
use super::{Finding, FinerRight, Kind, Named, Report};
use crate::judge::Severity;
use crate::manifest::{Place, STDIN};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
const HOME: &str = "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/";

/// Fingerprints are UUIDs of names in this space: any constant will do, as long as it stays.
const FINGERPRINTS: Uuid = Uuid::from_u128(0x6b75_6265_7769_746e_6573_7372_6261_6331);

impl Report {
    /// The report as SARIF.
    pub fn sarif(&self) -> Result<String, serde_json::Error> {
        let problems = self.manifests.iter().flat_map(|manifests| &manifests.problems);
        let notes: Vec<Value> = problems
            .map(|problem| {
                let physical = physical(&problem.place);
                json!({"level": "error", "message": {"text": problem.text}, "locations": [{"physicalLocation": physical}]})
            })
            .collect();
        pretty(&json!({
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "kubewitness",
                    "version": env!("CARGO_PKG_VERSION"),
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "informationUri": HOME,
                    "rules": Kind::ALL.map(rule),
                }},
                "invocations": [{"executionSuccessful": notes.is_empty(), "toolExecutionNotifications": notes}],
                "columnKind": "unicodeCodePoints",
                "results": self.findings.iter().map(result).collect::<Vec<_>>(),
            }],
        }))
    }
}

fn rule(kind: Kind) -> Value {
    let finer: Vec<_> =
        FinerRight::ALL.iter().map(|right| format!("`{}` for {} ({})", right.resource, right.opens, right.honoured_by())).collect();
    let help = format!("{} {} Finer rights: {}. {}", kind.why(), kind.advice(), finer.join(", "), FinerRight::NONE);
    json!({
        "id": kind.id(),
        "shortDescription": {"text": kind.title()},
        "fullDescription": {"text": kind.why()},
        "help": {"text": help, "markdown": help},
        "helpUri": HOME,
        "defaultConfiguration": {"level": level(kind.severity())},
        "properties": {
            "tags": ["security", "kubernetes", "rbac"],
            "precision": if kind == Kind::Unknown { "medium" } else { "very-high" },
            "security-severity": score(kind.severity()),
        },
    })
}

fn result(finding: &Finding) -> Value {
    let remark = finding.remark.as_deref().map(|remark| format!(" {remark}")).unwrap_or_default();
    let text = format!("{finding}. {}{remark} {}", finding.kind.why(), finding.kind.advice());
    let mut result = json!({
        "ruleId": finding.kind.id(),
        "ruleIndex": Kind::ALL.iter().position(|kind| *kind == finding.kind),
        "level": level(finding.severity()),
        "message": {"text": text},
        "locations": [location(finding)],
        "partialFingerprints": {"kubewitnessRbac/v1": fingerprint(finding)},
    });
    let binding = finding.binding.as_ref().and_then(|binding| Some((binding, binding.place.as_ref()?)));
    if let Some((binding, place)) = binding.filter(|(_, place)| finding.place() != Some(*place)) {
        let text = format!("ClusterRoleBinding/{}", binding.name);
        result["relatedLocations"] = json!([{"id": 1, "physicalLocation": physical(place), "message": {"text": text}}]);
    }
    if finding.allowed {
        result["suppressions"] = json!([{"kind": "external", "justification": "named with --allow"}]);
    }
    result
}

/// Where it is; for a cluster's object a place that names it, because code scanning takes no result without one.
fn location(finding: &Finding) -> Value {
    let objects = [("ClusterRole", &finding.role), ("ClusterRoleBinding", &finding.binding)];
    let named: Vec<(&str, &Named)> = objects.into_iter().filter_map(|(kind, named)| Some((kind, named.as_ref()?))).collect();
    let logical: Vec<_> = named
        .iter()
        .map(|(kind, named)| json!({"name": *named.name, "fullyQualifiedName": format!("{kind}/{}", named.name), "kind": "resource"}))
        .collect();
    let in_cluster = || {
        let path = named.last().map(|(kind, named)| format!("cluster/{}s/{}", kind.to_lowercase(), named.name)).unwrap_or_default();
        json!({"artifactLocation": {"uri": uri(&path)}, "region": {"startLine": 1}})
    };
    let physical = finding.place().map_or_else(in_cluster, physical);
    json!({"physicalLocation": physical, "logicalLocations": logical})
}

/// Of standard input only the template is a file; the line there is not known.
fn physical(place: &Place) -> Value {
    let (path, line) = match &place.template {
        Some(template) if &*place.file == STDIN => (&**template, 1),
        _ if &*place.file == STDIN => ("stdin.yaml", place.line),
        _ => (&*place.file, place.line),
    };
    json!({"artifactLocation": {"uri": uri(path)}, "region": {"startLine": line.max(1)}})
}

/// A path as a relative URI, or as a `file` one if it is absolute (RFC 3986: all but unreserved characters and slashes is encoded).
fn uri(path: &str) -> String {
    // Windows has backslashes there.
    let path = path.replace(std::path::MAIN_SEPARATOR, "/");
    let path = path.strip_prefix("./").unwrap_or(&path);
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _infallible = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// The same as long as it is the same subject, binding and role, wherever they are in the file.
fn fingerprint(finding: &Finding) -> String {
    let name = |named: &Option<Named>| named.as_ref().map(|named| named.name.to_string()).unwrap_or_default();
    let parts = [finding.kind.id().to_owned(), finding.who(), name(&finding.binding), name(&finding.role)];
    Uuid::new_v5(&FINGERPRINTS, parts.join("\n").as_bytes()).to_string()
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// GitHub: over 9.0 is critical, 4.0 to 6.9 medium, below low.
const fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.1",
        Severity::Warning => "6.0",
        Severity::Info => "1.0",
    }
}
