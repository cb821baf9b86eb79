//! The table of values in the chart's README is what `values.yaml` says.

use std::fmt::Write as _;
use std::fs;

use crate::chart;

/// A value: its path, what the file says of it, and its default as it is written there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) path: String,
    about: String,
    default: String,
}

/// Reads the values of which a comment begins with `# -- `; all that is under one is part of it. Everything else must be a parent.
pub(crate) fn read(values: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut about: Option<String> = None;
    // The indentation of the value whose own content is being read.
    let mut inside: Option<usize> = None;
    for line in values.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(begun) = text.strip_prefix("# -- ") {
            about = Some(begun.to_owned());
            continue;
        }
        if let Some(more) = text.strip_prefix("# ") {
            if let Some(about) = &mut about {
                let _infallible = write!(about, " {more}");
            }
            continue;
        }
        if text.is_empty() || inside.is_some_and(|own| depth > own) {
            continue;
        }
        inside = None;
        let (key, default) = text.split_once(':').unwrap_or_else(|| panic!("`{line}` is no key"));
        parents.retain(|(of, _)| *of < depth);
        let path = parents.iter().map(|(_, parent)| parent.as_str()).chain([key]).collect::<Vec<_>>().join(".");
        if let Some(about) = about.take() {
            inside = Some(depth);
            found.push(Value { path, about, default: default.trim().to_owned() });
        } else {
            assert!(default.trim().is_empty(), "{path} is not documented");
            parents.push((depth, key.to_owned()));
        }
    }
    found
}

fn table(values: &[Value]) -> String {
    let mut table = "| value | default | |\n|---|---|---|\n".to_owned();
    for Value { path, about, default } in values {
        let default = if default.is_empty() { "see `values.yaml`".to_owned() } else { format!("`{default}`") };
        let _infallible = writeln!(table, "| `{path}` | {default} | {} |", about.replace('|', "\\|"));
    }
    table
}

/// `UPDATE_DOCS=1 cargo test -p kubewitness-tests --features e2e --test rendering` writes the table anew.
#[test]
fn the_readme_lists_every_value() {
    let values = fs::read_to_string(chart().join("values.yaml")).expect("there are values");
    let how = "cargo test -p kubewitness-tests --features e2e --test rendering";
    kubewitness_pages::generated::keep("deploy/helm/kubewitness/README.md", "values", &table(&read(&values)), how);
}

#[test]
fn values_are_read_with_their_parents() {
    let values =
        "# About the file.\na:\n  # -- One\n  # line.\n  b: \"\"\n  c:\n    # -- Two.\n    d: 1\n# -- Three.\ne:\n  f:\n    g: 2\n";
    let value =
        |path: &str, about: &str, default: &str| Value { path: path.to_owned(), about: about.to_owned(), default: default.to_owned() };
    assert_eq!(read(values), [value("a.b", "One line.", "\"\""), value("a.c.d", "Two.", "1"), value("e", "Three.", "")]);
}

#[test]
#[should_panic(expected = "a.b is not documented")]
fn a_value_without_a_word_is_refused() {
    read("a:\n  b: 1\n");
}
