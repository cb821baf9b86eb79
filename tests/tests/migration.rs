//! The whole migration on a real cluster: who uses `nodes/proxy`, the role that is enough, `nodes/proxy` taken away, and everybody still
//! gets what they got, but for exec.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    call::Call,
    cluster::{CONTAINER, Options, POD, Token},
    scenarios::{Bed, play},
};
use serde_json::{Value, json};

/// For how long the kubelet remembers what the API server answered.
const KUBELET_REMEMBERS: Duration = Duration::from_secs(1);
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// What a legacy agent reads, and what is in each page.
const PAGES: [(&str, &str); 4] =
    [("/pods", "\"kind\":\"PodList\""), ("/metrics", "kubelet_node_name"), ("/stats/summary", "\"nodeName\""), ("/healthz", "ok")];

#[test]
fn migration() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("migration");
    let remembers = format!("{}s", KUBELET_REMEMBERS.as_secs());
    let kubelet_config = json!({"authorization": {"webhook": {"cacheAuthorizedTTL": remembers, "cacheUnauthorizedTTL": remembers}}});
    let options = Options { kubelet_config, ..Options::named("t-migrate") };
    play(&options, &folder, &[("nodes/proxy is taken away and nobody misses it", migrate)]);
}

/// A legacy agent: its `ServiceAccount`, and what it may do.
struct Legacy {
    name: &'static str,
    token: Token,
}

fn migrate(bed: &Bed) {
    let rich = Legacy { name: "rich", token: bed.identity("rich", &["get"], &["nodes/proxy", "nodes/metrics", "nodes/stats"]) };
    let bare = Legacy { name: "bare", token: bed.identity("bare", &["get"], &["nodes/proxy"]) };
    let clients = [rich, bare];

    let (before, got) = observe(bed, &clients);
    // Only pods, runningpods, healthz and configz fall back: whoever has nodes/proxy alone never got metrics and stats.
    assert_eq!(got, [[200, 200, 200, 200], [200, 403, 403, 200]]);
    for client in &clients {
        assert_eq!(exec(bed, client), 101, "the hole that is to be closed");
        let uses = uses(&before, client);
        assert_eq!(accesses(&uses), ["fallback pods", "fallback healthz"], "{before:#}");
    }

    let roles = report(bed, "before", &["-o", "yaml"]);
    bed.cluster.apply(&roles).expect("kubectl takes the roles");
    for client in &clients {
        let delete = ["delete", "clusterrolebinding", client.name];
        assert!(bed.cluster.kubectl(delete).status().expect("kubectl runs").success());
    }
    for client in &clients {
        let deadline = Instant::now() + SEEN_WITHIN;
        while exec(bed, client) != 403 {
            assert!(Instant::now() < deadline, "{} still gets in by exec", client.name);
            thread::sleep(KUBELET_REMEMBERS);
        }
    }

    let (after, still) = observe(bed, &clients);
    assert_eq!(still, got, "everybody gets what they got");
    for client in &clients {
        assert_eq!(exec(bed, client), 403);
        let uses = uses(&after, client);
        assert!(!uses.is_empty() && accesses(&uses).is_empty(), "{after:#}");
    }
}

/// An agent watches the clients once around; the report on what it saw, and the statuses that each client got.
fn observe(bed: &Bed, clients: &[Legacy]) -> (Value, Vec<[u16; 4]>) {
    let mut agent = bed.agent(&[]);
    let got: Vec<_> = clients.iter().map(|client| read_pages(bed, client)).collect();
    let requests = clients.len() * PAGES.len();
    agent
        .until("all events", SEEN_WITHIN, |agent| {
            let events = agent.events()?;
            Ok((events.iter().filter(|event| event["userAgent"] == "legacy").count() >= requests).then_some(()))
        })
        .expect("each request is an event");
    let name = if bed.folder.join("before").exists() { "after" } else { "before" };
    fs::create_dir(bed.folder.join(name)).expect("a folder");
    fs::copy(agent.events_file(), bed.folder.join(name).join("events.jsonl")).expect("the events are there");
    agent.stop(SEEN_WITHIN).expect("it stops");
    let report = report(bed, name, &["-o", "json"]);
    fs::write(bed.folder.join(name).join("report.txt"), self::report(bed, name, &[])).expect("written");
    (serde_json::from_str(&report).expect("it is JSON"), got)
}

fn read_pages(bed: &Bed, client: &Legacy) -> [u16; 4] {
    PAGES.map(|(path, content)| {
        let call = Call::get(path).token(&client.token).user_agent("legacy").body();
        let answers = call.from_node(&bed.cluster).expect("the kubelet answers");
        let status = answers.only().expect("one status");
        assert!(status != 200 || answers.body.contains(content), "{path}: {}", answers.body);
        status
    })
}

fn exec(bed: &Bed, client: &Legacy) -> u16 {
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1");
    let call = Call::websocket(&path, "v4.channel.k8s.io").token(&client.token);
    call.from_node(&bed.cluster).expect("the kubelet answers").only().expect("one status")
}

/// `kubewitness report` on the events of a folder, with the cluster's RBAC, as an administrator runs it.
fn report(bed: &Bed, folder: &str, arguments: &[&str]) -> String {
    let mut command = bed.cluster.command(Bed::binary());
    command.args(["report", "--rbac", "cluster", "--kubeconfig"]).arg(bed.cluster.kubeconfig());
    command.args(arguments).arg(bed.folder.join(folder).join("events.jsonl"));
    let output = command.output().expect("the report runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

/// The rows of a client in the report's matrix.
fn uses<'a>(report: &'a Value, client: &Legacy) -> Vec<&'a Value> {
    let name = format!("system:serviceaccount:default:{}", client.name);
    report["matrix"].as_array().expect("a matrix").iter().filter(|row| row["identity"] == name.as_str()).collect()
}

/// Those rows that rest on `nodes/proxy`.
fn accesses(uses: &[&Value]) -> Vec<String> {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let on_proxy = uses.iter().filter(|row| ["fallback", "proxy-only"].contains(&row["access"].as_str().unwrap_or_default()));
    on_proxy.map(|row| format!("{} {}", word(row, "access"), word(row, "endpoint"))).collect()
}
