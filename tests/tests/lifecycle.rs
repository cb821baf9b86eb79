//! The agent comes and goes, the kubelet comes and goes, and neither hurts the other.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::Agent,
    call::Call,
    cluster::{CONTAINER, Options, POD},
    copy::KubeletCopy,
    scenarios::{Bed, annotation, completed, play},
};
use rustix::process::Signal;

const STOPS_WITHIN: Duration = Duration::from_secs(2);
/// A kubelet that starts reads its pods and certificates first.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
/// How many times the agent is attached and taken away.
const ROUNDS: u32 = 10;

#[test]
fn lifecycle() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lifecycle");
    play(
        &Options::named("t-life"),
        &folder,
        &[
            ("the kubelet serves the same before, during and after the agent", the_kubelet_serves_the_same),
            ("SIGTERM flushes every finished request", sigterm_flushes),
            ("SIGTERM with an exec open", sigterm_with_an_exec_open),
            ("what is in flight is told", what_is_in_flight_is_told),
            ("a restarted kubelet is seen from its first request", restart_without_gap),
            ("the agent may come before the kubelet", agent_first),
            ("another file is planned anew", another_file),
        ],
    );
}

fn the_kubelet_serves_the_same(bed: &Bed) {
    let cluster = &bed.cluster;
    let token = bed.identity("same", &["get"], &["nodes/proxy"]);
    let pid = cluster.kubelet_pid();
    let serves = || {
        let pages = ["/healthz", "/pods", "/nothing", "/metrics", "/stats/summary"].map(|path| {
            let answers = Call::get(path).token(&token).body().from_node(cluster).unwrap();
            // The last two are refused to this caller; their bodies say why.
            (path, answers.only(), answers.body)
        });
        let exec = cluster.kubectl(["exec", POD, "--container", CONTAINER, "--", "echo", "alive"]).output().unwrap();
        (pages, String::from_utf8(exec.stdout).unwrap(), exec.status.code())
    };
    let before = serves();
    let statuses: Vec<_> = before.0.iter().map(|(_, status, _)| *status).collect();
    assert_eq!(statuses, [Some(200), Some(200), Some(404), Some(403), Some(403)]);
    assert_eq!((before.1.as_str(), before.2), ("alive\n", Some(0)));

    let load = Call::get("/healthz").token(&token).user_agent("load").times(0).workers(4).pause(Duration::from_millis(4));
    let load = load.start(cluster).unwrap();
    for round in 0..ROUNDS {
        let agent = bed.agent(&[]);
        if round == 0 {
            assert_eq!(serves(), before, "while the agent watches");
        }
        if round % 2 == 0 {
            assert!(agent.stop(STOPS_WITHIN).unwrap().success());
        } else {
            agent.signal(Signal::KILL).unwrap();
            drop(agent);
        }
        if round < 2 {
            assert_eq!(serves(), before, "after round {round}");
        }
    }
    let answers = load.stop().unwrap();
    assert_eq!(answers.only(), Some(200), "{}", answers.problem);
    assert!(answers.answered() > 1000, "the load was no load: {answers:?}");
    assert_eq!(serves(), before, "after all rounds");
    assert!(pid.is_some());
    assert_eq!(cluster.kubelet_pid(), pid, "the kubelet is the same process");
}

fn sigterm_flushes(bed: &Bed) {
    const SENT: u32 = 1000;
    let token = bed.identity("flush", &["get"], &["nodes/proxy"]);
    let agent = bed.agent(&[]);
    let load = Call::get("/healthz").token(&token).user_agent("background").times(0).workers(2).start(&bed.cluster).unwrap();
    let counted = Call::get("/healthz").token(&token).user_agent("counted").times(SENT).workers(4);
    assert_eq!(counted.from_node(&bed.cluster).unwrap().only(), Some(200));
    let (events, begun) = (agent.events_file(), Instant::now());
    // Its last requests ended a moment ago, and the load goes on.
    assert_eq!(agent.stop(STOPS_WITHIN).unwrap().code(), Some(0));
    assert!(begun.elapsed() < STOPS_WITHIN);
    assert_eq!(load.stop().unwrap().only(), Some(200));
    let written = completed(&read_events(&events), "counted");
    assert_eq!(written.len(), SENT as usize);
    assert!(written.iter().all(|event| annotation(event, "access") == "fallback" && annotation(event, "completeness").is_empty()));
}

fn sigterm_with_an_exec_open(bed: &Bed) {
    let token = bed.identity("open", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=sleep&command=60&output=1");
    let mut exec = Call::websocket(&path, "v4.channel.k8s.io").token(&token).user_agent("open").start(&bed.cluster).unwrap();
    exec.upgraded().unwrap();
    agent.event("the exec", Duration::from_secs(2), |event| event["userAgent"] == "open").unwrap();
    let file = agent.events_file();
    assert_eq!(agent.stop(STOPS_WITHIN).unwrap().code(), Some(0));
    // Every request has exactly one ResponseComplete (docs/events.md), also one whose end nobody will see.
    let ended = completed(&read_events(&file), "open");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(annotation(&ended[0], "completeness"), "partial: end-not-seen");
    assert_eq!(exec.stop().unwrap().only(), Some(101), "the exec outlived the agent");
}

/// The kernel programs keep what they know of a routine request until it is over. What they will not see the end of is told all the same.
fn what_is_in_flight_is_told(bed: &Bed) {
    let token = bed.identity("follow", &["get"], &["nodes/proxy"]);
    let follow = |agent: &str| {
        let path = format!("/containerLogs/default/{POD}/{CONTAINER}?follow=true");
        let following = Call::get(&path).token(&token).user_agent(agent).start(&bed.cluster).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        following
    };
    let agent = bed.agent(&[]);
    let following = follow("stopped");
    let file = agent.events_file();
    assert_eq!(agent.stop(STOPS_WITHIN).unwrap().code(), Some(0));
    let ended = completed(&read_events(&file), "stopped");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(annotation(&ended[0], "completeness"), "partial: end-not-seen");
    assert_eq!(annotation(&ended[0], "access"), "proxy-only");
    drop(following);

    let mut agent = bed.agent(&[]);
    let following = follow("killed");
    bed.cluster.end_kubelet().unwrap();
    let told = |event: &serde_json::Value| event["userAgent"] == "killed";
    let event = agent.event("a request of the kubelet that ended", Duration::from_secs(5), told).unwrap();
    assert_eq!(annotation(&event, "completeness"), "partial: kubelet-gone");
    drop(following);
    bed.cluster.restart_kubelet().unwrap();
}

fn restart_without_gap(bed: &Bed) {
    const SENT: u32 = 300;
    let token = bed.identity("restart", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    bed.cluster.end_kubelet().unwrap();
    agent
        .until("/readyz waits for a kubelet", Duration::from_secs(5), |agent| {
            Ok(agent.fetch("/readyz").ok().filter(|page| page.starts_with("waiting")))
        })
        .unwrap();
    // This client asks every millisecond whether somebody listens: its first request is the kubelet's first one.
    let client = Call::get("/healthz").token(&token).user_agent("restarted").times(SENT).while_refused(LISTENS_WITHIN);
    let client = client.start(&bed.cluster).unwrap();
    bed.cluster.restart_kubelet().unwrap();
    let answers = client.wait().unwrap();
    assert_eq!((answers.answered(), answers.failed), (u64::from(SENT), 0), "{}", answers.problem);
    agent
        .until("all of them are seen", Duration::from_secs(5), |agent| {
            Ok((completed(&agent.events()?, "restarted").len() == SENT as usize).then_some(()))
        })
        .unwrap();
    let events = completed(&agent.events().unwrap(), "restarted");
    assert!(events.iter().all(|event| annotation(event, "completeness").is_empty()));
    assert!(agent.fetch("/readyz").unwrap().starts_with("attached"));
    assert_eq!(agent.log().matches("attached to a kubelet").count(), 1, "the same file is planned once");
}

fn agent_first(bed: &Bed) {
    let token = bed.identity("first", &["get"], &["nodes/proxy"]);
    bed.cluster.end_kubelet().unwrap();
    let mut agent = Agent::start_blind(&bed.cluster, &bed.agent_options(&[])).unwrap();
    let page = |agent: &mut Agent, what: &str, wanted: fn(&String) -> bool| {
        agent.until(what, Duration::from_secs(30), |agent| Ok(agent.fetch("/readyz").ok().filter(wanted))).unwrap()
    };
    // It waits; or, where process 1 of the machine does not let itself be looked at, it says that there might be a kubelet.
    page(&mut agent, "it knows of no kubelet", |page| page.starts_with("waiting") || page.contains("network namespace of process 1"));
    bed.cluster.restart_kubelet().unwrap();
    page(&mut agent, "attached", |page| page.starts_with("attached"));
    assert_eq!(Call::get("/healthz").token(&token).user_agent("first").times(20).from_node(&bed.cluster).unwrap().answered(), 20);
    agent
        .until("all of them are seen", Duration::from_secs(5), |agent| Ok((completed(&agent.events()?, "first").len() == 20).then_some(())))
        .unwrap();
}

fn another_file(bed: &Bed) {
    let token = bed.identity("other", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    let copy = bed.folder.join("another-kubelet");
    let kubelet = KubeletCopy::replace(&bed.cluster, &copy).unwrap();
    agent
        .until("the copy is attached", Duration::from_secs(60), |agent| {
            Ok((agent.log().matches("attached to a kubelet").count() == 2).then_some(()))
        })
        .unwrap();
    let call = Call::get("/healthz").token(&token).user_agent("copy").times(20).while_refused(LISTENS_WITHIN);
    assert_eq!(call.from_node(&bed.cluster).unwrap().answered(), 20);
    agent
        .until("all of them are seen", Duration::from_secs(5), |agent| Ok((completed(&agent.events()?, "copy").len() == 20).then_some(())))
        .unwrap();
    drop(kubelet);
    bed.cluster.restart_kubelet().unwrap();
}

fn read_events(file: &Path) -> Vec<serde_json::Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
