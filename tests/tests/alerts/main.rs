//! From the attack to who is paged: the real agent, Prometheus with the rules as they are shipped, Alertmanager, and what a receiver gets.

mod cost;
mod dashboard;
mod pages;

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{SignedDuration, Timestamp};
use kubewitness_tests::{
    agent::Agent,
    alertmanager::{Alertmanager, Notice, Receiver},
    call::{Call, Running},
    cluster::{CONTAINER, Options, POD, Token},
    prometheus::Prometheus,
    scenarios::{Bed, annotation, play},
};
use rustix::process::{Pid, Signal, kill_process};

const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// A second until the scrape, a second until the evaluation, and what a busy machine takes.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How often the time from an exec to its page is taken.
const ATTACKS: usize = 5;

#[test]
fn alerts() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alerts");
    play(&Options::named("al-e2e"), &folder, &[("an attack is told to people, kubectl exec is not", told)]);
}

fn told(bed: &Bed) {
    let attackers: Vec<_> = (0..ATTACKS).map(|number| bed.identity(&format!("intruder-{number}"), &["get"], &["nodes/proxy"])).collect();
    let cast = cast(bed);
    let receiver = Receiver::start(&bed.cluster).expect("the receiver starts");
    let alertmanager = Alertmanager::start(&bed.cluster, &bed.folder, &routes(&receiver)).expect("Alertmanager starts");
    let mut agent = bed.agent(&[]);
    let mut prometheus = watching(bed, &alertmanager);

    // What the API server does for people is no alert.
    for arguments in [&["exec", POD, "--", "true"][..], &["logs", POD, "--tail=1"]] {
        assert!(bed.cluster.kubectl(arguments).status().expect("kubectl runs").success());
    }
    evaluated(&mut prometheus);
    assert!(!prometheus.ask(r#"kubewitness_requests_total{endpoint="exec",code="101"} == 1"#).expect("an answer").is_empty());
    assert_eq!(prometheus.ask("ALERTS").expect("an answer"), Vec::<serde_json::Value>::new());

    traffic(bed, &cast);
    let mut shells = Vec::new();
    for (number, attacker) in attackers.iter().enumerate() {
        shells.push(attack(bed, &mut agent, &prometheus, &receiver, attacker, &format!("system:serviceaccount:default:intruder-{number}")));
    }
    drop(shells);
    let fallback = receiver.wait(TOLD_WITHIN, |notice| label(notice, "alertname") == "KubewitnessFallbackInUse").expect("a ticket");
    assert_eq!((fallback.path.as_str(), label(&fallback, "identity")), ("/ticket", "system:serviceaccount:default:legacy"));
    assert!(fallback.alert["annotations"]["description"].as_str().expect("a text").contains("on 1 node(s), such as node1."));

    // The shells are closed: their requests are over, and counted.
    evaluated(&mut prometheus);
    dashboard::answers(&prometheus);
    pages::are_understood(&prometheus);
    restarted(bed, agent, &mut prometheus, &receiver, &attackers);
    let nameless =
        receiver.notices().into_iter().find(|notice| label(notice, "severity") == "page" && label(notice, "identity").is_empty());
    assert!(nameless.is_none(), "{nameless:?}");
}

/// Runs a command past the API server, and wants to be paged with all that a person needs.
fn attack(bed: &Bed, agent: &mut Agent, prometheus: &Prometheus, receiver: &Receiver, token: &Token, identity: &str) -> Running {
    let begun = Timestamp::now();
    let shell = exec(bed, token);
    let event = agent
        .event("an event with the finding", SEEN_WITHIN, |event| {
            event["user"]["username"] == identity && annotation(event, "findings").contains("unlogged-exec")
        })
        .expect("the agent sees it");
    let page = receiver.wait(TOLD_WITHIN, |notice| is(notice, "KubewitnessUnloggedExec", identity, "firing")).expect("somebody is paged");
    assert_eq!(page.path, "/page");
    for (name, value) in [("severity", "page"), ("node", "node1"), ("finding", "unlogged-exec"), ("pod", "kubewitness-1")] {
        assert_eq!(label(&page, name), value);
    }
    let said = |name: &str| page.alert["annotations"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(said("summary"), format!("{identity} ran a command in a pod of node node1, past the API server"));
    assert_eq!(said("runbook_url"), "https://kubewitness.dev/runbooks/unlogged-exec");
    assert!(said("events").starts_with("kubectl logs --namespace kubewitness kubewitness-1 --since 1h | jq "), "{}", said("events"));
    assert!(prometheus.ask(&said("query")).is_ok(), "the query of the page is understood");

    // The shell is still open: its request has not ended.
    let time = |value: &serde_json::Value| value.as_str().expect("a time").parse::<Timestamp>().expect("a time");
    let since = |time: Timestamp| (time.as_nanosecond() - begun.as_nanosecond()) / 1_000_000;
    let samples = prometheus.ask(&format!(r#"kubewitness_identity_findings_total{{finding="unlogged-exec",identity="{identity}"}}[1m]"#));
    let first = samples.expect("an answer")[0]["values"][0][0].as_f64().expect("the time of a sample");
    let first = Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(first);
    let told = Timestamp::try_from(page.received).expect("a time");
    eprintln!(
        "  from the exec, in ms: event {}, scraped {}, evaluated {}, notified {}",
        since(time(&event["stageTimestamp"])),
        since(first),
        since(time(&page.alert["startsAt"])),
        since(told)
    );
    shell
}

/// The agent is killed, and the next one has counted as much when Prometheus looks again: no value has moved, and the alert fires anew.
fn restarted(bed: &Bed, agent: Agent, prometheus: &mut Prometheus, receiver: &Receiver, attackers: &[Token]) {
    let again = |notice: &Notice, status: &str| is(notice, "BriefUnloggedExec", "system:serviceaccount:default:intruder-0", status);
    receiver.wait(TOLD_WITHIN, |notice| again(notice, "firing")).expect("with shorter windows it is an alert too");
    receiver.wait(Duration::from_secs(60), |notice| again(notice, "resolved")).expect("and it ends");
    let before = counted(prometheus);
    assert_eq!(before, ATTACKS.to_string());

    let server = Pid::from_raw(prometheus.pid().cast_signed()).expect("a process");
    kill_process(server, Signal::STOP).expect("Prometheus pauses");
    let killed = SystemTime::now();
    agent.signal(Signal::KILL).expect("the agent is killed");
    drop(agent);
    let mut agent = bed.agent(&[]);
    let shells: Vec<_> = attackers.iter().map(|token| exec(bed, token)).collect();
    agent
        .until("the execs are counted", SEEN_WITHIN, |agent| {
            let found = agent.metrics()?.get(r#"kubewitness_findings_total{finding="unlogged-exec",severity="critical"}"#).copied();
            Ok(found.filter(|count| count.to_string() == before))
        })
        .expect("the new agent counts as many");
    kill_process(server, Signal::CONT).expect("Prometheus goes on");
    let fired = receiver.wait(TOLD_WITHIN, |notice| again(notice, "firing") && notice.received > killed);
    assert!(fired.is_some(), "nobody is told of an exec between the start of an agent and its first scrape");
    assert_eq!(counted(prometheus), before, "the value has not moved");
    drop(shells);
    agent.stop(SEEN_WITHIN).expect("it stops");
}

fn counted(prometheus: &Prometheus) -> String {
    let rows = prometheus.ask(r#"kubewitness_findings_total{finding="unlogged-exec"}"#).expect("an answer");
    rows[0]["value"][1].as_str().expect("a value").to_owned()
}

fn exec(bed: &Bed, token: &Token) -> Running {
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=sleep&command=60&output=1");
    let mut shell = Call::websocket(&path, "v4.channel.k8s.io").token(token).start(&bed.cluster).expect("the kubelet is asked");
    shell.upgraded().expect("the command runs");
    shell
}

/// The rules as they are shipped, and a copy with windows of seconds instead of a quarter of an hour, so that an alert ends while we wait.
fn watching(bed: &Bed, alertmanager: &Alertmanager) -> Prometheus {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rules/kubewitness.yaml");
    let rules = fs::read_to_string(&shipped).expect("the rules");
    let brief = [("Kubewitness", "Brief"), ("kubewitness:", "brief:"), (":kubewitness_", ":brief_"), ("15 * 60", "25"), ("15m", "8s")];
    let brief = brief.into_iter().fold(rules.clone(), |rules, (long, short)| rules.replace(long, short));
    let folder = bed.folder.join("prometheus");
    fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("brief.yaml"), brief)).expect("the brief rules");
    fs::write(folder.join("rules.yaml"), rules).expect("the rules");
    let config = format!(
        "\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [rules.yaml, brief.yaml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}
scrape_configs:
- job_name: kubewitness
  static_configs:
  - targets: ['127.0.0.1:9464']
    labels: {{namespace: kubewitness, pod: kubewitness-1, node: node1}}
",
        alertmanager.address()
    );
    let mut prometheus = Prometheus::start_in(&bed.cluster, &folder, &config, &[]).expect("Prometheus starts");
    prometheus.scraped_since(0.0, SEEN_WITHIN).expect("it scrapes the agent");
    prometheus
}

/// The example of `docs/alerting.md`, with this receiver's address and no waiting.
fn routes(receiver: &Receiver) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerting.md")).expect("the page on alerting");
    let example = page.split("```yaml\n").find(|block| block.starts_with("# alertmanager.yml\n")).expect("the example of alertmanager.yml");
    let example = example.split("```").next().unwrap_or_default();
    let (page_url, ticket_url) = ("https://pager.example/page", "https://tracker.example/ticket");
    assert!(example.contains(page_url) && example.contains(ticket_url), "the receivers of the example");
    let example = example.replace(page_url, &format!("http://{}/page", receiver.address()));
    let example = example.replace(ticket_url, &format!("http://{}/ticket", receiver.address()));
    let waits = |line: &str| line.trim_start().starts_with("group_interval:") || line.trim_start() == "group_wait: 30s";
    let quick = |line: &str| if waits(line) { line.replace(line.rsplit(' ').next().unwrap_or_default(), "200ms") } else { line.to_owned() };
    example.lines().map(quick).collect::<Vec<_>>().join("\n")
}

/// Waits until what happened so far was scraped and judged by the rules.
fn evaluated(prometheus: &mut Prometheus) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_secs_f64();
    prometheus.scraped_since(now, SEEN_WITHIN).expect("it scrapes");
    prometheus.scraped_since(now + 2.0, SEEN_WITHIN).expect("it scrapes again, and evaluates between");
}

/// Who is there besides the attackers, as in the demo.
fn cast(bed: &Bed) -> Vec<(Option<Token>, &'static [&'static str])> {
    vec![
        (Some(bed.identity("scraper", &["get"], &["nodes/metrics"])), &["/metrics", "/metrics/cadvisor"]),
        (Some(bed.identity("modern", &["get"], &["nodes/pods"])), &["/pods"]),
        (Some(bed.identity("legacy", &["get"], &["nodes/proxy"])), &["/pods", "/healthz", "/configz"]),
        (Some(bed.identity("nobody", &[], &[])), &["/pods", "/exec/default/web/main?command=true&output=1"]),
        (None, &["/pods"]),
    ]
}

/// Twice, with a scrape between, so that rates see what is counted for the first time.
fn traffic(bed: &Bed, cast: &[(Option<Token>, &'static [&'static str])]) {
    for _ in 0..2 {
        for (token, paths) in cast {
            for path in *paths {
                let call = if path.starts_with("/exec") { Call::websocket(path, "v4.channel.k8s.io") } else { Call::get(path) };
                let call = match token {
                    Some(token) => call.token(token),
                    None => call.header("Authorization: Bearer nonsense"),
                };
                assert_eq!(call.from_node(&bed.cluster).expect("the kubelet is asked").answered(), 1, "{path}");
            }
        }
        std::thread::sleep(Duration::from_millis(1200));
    }
}

fn label<'a>(notice: &'a Notice, name: &str) -> &'a str {
    notice.alert["labels"][name].as_str().unwrap_or_default()
}

fn is(notice: &Notice, alert: &str, identity: &str, status: &str) -> bool {
    label(notice, "alertname") == alert && label(notice, "identity") == identity && notice.alert["status"] == status
}
