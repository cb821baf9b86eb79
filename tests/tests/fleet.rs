//! The same time seen twice: the report from a real Prometheus that scrapes the real agent has the matrix of the report from its events.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kubewitness_tests::{
    call::Call,
    cluster::{CONTAINER, Options, POD, Token},
    prometheus::Prometheus,
    scenarios::{Bed, play},
};
use serde_json::Value;

const SEEN_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn fleet() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fleet");
    play(&Options::named("t-fleet"), &folder, &[("Prometheus and the events tell the same", same_matrix)]);
}

/// What tells one row of the matrix from another, but for the verb, which counters do not have.
type Row = (String, String, String);

fn same_matrix(bed: &Bed) {
    let tokens = [
        bed.identity("legacy", &["get"], &["nodes/proxy"]),
        bed.identity("modern", &["get"], &["nodes/metrics", "nodes/stats", "nodes/pods", "nodes/healthz"]),
        bed.identity("nobody", &[], &[]),
    ];
    let config = "\
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: kubewitness
  static_configs: [{targets: ['127.0.0.1:9464']}]
";
    let mut prometheus = Prometheus::start_in(&bed.cluster, &bed.folder.join("prometheus"), config, &[]).expect("Prometheus starts");
    let mut agent = bed.agent(&[]);
    prometheus.scraped_since(0.0, SEEN_WITHIN).expect("it scrapes the agent");

    let first = traffic(bed, &tokens, 1);
    let between = SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_secs_f64();
    prometheus.scraped_since(between, SEEN_WITHIN).expect("it scrapes what was seen so far");
    let second = traffic(bed, &tokens, 3);
    let sent = first + second;
    agent
        .until("all requests are over", SEEN_WITHIN, |agent| {
            let ended = agent.events()?.iter().filter(|event| event["stage"] == "ResponseComplete").count();
            Ok((ended as u64 >= sent).then_some(()))
        })
        .expect("each request is an event");
    let done = SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_secs_f64();
    prometheus.scraped_since(done, SEEN_WITHIN).expect("it scrapes the rest");

    let events = agent.events_file();
    let by_events = report(bed, &[events.to_str().expect("a path in UTF-8")]);
    let url = format!("http://{}", prometheus.address());
    let by_prometheus = report(bed, &["--prometheus", &url, "--window", "10m"]);
    let rows = matrix(&by_events);
    assert_eq!(matrix(&by_prometheus), rows);
    assert_eq!(rows.values().sum::<u64>(), sent);
    assert_eq!(findings(&by_prometheus), findings(&by_events));
    agent.stop(SEEN_WITHIN).expect("it stops");
}

/// Each identity asks for everything so many times, and somebody without a token too; the number of requests.
fn traffic(bed: &Bed, tokens: &[Token], times: u32) -> u64 {
    let paths = ["/pods", "/metrics", "/metrics/cadvisor", "/stats/summary", "/healthz", "/configz", "/nothing"];
    let mut sent = 0;
    for path in paths {
        let calls = tokens.iter().map(|token| Call::get(path).token(token));
        for call in calls.chain([Call::get(path).header("Authorization: Bearer nonsense")]) {
            sent += call.times(times).from_node(&bed.cluster).expect("the kubelet answers").answered();
        }
    }
    let exec = format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1");
    for token in tokens {
        let call = Call::websocket(&exec, "v4.channel.k8s.io").token(token);
        sent += call.from_node(&bed.cluster).expect("the kubelet answers").answered();
    }
    sent
}

fn report(bed: &Bed, arguments: &[&str]) -> Value {
    let mut command = bed.cluster.command(Bed::binary());
    let output = command.args(["report", "-o", "json"]).args(arguments).output().expect("the report runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

fn matrix(report: &Value) -> BTreeMap<Row, u64> {
    let mut rows = BTreeMap::new();
    for row in report["matrix"].as_array().expect("a matrix") {
        let key = (row["identity"].to_string(), row["endpoint"].to_string(), row["access"].to_string());
        *rows.entry(key).or_default() += row["count"].as_u64().expect("a count");
    }
    rows
}

fn findings(report: &Value) -> BTreeMap<(String, String), u64> {
    let findings = report["findings"].as_array().expect("findings").iter();
    findings
        .map(|found| ((found["finding"].to_string(), found["identity"].to_string()), found["count"].as_u64().expect("a count")))
        .collect()
}
