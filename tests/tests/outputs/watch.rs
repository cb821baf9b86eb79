//! `kubewitness watch` beside an agent, and without one.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Lines},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::Agent,
    call::Call,
    cluster::NODE,
    scenarios::{Bed, completed, figure},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::SEEN_WITHIN;

/// Enough to fill all that is between an agent and somebody who does not read.
const FLOOD: u32 = 4000;
const LOST: &str = "kubewitness_watch_events_lost_total";

/// Somebody who watches; they are killed when this is dropped.
struct Watcher {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watcher {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// One who reads from an agent.
    fn of(socket: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(Bed::binary());
        command.arg("watch").arg("--watch-socket").arg(socket).args(arguments).stderr(Stdio::null());
        Self::start(command)
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("there is a line").unwrap()
    }

    /// Ends it; how long that took. Not by Ctrl-C, which whoever runs these tests may ignore, and their children with them:
    /// `agent/tests/watch_cli.rs` has a terminal for that.
    fn end(mut self) -> Duration {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
        begun.elapsed()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn until(agent: &mut Agent, what: &str, is: impl Fn(&Agent) -> bool) {
    agent.until(what, SEEN_WITHIN, |agent| Ok(is(agent).then_some(()))).unwrap();
}

pub(super) fn beside_an_agent(bed: &Bed) {
    let token = bed.identity("watched", &["get"], &["nodes/proxy"]);
    let socket = bed.folder.join("watch/watch.sock");
    let mut agent = bed.agent(&["--watch-socket", &socket.display().to_string()]);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut json = Watcher::of(&socket, &["-o", "json", "--identity", "default/watched"]);
    let mut text = Watcher::of(&socket, &["--endpoint", "configz", "--findings-only"]);
    let mut unread = Watcher::of(&socket, &["-o", "json"]);
    until(&mut agent, "all watch", |agent| figure(agent, "kubewitness_watchers") == 3);

    let call = |path: &str, name: &str| Call::get(path).token(&token).user_agent(name).from_node(&bed.cluster).unwrap().only();
    assert_eq!((call("/healthz", "first"), call("/configz", "second")), (Some(200), Some(200)));
    agent.event("the second request", SEEN_WITHIN, |event| event["userAgent"] == "second").unwrap();
    let written = fs::read_to_string(agent.events_file()).unwrap();
    let shown = [json.line(), json.line()];
    assert!(shown.iter().all(|shown| written.lines().any(|line| line == shown)), "{shown:?} are lines of {written}");
    assert!(text.line().starts_with("TIME "));
    let line = text.line();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1..], ["default/watched", "configz", "fallback", "200", "nodes-proxy-fallback"], "{line}");
    assert!(words[0].ends_with('Z') && !line.contains('\u{1b}'), "{line}");
    assert!(json.end() < Duration::from_secs(1));

    // One who does not read costs the others, and the file, nothing.
    let flood = Call::get("/healthz").token(&token).user_agent("flood").times(FLOOD).workers(4).from_node(&bed.cluster).unwrap();
    assert_eq!(flood.answered(), u64::from(FLOOD));
    let all = |agent: &Agent| completed(&agent.events().unwrap(), "flood").len() == FLOOD as usize;
    until(&mut agent, "every event is written", all);
    assert_eq!(figure(&agent, "kubewitness_events_dropped_total{sink=\"file\"}"), 0);
    let events = agent.events().unwrap();
    let known: BTreeSet<&str> = events.iter().filter_map(|event| event["auditID"].as_str()).collect();
    // It reads at last.
    let (mut got, mut lost) = (BTreeSet::new(), 0);
    while got.len() as u64 + lost < u64::from(FLOOD) + 2 {
        let line: Value = serde_json::from_str(&unread.line()).unwrap();
        match line["kind"].as_str() {
            Some("Lost") => lost += line["events"].as_u64().unwrap(),
            _ => _ = got.insert(line["auditID"].as_str().unwrap().to_owned()),
        }
    }
    drop(unread);
    assert!(lost > 0 && got.iter().all(|id| known.contains(id.as_str())), "{} shown, {lost} lost", got.len());
    assert_eq!(got.len() as u64 + lost, u64::from(FLOOD) + 2, "what was not shown was counted");
    assert!(figure(&agent, LOST) >= lost);
    until(&mut agent, "one is left", |agent| figure(agent, "kubewitness_watchers") == 1);
    drop(text);
    until(&mut agent, "nobody watches", |agent| figure(agent, "kubewitness_watchers") == 0);
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());
    assert!(!socket.exists());
}

pub(super) fn without_an_agent(bed: &Bed) {
    let token = bed.identity("unwatched", &["get"], &["nodes/proxy"]);
    let mut command = bed.cluster.command(Bed::binary());
    command.args(["watch", "--watch-socket", "none", "--rbac", "off", "--node-name", NODE, "-o", "json"]);
    let log = bed.folder.join("watch.log");
    command.stderr(fs::File::create(&log).unwrap());
    let mut watcher = Watcher::start(command);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let begun = Instant::now();
    while !said().contains("is watched") {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(Call::get("/configz").token(&token).user_agent("own").from_node(&bed.cluster).unwrap().only(), Some(200));
    let event: Value = loop {
        let event: Value = serde_json::from_str(&watcher.line()).unwrap();
        if event["userAgent"] == "own" {
            break event;
        }
    };
    assert_eq!(event["user"]["username"], "system:serviceaccount:default:unwatched");
    assert_eq!(event["annotations"]["kubewitness.dev/access"], "fallback");
    assert!(watcher.end() < Duration::from_secs(1));
}
