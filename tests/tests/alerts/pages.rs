//! The queries that alerts and runbooks give to people: Prometheus understands each of them.

use std::{collections::BTreeSet, fs, path::Path};

use kubewitness_tests::prometheus::Prometheus;

pub(crate) fn are_understood(prometheus: &Prometheus) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let texts = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        entries.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a text")).collect::<Vec<_>>()
    };
    let mut queries = BTreeSet::new();
    for page in texts("docs/runbooks") {
        let blocks = page.split("```promql\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
        queries.extend(blocks.flat_map(str::lines).map(str::to_owned));
    }
    // As they are rendered: the tests of the rules hold what each alert says.
    for played in texts("deploy/rules/tests") {
        let said = played.lines().filter_map(|line| line.trim().strip_prefix("query: '")?.strip_suffix('\''));
        queries.extend(said.map(|query| query.replace("''", "'")));
    }
    for query in &queries {
        prometheus.ask(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    assert!(queries.len() > 25, "{queries:?}");
}
