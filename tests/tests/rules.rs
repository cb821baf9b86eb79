//! The alerts and recording rules: `promtool` plays them, and what they name exists; so does what the dashboard names. Needs no cluster
//! and no rights.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kubewitness_tests::{
    agent::output_of,
    build::{AlertmanagerProgram, PrometheusProgram},
};
use serde_json::Value;

/// Labels that a scrape adds, or that others' metrics have.
const SCRAPE_LABELS: [&str; 7] = ["cluster", "instance", "job", "namespace", "node", "os_image", "pod"];
/// What `identity` of a caller, and the node of an agent, look like in a template.
const IDENTITY: &str = "$labels.identity";
const NODE: &str = "$labels.node $labels.instance";
/// Each page of `docs/runbooks` answers these.
const QUESTIONS: [&str; 4] = ["## What it means", "## How to check", "## What to do", "## When it is a false alarm"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All rules of the file, in its order.
fn rules() -> Vec<Value> {
    let document: Value = serde_saphyr::from_str(&read("deploy/rules/kubewitness.yaml")).expect("the rules are YAML");
    let groups = document["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule["alert"].is_string()).collect()
}

fn text<'a>(rule: &'a Value, pointer: &str) -> &'a str {
    rule.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The files with what `promtool` plays: their names and their texts.
fn played() -> BTreeMap<String, String> {
    let files =
        fs::read_dir(root().join("deploy/rules/tests")).expect("the tests of the rules").map(|entry| entry.expect("an entry").path());
    files.map(|path| (path.file_stem().expect("a name").display().to_string(), fs::read_to_string(path).expect("a text"))).collect()
}

#[test]
fn promtool_is_content() {
    let promtool = PrometheusProgram::Promtool.recipe().build().expect("promtool builds");
    let folder = root().join("deploy/rules");
    output_of(Command::new(&promtool).args(["check", "rules", "--lint=all", "--lint-fatal", "kubewitness.yaml"]).current_dir(&folder))
        .unwrap();
    let files = played().into_keys().map(|name| format!("tests/{name}.yaml"));
    let output = Command::new(&promtool).args(["test", "rules"]).args(files).current_dir(&folder).output().expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_alert_is_played_in_every_way() {
    let played = played();
    for alert in alerts() {
        let name = text(&alert, "/alert");
        let fires = format!("alertname=\"{name}\"");
        // No agent at all is neither restarted nor scraped.
        let ways: &[&str] = if name == "KubewitnessNoAgents" { &["health"] } else { &["restart", "missed-scrape"] };
        for way in ways {
            assert!(played[*way].contains(&fires), "{name} does not fire in {way}.yaml");
        }
        let compared = format!("alertname: {name}\n");
        let with_its_words = ["first-event", "health"].into_iter().filter(|file| played[*file].contains(&compared));
        assert!(with_its_words.count() > 0, "what {name} says is compared neither in first-event.yaml nor in health.yaml");
    }
    // Where it is empty there is no alert of any name, and none that waits.
    assert!(played["kubectl-exec"].matches("{expr: ALERTS, eval_time: ").count() >= 4, "kubectl-exec.yaml asks for all alerts");
    assert_eq!(played["kubectl-exec"].matches("exp_samples: []").count(), played["kubectl-exec"].matches("eval_time: ").count());
}

#[test]
fn every_alert_says_who_where_and_what_next() {
    for alert in alerts() {
        let name = text(&alert, "/alert");
        let severity = text(&alert, "/labels/severity");
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        let said = format!("{} {}", text(&alert, "/annotations/summary"), text(&alert, "/annotations/description"));
        assert!(said.contains(IDENTITY) || said.contains("identity"), "{name} says nothing of an identity");
        assert!(said.contains(NODE) || said.contains("of.Labels.node") || name == "KubewitnessNoAgents", "{name} names no node");
        assert!(text(&alert, "/annotations/query").contains("kube"), "{name} has no query to run next");
        if severity == "page" {
            assert!(alert["for"].is_null(), "{name} waits");
            assert!(alert["keep_firing_for"].is_string(), "{name} may be over before it is seen");
            assert!(text(&alert, "/annotations/events").contains("fromjson?"), "{name} leads to no event");
        }
        let url = text(&alert, "/annotations/runbook_url");
        let page = url.strip_prefix("https://kubewitness.dev/runbooks/").unwrap_or_else(|| panic!("{name}: {url}"));
        let page = read(&format!("docs/runbooks/{page}.md"));
        assert!(page.contains(&format!("`{name}`")), "the runbook of {name} does not name it");
        for question in QUESTIONS {
            assert!(page.contains(&format!("\n{question}\n")), "the runbook of {name} has no {question}");
        }
    }
}

#[test]
fn every_finding_above_info_is_an_alert() {
    let text = rules().iter().map(|rule| text(rule, "/expr").to_owned()).collect::<String>();
    for finding in kubewitness::judge::Finding::ALL {
        let named = text.contains(&format!("finding=\"{}\"", finding.id()));
        let severity = finding.severity();
        assert!(named || severity == kubewitness::judge::Severity::Info, "no rule is about {} ({})", finding.id(), severity.as_str());
    }
}

/// Against the reference of the metrics, which a test of the agent holds to its registry.
#[test]
fn rules_dashboard_and_runbooks_name_what_the_agent_exposes() {
    let dashboard: Value = serde_json::from_str(&read("deploy/dashboards/kubewitness.json")).expect("the dashboard is JSON");
    let mut expressions: Vec<String> = rules().iter().map(|rule| text(rule, "/expr").to_owned()).collect();
    collect(&dashboard, "expr", &mut expressions);
    for page in fs::read_dir(root().join("docs/runbooks")).expect("the runbooks") {
        let page = fs::read_to_string(page.expect("an entry").path()).expect("a text");
        expressions.extend(page.split("```promql\n").skip(1).map(|block| block.split("```").next().unwrap_or_default().to_owned()));
    }
    let mut known = exposed();
    for rule in rules().iter().filter(|rule| rule["record"].is_string()) {
        known.insert(text(rule, "/record").to_owned(), ["access", "finding", "identity"].map(str::to_owned).into());
    }
    let mut named = BTreeSet::new();
    for expression in &expressions {
        for (metric, labels) in selectors(expression) {
            let own = known.get(&metric).unwrap_or_else(|| panic!("{metric} is not exposed: {expression}"));
            for label in labels {
                assert!(own.contains(&label) || SCRAPE_LABELS.contains(&label.as_str()), "{metric} has no label {label}: {expression}");
            }
            named.insert(metric);
        }
    }
    assert!(named.len() > 15, "{named:?}");
}

#[test]
fn the_page_on_alerting_lists_the_alerts() {
    let page = read("docs/alerting.md");
    let listed: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("| [`Kubewitness")?.split_once('`')).collect();
    let listed: BTreeMap<_, _> = listed
        .into_iter()
        .map(|(name, rest)| (format!("Kubewitness{name}"), rest.split('|').nth(1).unwrap_or_default().trim().to_owned()))
        .collect();
    let expected = alerts().iter().map(|alert| (text(alert, "/alert").to_owned(), text(alert, "/labels/severity").to_owned())).collect();
    assert_eq!(listed, expected, "the table of docs/alerting.md, and the rules");
}

#[test]
fn amtool_takes_the_example() {
    let page = read("docs/alerting.md");
    let example = page.split("```yaml\n").find(|block| block.starts_with("# alertmanager.yml\n")).expect("the example of alertmanager.yml");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alertmanager.yml");
    fs::write(&file, example.split("```").next().unwrap_or_default()).expect("a file");
    let amtool = AlertmanagerProgram::Amtool.recipe().build().expect("amtool builds");
    output_of(Command::new(&amtool).arg("check-config").arg(&file)).unwrap();
    for (severity, receiver) in [("page", "page"), ("ticket", "ticket")] {
        let mut test = Command::new(&amtool);
        test.args(["config", "routes", "test", "--verify.receivers", receiver, "--config.file"]).arg(&file);
        output_of(test.arg(format!("severity={severity}"))).unwrap();
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    let dashboard: Value = serde_json::from_str(&read("deploy/dashboards/kubewitness.json")).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut taken: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for panel in panels {
        let (id, title) = (panel["id"].as_u64().expect("an id"), text(panel, "/title"));
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        for cell in (place("x")..place("x") + place("w")).flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y))) {
            assert!(cell.0 < 24, "{title} is wider than the page");
            assert_eq!(taken.insert(cell, id), None, "{title} lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(text(panel, "/description").ends_with('.'), "{title} says nothing of itself");
        assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{title} has no unit");
        let sources = [panel].into_iter().chain(panel["targets"].as_array().expect("queries")).map(|part| text(part, "/datasource/uid"));
        assert!(sources.into_iter().all(|uid| uid == "${datasource}"), "{title} is tied to one data source");
    }
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are given once");
}

/// Metrics by their names, with the labels that they have by themselves.
fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| row.split('|').collect::<Vec<_>>());
    let mut known: BTreeMap<_, _> = rows
        .map(|row| {
            let labels = row[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (row[0].trim_end_matches(['`', ' ']).to_owned(), labels)
        })
        .collect();
    let buckets = ("kubewitness_detection_latency_seconds_bucket".to_owned(), BTreeSet::from(["le".to_owned()]));
    known.extend([buckets, ("up".to_owned(), BTreeSet::new()), ("kube_node_info".to_owned(), BTreeSet::new())]);
    known
}

/// The metrics of an expression, and the labels that their selectors match.
fn selectors(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |length| start + length);
        let (name, after) = (&rest[start..end], &rest[end..]);
        let prefixes = ["kubewitness_", "kubewitness:", "kube_", "process_", "up", "identity:", "access:", "identity_access:"];
        let is_metric = prefixes.iter().any(|prefix| if *prefix == "up" { name == *prefix } else { name.starts_with(prefix) });
        let braces = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        if is_metric {
            let labels = braces
                .map(|(matchers, _)| matchers.split(',').filter_map(|matcher| matcher.split(['=', '!']).next()))
                .into_iter()
                .flatten();
            found.push((name.to_owned(), labels.map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()));
        }
        rest = after;
        if let (true, Some((_, behind))) = (is_metric, braces) {
            rest = behind;
        } else if let Some(inside) = rest.strip_prefix('"') {
            rest = inside.split_once('"').map_or("", |(_, behind)| behind);
        }
    }
    found
}

/// All texts of this key, however deep.
fn collect(value: &Value, key: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                into.extend(field.as_str().filter(|_| name == key).map(str::to_owned));
                collect(field, key, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, key, into)),
        _ => {}
    }
}
