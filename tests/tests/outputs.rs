//! What comes out: findings in events and metrics, in time, in forms that others read.

#[path = "outputs/watch.rs"]
mod watch;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use jiff::SignedDuration;
use kubewitness_tests::{
    agent::Agent,
    build::{OwnProgram, PrometheusProgram},
    call::Call,
    cluster::{CONTAINER, Options, POD},
    scenarios::{Bed, annotation, completed, figure, play},
};
use serde_json::{Value, json};

const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// From the moment the kubelet received an exec.
const ALERT_WITHIN: SignedDuration = SignedDuration::from_secs(1);

#[test]
fn outputs() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outputs");
    let kubelet_config = json!({"readOnlyPort": 10255, "authentication": {"anonymous": {"enabled": true}}});
    let options = Options { kubelet_config, ..Options::named("t-out") };
    play(
        &options,
        &folder,
        &[
            ("an unlogged exec is told within a second, while it runs", exec_is_told_while_it_runs),
            ("each finding is in its event and counted", findings),
            ("probing is told once", probing),
            ("the metrics are well formed and few", metrics_are_well_formed),
            ("who watches sees what is written, and holds nobody up", watch::beside_an_agent),
            ("who watches without an agent attaches to the kubelet", watch::without_an_agent),
        ],
    );
}

fn exec_is_told_while_it_runs(bed: &Bed) {
    let cluster = &bed.cluster;
    let token = bed.identity("runner", &["get", "create"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    let counters = |agent: &Agent| {
        [("exec", "get"), ("exec", "create"), ("run", "create")].map(|(endpoint, verb)| {
            figure(agent, &format!("kubewitness_unlogged_exec_total{{endpoint=\"{endpoint}\",outcome=\"executed\",verb=\"{verb}\"}}"))
        })
    };
    assert_eq!(counters(&agent), [0, 0, 0], "the series are there from the start");

    let exec = format!("/exec/default/{POD}/{CONTAINER}?command=sleep&command=30&output=1");
    for (protocol, count) in [("v5.channel.k8s.io", 1), ("v4.channel.k8s.io", 2)] {
        let call = Call::websocket(&exec, protocol).token(&token).user_agent(protocol);
        let mut running = call.start(cluster).unwrap();
        running.upgraded().unwrap();
        told(&mut agent, "websocket", |event| event["userAgent"] == protocol);
        assert_eq!(counters(&agent), [count, 0, 0], "counted while it runs");
        assert!(completed(&agent.events().unwrap(), protocol).is_empty(), "it still runs");
        assert_eq!(running.stop().unwrap().only(), Some(101));
        let ended =
            agent.event("its end", SEEN_WITHIN, |event| event["userAgent"] == protocol && event["stage"] == "ResponseComplete").unwrap();
        assert_eq!((ended["responseStatus"]["code"].as_u64(), annotation(&ended, "findings")), (Some(101), "unlogged-exec"));
        assert_eq!(counters(&agent), [count, 0, 0], "and not again when it ends");
    }

    let client = OwnProgram::SpdyExec.recipe().build().unwrap();
    let mut spdy = cluster.command(client);
    let server = format!("https://{}:10250", cluster.address());
    spdy.args(["--server", &server, "--token-file", "/dev/stdin", "--insecure", "--pod", POD, "--container", CONTAINER]);
    spdy.args(["--", "sh", "-c", "echo begun; sleep 30"]);
    let mut child = Killed(spdy.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    child.0.stdin.take().unwrap().write_all(token.expose().as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    told(&mut agent, "spdy", |event| annotation(event, "transport") == "spdy");
    assert_eq!(counters(&agent), [2, 1, 0]);
    drop(child);

    let run = Call::post(&format!("/run/default/{POD}/{CONTAINER}?cmd=sleep+30")).token(&token).user_agent("run");
    let running = run.start(cluster).unwrap();
    told(&mut agent, "plain", |event| event["userAgent"] == "run");
    assert_eq!(counters(&agent), [2, 1, 1]);
    assert!(completed(&agent.events().unwrap(), "run").is_empty(), "it still runs");
    drop(running);

    // What the API server does is in its own audit log.
    let logged = cluster.kubectl(["exec", POD, "--container", CONTAINER, "--", "true"]).status().unwrap();
    assert!(logged.success());
    let event = agent
        .event("kubectl exec", SEEN_WITHIN, |event| {
            event["user"]["username"] == "kube-apiserver-kubelet-client" && event["stage"] == "ResponseComplete"
        })
        .unwrap();
    assert_eq!((event["objectRef"]["subresource"].as_str(), annotation(&event, "findings")), (Some("exec"), ""));
    assert_eq!(counters(&agent), [2, 1, 1]);
}

/// Waits for the event with the finding, and wants it soon after the kubelet received the request.
fn told(agent: &mut Agent, transport: &str, of: impl Fn(&Value) -> bool) {
    let wanted = |event: &Value| of(event) && annotation(event, "findings").split(',').any(|id| id == "unlogged-exec");
    let event = agent.event("an event with unlogged-exec", SEEN_WITHIN, wanted).unwrap();
    let received: jiff::Timestamp = event["requestReceivedTimestamp"].as_str().unwrap().parse().unwrap();
    let late = jiff::Timestamp::now().duration_since(received);
    assert!((SignedDuration::ZERO..ALERT_WITHIN).contains(&late), "told after {late}");
    assert_eq!(event["stage"], "ResponseStarted");
    assert_eq!(annotation(&event, "transport"), transport);
    assert_eq!(annotation(&event, "access"), "proxy-only");
    assert_eq!(event["user"]["username"], "system:serviceaccount:default:runner");
    let object = &event["objectRef"];
    assert_eq!(
        (object["resource"].as_str(), object["namespace"].as_str(), object["name"].as_str()),
        (Some("pods"), Some("default"), Some(POD))
    );
}

/// A child that does not outlive the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn findings(bed: &Bed) {
    let cluster = &bed.cluster;
    let reader = bed.identity("reader", &["get"], &["nodes/proxy", "nodes/log"]);
    let writer = bed.identity("writer", &["create"], &["nodes/checkpoint"]);
    let nobody = bed.identity("nobody", &[], &[]);
    cluster.apply(&list(&grant("anyone", &["nodes/healthz"], "User", "system:anonymous"))).unwrap();
    let mut agent = bed.agent(&[]);
    let logs = format!("/containerLogs/default/{POD}/{CONTAINER}?tailLines=1");
    let table = [
        (Call::get("/pods").read_only(), 200, "open", "read-only-port"),
        (Call::get("/healthz").read_only(), 200, "open", "read-only-port"),
        (Call::get("/healthz"), 200, "fine-grained", "anonymous-access"),
        (Call::get("/configz"), 403, "denied", ""),
        (Call::get("/debug/pprof/cmdline").token(&reader), 200, "proxy-only", "debug-access"),
        (Call::get("/debug/pprof/cmdline").token(&nobody), 403, "denied", ""),
        (Call::get(&logs).token(&reader), 200, "proxy-only", "unlogged-log-read"),
        (Call::get("/containerLogs/default/web/none").token(&reader), 404, "proxy-only", ""),
        (Call::get("/logs/").token(&reader), 200, "single", "unlogged-log-read"),
        (Call::get("/pods").token(&reader), 200, "fallback", "nodes-proxy-fallback"),
        (Call::get("/exec/default/web/main?command=id").token(&nobody), 403, "denied", "exec-attempt"),
        // No criu is there: the checkpoint fails, and what failed took no memory.
        (Call::post("/checkpoint/default/web/main").token(&writer), 500, "single", ""),
        (Call::get("/healthz").header("Authorization: Bearer nonsense"), 401, "unauthenticated", ""),
    ];
    for (number, (call, status, access, findings)) in table.into_iter().enumerate() {
        let name = format!("finding-{number}");
        let answers = call.clone().user_agent(&name).from_node(cluster).unwrap();
        assert_eq!(answers.only(), Some(status), "{call:?} {}", answers.problem);
        let event =
            agent.event(&name, SEEN_WITHIN, |event| event["userAgent"] == name.as_str() && event["stage"] == "ResponseComplete").unwrap();
        assert_eq!((annotation(&event, "access"), annotation(&event, "findings")), (access, findings), "{event}");
        let user = event["user"]["username"].as_str();
        match access {
            "open" | "unauthenticated" => assert_eq!(user, None, "{event}"),
            _ => assert!(user.is_some(), "{event}"),
        }
    }
    for (finding, severity, count) in [
        ("read-only-port", "warning", 2),
        ("anonymous-access", "critical", 1),
        ("debug-access", "warning", 1),
        ("unlogged-log-read", "warning", 2),
        ("nodes-proxy-fallback", "info", 1),
        ("exec-attempt", "info", 1),
        ("unlogged-exec", "critical", 0),
        ("checkpoint", "critical", 0),
        ("probing", "warning", 0),
    ] {
        let series = format!("kubewitness_findings_total{{finding=\"{finding}\",severity=\"{severity}\"}}");
        assert_eq!(figure(&agent, &series), count, "{series}");
    }
}

/// A `ClusterRole` of this name that allows `get` on these resources, bound to a user or a group.
fn grant(name: &str, resources: &[&str], kind: &str, subject: &str) -> Vec<Value> {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    vec![
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name},
               "rules": [{"apiGroups": [""], "resources": resources, "verbs": ["get"]}]}),
        json!({"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name},
               "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
               "subjects": [{"apiGroup": group, "kind": kind, "name": subject}]}),
    ]
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn probing(bed: &Bed) {
    let refused = bed.identity("prober", &[], &[]);
    let mut agent = bed.agent(&[]);
    let calls = [
        (Call::get("/pods").token(&refused).user_agent("prober"), "prober", 403),
        (Call::get("/pods").header("Authorization: Bearer nonsense").user_agent("stranger"), "stranger", 401),
    ];
    for (call, name, status) in calls {
        let send = |count| call.clone().times(count).from_node(&bed.cluster).unwrap().only();
        assert_eq!(send(19), Some(status));
        let mut found = |count: usize| {
            let seen =
                agent.until(name, SEEN_WITHIN, |agent| Ok(Some(completed(&agent.events()?, name)).filter(|seen| seen.len() == count)));
            let seen = seen.unwrap();
            seen.iter().filter(|event| annotation(event, "findings") == "probing").count()
        };
        assert_eq!(found(19), 0, "{name}: that may be a scraper that lost its rights");
        assert_eq!(send(10), Some(status));
        assert_eq!(found(29), 1, "{name}: once a minute");
    }
}

fn metrics_are_well_formed(bed: &Bed) {
    let mut agent = bed.agent(&[]);
    // One manifest for all, since each call of kubectl takes its time.
    let names: Vec<_> = (0..30).map(|number| format!("usual-{number}")).collect();
    let account = |name| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}});
    let mut objects = grant("usual", &["nodes/metrics", "nodes/pods"], "Group", "system:serviceaccounts:default");
    objects.extend(names.iter().map(account));
    bed.cluster.apply(&list(&objects)).unwrap();
    for name in &names {
        let token = bed.cluster.token(name, None).unwrap();
        for path in ["/pods", "/metrics/probes"] {
            assert_eq!(Call::get(path).token(&token).from_node(&bed.cluster).unwrap().only(), Some(200), "{name} {path}");
        }
    }
    let all_seen = |page: &String| {
        let of = |line: &&str| line.starts_with("kubewitness_identity_requests_total{") && line.contains("usual-");
        page.lines().filter(of).count() == 60
    };
    let page = agent.until("all requests are counted", SEEN_WITHIN, |agent| Ok(Some(agent.fetch("/metrics")?).filter(all_seen))).unwrap();
    let check = PrometheusProgram::Promtool.recipe().build().unwrap();
    let mut child =
        Command::new(check).args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!((100..500).contains(&series), "{series} series");
}
