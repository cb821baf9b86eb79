//! `docs/reference/findings.md`: what `run` finds, with the alert and the runbook of each, and what `rbac` finds.

use std::{fs, path::Path};

use kubewitness::{check::Kind, judge::Finding};
use kubewitness_pages::generated;
use serde_json::Value;

use super::{HOW, cell};

const PAGE: &str = "docs/reference/findings.md";

#[test]
fn what_run_finds_is_current() {
    let rules = rules();
    let row = |finding: Finding| {
        let alert = alert(&rules, finding.id()).map_or_else(String::new, |(name, page)| format!("[`{name}`](../runbooks/{page}.md)"));
        format!("| [`{id}`](../events.md#findings) | {} | {alert} |\n", finding.severity().as_str(), id = finding.id())
    };
    let rows = Finding::ALL.map(row).concat();
    generated::keep(PAGE, "run", &format!("| finding | severity | alert and runbook |\n|---|---|---|\n{rows}"), HOW);
}

#[test]
fn what_rbac_finds_is_current() {
    let row = |kind: Kind| {
        let (id, severity) = (kind.id(), kind.severity().as_str());
        format!("| `{id}` | {severity} | {} | {} | {} |\n", cell(kind.title()), cell(kind.why()), cell(kind.advice()))
    };
    let rows = Kind::ALL.map(row).concat();
    generated::keep(PAGE, "rbac", &format!("| finding | severity | | why it matters | what to do |\n|---|---|---|---|---|\n{rows}"), HOW);
}

fn rules() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rules/kubewitness.yaml");
    let rules: Value = serde_saphyr::from_str(&fs::read_to_string(file).expect("the rules")).expect("YAML");
    rules["groups"].as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// The alert about a finding, and the page of its runbook: its expression names the finding, or what it names is recorded of that one alone.
fn alert(rules: &[Value], id: &str) -> Option<(String, String)> {
    let text = |rule: &Value, field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let about = |rule: &Value| text(rule, "expr").contains(&format!("finding=\"{id}\""));
    let recorded: Vec<String> =
        rules.iter().filter(|rule| rule["record"].is_string() && about(rule)).map(|rule| text(rule, "record")).collect();
    let alerts = rules.iter().filter(|rule| rule["alert"].is_string());
    let mut alerts = alerts.filter(|rule| about(rule) || recorded.iter().any(|record| text(rule, "expr").contains(record.as_str())));
    let rule = alerts.next()?;
    let page = rule["annotations"]["runbook_url"].as_str().expect("each alert has a runbook").rsplit('/').next().expect("a name");
    Some((text(rule, "alert"), page.to_owned()))
}
