//! Every query of the dashboard, asked as Grafana would.

use std::{path::Path, time::Duration};

use kubewitness_tests::prometheus::Prometheus;
use serde_json::Value;

const RANGE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(5);

/// Asks all of them: each answers, and has something to show. The variables are as Grafana leaves them at first, and as they are when a node
/// and two identities are chosen.
pub(crate) fn answers(prometheus: &Prometheus) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dashboards/kubewitness.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the dashboard")).expect("it is JSON");
    let mut asked = 0;
    for variable in dashboard["templating"]["list"].as_array().expect("variables").iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().expect("a query").replace("$node", ".*");
        let (selector, label) =
            query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')')?.rsplit_once(", ")).expect("label_values");
        let rows = prometheus.ask(selector).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(rows.iter().any(|row| row["metric"][label].is_string()), "{query} has nothing to choose");
    }
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            for (node, identity) in [(".*", ".*"), ("node1", "system:serviceaccount:default:(legacy|intruder-0)")] {
                let expression = [("$node", node), ("$identity", identity), ("$__rate_interval", "15s"), ("$__range", "60s")]
                    .into_iter()
                    .fold(expression.to_owned(), |expression, (variable, value)| expression.replace(variable, value));
                assert!(!expression.contains('$'), "{expression}: a variable that is not known");
                let rows =
                    if target["instant"] == true { prometheus.ask(&expression) } else { prometheus.ask_range(&expression, RANGE, STEP) };
                let rows = rows.unwrap_or_else(|error| panic!("{} of {}: {error}", target["refId"], panel["title"]));
                assert!(!rows.is_empty(), "{} of {} shows nothing: {expression}", target["refId"], panel["title"]);
                asked += 1;
            }
        }
    }
    assert!(asked > 60, "{asked} queries were asked");
}
