//! What one evaluation of the rules costs, by the number of agents.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use kubewitness_tests::prometheus::Prometheus;
use serde_json::Value;

const AGENTS: u32 = 200;
/// How often the rules are evaluated.
const ROUNDS: u32 = 10;
/// Seconds between scrapes, and how many there are: the rules look two hours back.
const SCRAPE: u64 = 30;
const SCRAPES: u64 = 250;
/// Of an agent, what the rules read: metric, labels, how much it rises with each scrape.
const SERIES: [(&str, &str, u64); 36] = {
    const FINDINGS: &str = "kubewitness_findings";
    const BY_IDENTITY: &str = "kubewitness_identity_findings";
    const REQUESTS: &str = "kubewitness_requests";
    const REQUESTS_OF: &str = "kubewitness_identity_requests";
    [
        (FINDINGS, r#"finding="unlogged-exec",severity="critical""#, 0),
        (FINDINGS, r#"finding="verb-bypass",severity="critical""#, 0),
        (FINDINGS, r#"finding="stolen-token",severity="critical""#, 0),
        (FINDINGS, r#"finding="anonymous-access",severity="critical""#, 0),
        (FINDINGS, r#"finding="checkpoint",severity="critical""#, 0),
        (FINDINGS, r#"finding="api-server-impostor",severity="warning""#, 0),
        (FINDINGS, r#"finding="unlogged-log-read",severity="warning""#, 1),
        (FINDINGS, r#"finding="debug-access",severity="warning""#, 0),
        (FINDINGS, r#"finding="read-only-port",severity="warning""#, 0),
        (FINDINGS, r#"finding="outside-rbac",severity="warning""#, 0),
        (FINDINGS, r#"finding="probing",severity="warning""#, 0),
        (FINDINGS, r#"finding="nodes-proxy-fallback",severity="info""#, 2),
        (BY_IDENTITY, r#"finding="unlogged-log-read",identity="shipper""#, 1),
        (BY_IDENTITY, r#"finding="nodes-proxy-fallback",identity="legacy""#, 1),
        (BY_IDENTITY, r#"finding="nodes-proxy-fallback",identity="monitoring""#, 1),
        (REQUESTS, r#"endpoint="pods",access="fallback",transport="plain",code="200""#, 1),
        (REQUESTS, r#"endpoint="metrics",access="single",transport="plain",code="200""#, 1),
        (REQUESTS, r#"endpoint="metrics/cadvisor",access="single",transport="plain",code="200""#, 1),
        (REQUESTS, r#"endpoint="metrics/resource",access="single",transport="plain",code="200""#, 1),
        (REQUESTS, r#"endpoint="containerLogs",access="proxy-only",transport="plain",code="200""#, 1),
        (REQUESTS_OF, r#"identity="legacy",endpoint="pods",access="fallback""#, 1),
        (REQUESTS_OF, r#"identity="monitoring",endpoint="pods",access="fallback""#, 1),
        (REQUESTS_OF, r#"identity="prometheus",endpoint="metrics",access="single""#, 1),
        (REQUESTS_OF, r#"identity="prometheus",endpoint="metrics/cadvisor",access="single""#, 1),
        (REQUESTS_OF, r#"identity="metrics-server",endpoint="metrics/resource",access="single""#, 1),
        (REQUESTS_OF, r#"identity="shipper",endpoint="containerLogs",access="proxy-only""#, 1),
        ("kubewitness_records_lost", r#"class="routine""#, 0),
        ("kubewitness_records_lost", r#"class="priority""#, 0),
        ("kubewitness_records_lost", r#"class="socket""#, 0),
        ("kubewitness_records_lost", r#"class="contradicted""#, 0),
        ("kubewitness_records_lost", r#"class="undecodable""#, 0),
        ("kubewitness_events_dropped", r#"sink="stdout""#, 0),
        ("kubewitness_attached", "", 0),
        ("kubewitness_build_info", r#"version="0.1.0""#, 0),
        ("process_start_time_seconds", "", 0),
        ("up", "", 0),
    ]
};

#[test]
#[ignore = "writes 250 MB of samples: part of `cargo xtask test --long`"]
fn cost() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alerts-cost");
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let samples = folder.join("samples.txt");
    write_samples(&samples).expect("the samples");
    Prometheus::fill(&folder, &samples).expect("promtool makes blocks");
    fs::remove_file(&samples).expect("the samples go");
    let prometheus = Prometheus::start(&folder, "global: {}", &[]).expect("Prometheus starts");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rules/kubewitness.yaml");
    let document: Value = serde_saphyr::from_str(&fs::read_to_string(path).expect("the rules")).expect("YAML");
    let rules = document["groups"].as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    let expressions: Vec<_> = rules.map(|rule| rule["expr"].as_str().expect("an expression")).collect();
    let mut used = processor_time(prometheus.pid());
    for round in 0..=ROUNDS {
        for expression in &expressions {
            prometheus.ask(expression).expect("an answer");
        }
        if round == 0 {
            // A rule is evaluated again and again; the first time is not like the others.
            used = processor_time(prometheus.pid());
        }
    }
    let seconds = (processor_time(prometheus.pid()) - used) / f64::from(ROUNDS) / f64::from(AGENTS) * 1000.0;
    eprintln!("  one evaluation of all rules takes {seconds:.2} s of processor time for 1,000 agents");
    assert!(seconds < 2.0, "{seconds:.2} s of processor time for 1,000 agents");
}

/// Seconds that a process has used: fields 14 and 15 of `/proc/PID/stat` (`proc_pid_stat(5)`), in hundredths.
fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
}

/// In the order that `OpenMetrics` wants: by metric.
fn write_samples(path: &Path) -> std::io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut file = BufWriter::new(fs::File::create(path)?);
    let mut family = "";
    for (metric, labels, rise) in SERIES {
        let is_gauge = ["kubewitness_attached", "kubewitness_build_info", "process_start_time_seconds", "up"].contains(&metric);
        if metric != family {
            writeln!(file, "# TYPE {metric} {}", if is_gauge { "gauge" } else { "counter" })?;
            family = metric;
        }
        for agent in 0..AGENTS {
            let comma = if labels.is_empty() { "" } else { "," };
            let target = format!(
                r#"job="kubewitness",namespace="kubewitness",node="worker-{agent}",pod="kubewitness-{agent}",instance="i-{agent}""#
            );
            for scrape in 0..SCRAPES {
                let suffix = if is_gauge { "" } else { "_total" };
                let value = if is_gauge { 1 } else { scrape * rise };
                writeln!(file, "{metric}{suffix}{{{labels}{comma}{target}}} {value} {}", now - (SCRAPES - 1 - scrape) * SCRAPE)?;
            }
        }
    }
    writeln!(file, "# EOF")?;
    file.flush()
}
