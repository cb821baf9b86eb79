//! Unlogged execs, while everybody else shouts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    process::ChildStdout,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::Agent,
    books,
    cluster::{CONTAINER, POD},
    flood::{Flood, Upgrade},
    scenarios::{Bed, figure},
};
use memchr::memmem;
use rustix::process::Signal;

use crate::Form;

const MARK: &str = "unlogged=";
const V4: &str = "v4.channel.k8s.io";
const V5: &str = "v5.channel.k8s.io";

/// Execs by WebSocket of both versions, by SPDY, and by `run`, while three floods go on: authorized requests, requests of somebody who is
/// nobody (401), and of somebody who may do nothing (403), both against `/exec` with the longest targets that are kept.
pub(crate) fn under_a_flood(bed: &Bed, form: Form) {
    let token = bed.identity("execs", &["get", "create"], &["nodes/proxy"]);
    let powerless = bed.identity("powerless", &[], &[]);
    let (agent, pipe) = bed.piped(&[]);
    let (stop, heard) = listen(pipe);
    let exec = format!("/exec/default/{POD}/{CONTAINER}");
    let long = "x".repeat(3800);
    let floods = [
        Flood::get("/healthz").token(&token).connections(16),
        Flood::get(&format!("{exec}?command={long}&refused={{n}}")).connections(16),
        Flood::get(&format!("{exec}?command={long}&refused={{n}}")).token(&powerless).connections(16),
    ];
    let running = floods.map(|flood| flood.start(&bed.cluster).unwrap());
    let begun = Instant::now();

    let each = form.of(75, 2500);
    let target = |kind: u32| format!("{exec}?command=true&output=1&{MARK}{kind}{{n}}");
    let kinds = [
        Flood::sessions(&target(1), Upgrade::WebSocket(V4)),
        Flood::sessions(&target(2), Upgrade::WebSocket(V5)),
        // Its streams never come: the runtime answers 101 and then waits in vain.
        Flood::sessions(&target(3), Upgrade::Spdy).hanging_up(),
        Flood::get(&format!("/run/default/{POD}/{CONTAINER}?cmd=true&{MARK}4{{n}}")).method("POST"),
    ];
    let execs = kinds.map(|kind| kind.token(&token).connections(2).times(each).start(&bed.cluster).unwrap());
    for exec in execs {
        let answers = exec.wait().unwrap();
        assert_eq!((answers.answered(), answers.failed), (each, 0), "{answers:?}");
        assert!(matches!(answers.only(), Some(101 | 200)), "{answers:?}");
    }
    let took = begun.elapsed();
    let answers = running.map(|flood| flood.stop().unwrap());
    let rates = answers.clone().map(|answers| answers.answered() / took.as_secs().max(1));
    assert_eq!(answers.map(|answers| answers.only()), [Some(200), Some(401), Some(403)]);

    thread::sleep(Duration::from_secs(2));
    stop.send(()).unwrap();
    // The reader looks up when there is something to read.
    let _last = Flood::get("/healthz").token(&token).times(100).send(&bed.cluster).unwrap();
    let heard = heard.join().unwrap();
    let lost = books::sum(&agent, "kubewitness_events_dropped_total").unwrap();
    assert_eq!(figure(&agent, "kubewitness_records_lost_total{class=\"priority\"}"), 0, "records of execs were lost");
    let all = 4 * each;
    assert_eq!(heard.found.len() as u64, all, "execs that were told as unlogged");
    assert!(heard.first < Duration::from_secs(1), "one was told {:?} after it was let in", heard.first);
    assert!(heard.finding < Duration::from_secs(1), "one was told as unlogged {:?} after it was let in", heard.finding);
    let note = format!(
        "beside {} authorized, {} with 401 and {} with 403 a second; told {} ms after they were let in, at the latest, and as `unlogged-exec` {} ms; {lost} events of others dropped",
        rates[0],
        rates[1],
        rates[2],
        heard.first.as_millis(),
        heard.finding.as_millis()
    );
    form.row(&format!("{all} unlogged execs under a flood"), all, heard.found.len() as u64, 0, &note);
    drop(agent);
}

/// The agent gets no processor time for some seconds, as on a node that is overwhelmed, while refused execs would have filled any ring: those
/// that were let in meanwhile are told when it wakes.
pub(crate) fn while_the_agent_sleeps(bed: &Bed, form: Form) {
    let token = bed.identity("asleep", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    let execs = form.of(40, 400);
    agent.signal(Signal::STOP).unwrap();
    let long = "x".repeat(3800);
    let exec = format!("/exec/default/{POD}/{CONTAINER}");
    let refused = Flood::get(&format!("{exec}?command={long}&refused={{n}}")).connections(16).times(20_000).send(&bed.cluster).unwrap();
    assert_eq!(refused.only(), Some(401));
    let sessions = Flood::sessions(&format!("{exec}?command=true&output=1&asleep={{n}}"), Upgrade::WebSocket(V4)).token(&token);
    let answers = sessions.connections(4).times(execs).send(&bed.cluster).unwrap();
    assert_eq!((answers.only(), answers.answered()), (Some(101), execs), "{answers:?}");
    agent.signal(Signal::CONT).unwrap();
    let told = |agent: &Agent| {
        let events = fs::read(agent.events_file()).unwrap();
        let lines = events.split(|byte| *byte == b'\n').filter(|line| is_found(line));
        lines.filter_map(|line| books::number(line, "asleep=")).collect::<BTreeSet<_>>().len() as u64
    };
    agent.until("every exec is told", Duration::from_secs(20), |agent| Ok((told(agent) == execs).then_some(()))).unwrap();
    assert_eq!(figure(&agent, "kubewitness_requests_unseen_total{class=\"priority\"}"), 0);
    let counted = |agent: &mut Agent| {
        let (seen, unseen) = books::known_requests(agent)?;
        Ok((seen + unseen == refused.answered() + execs).then_some(unseen))
    };
    let lost = agent.until("the refused ones are counted", Duration::from_secs(20), counted).unwrap();
    let note = format!("{} refused execs came meanwhile, {lost} of which are counted as unseen", refused.answered());
    form.row("unlogged execs while the agent is stopped", execs, told(&agent), 0, &note);
}

/// What was heard from an agent.
#[derive(Default)]
struct Heard {
    /// The execs that were told as unlogged.
    found: BTreeSet<u64>,
    /// The longest time from the check that let one in to the line that first told of it.
    first: Duration,
    /// The longest time from that check to the line that says `unlogged-exec`: it is known to run by its answer, its end or 300 ms without
    /// one.
    finding: Duration,
}

/// Reads the events as they come, each with its own time.
fn listen(pipe: ChildStdout) -> (mpsc::Sender<()>, thread::JoinHandle<Heard>) {
    let (stop, stopped) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut heard = Heard::default();
        let mut checked = BTreeMap::new();
        let mut reader = BufReader::with_capacity(1 << 20, pipe);
        let mut line = Vec::new();
        while stopped.try_recv().is_err() {
            line.clear();
            if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                break;
            }
            let Some(number) = books::number(&line, MARK) else { continue };
            // The first event of an exec is written when it is let in; its stage's time is the kernel's time of the check.
            let first = !checked.contains_key(&number);
            let since = *checked.entry(number).or_insert_with(|| stage_time(&line));
            let late = jiff::Timestamp::now().duration_since(since).unsigned_abs();
            if first {
                heard.first = heard.first.max(late);
            }
            if is_found(&line) && heard.found.insert(number) {
                heard.finding = heard.finding.max(late);
            }
        }
        // The agent must not be blocked by a pipe that nobody reads.
        thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        heard
    });
    (stop, reader)
}

fn stage_time(line: &[u8]) -> jiff::Timestamp {
    let event: serde_json::Value = serde_json::from_slice(line).expect("an event is JSON");
    event["stageTimestamp"].as_str().and_then(|time| time.parse().ok()).expect("a time")
}

fn is_found(line: &[u8]) -> bool {
    memmem::find(line, b"unlogged-exec").is_some()
}
