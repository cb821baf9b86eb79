//! Events to a receiver that takes them as it would the API server's, and that comes and goes: none is lost.

mod receiver;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::Agent,
    call::Call,
    cluster::{CONTAINER, Options, POD, Token},
    scenarios::{Bed, completed, figure, play},
};
use rustix::process::Signal;
use serde_json::Value;

use self::receiver::Receiver;

const ARRIVES_WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn webhook() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("webhook");
    play(
        &Options::named("wh-hook"),
        &folder,
        &[
            ("each event arrives once and in order", each_arrives_once),
            ("a receiver that comes and goes under load loses nothing", receiver_comes_and_goes),
            ("an agent that is killed under load has queued what it wrote", killed_under_load),
            ("what the receiver refuses is dropped alone", refused),
        ],
    );
}

fn each_arrives_once(bed: &Bed) {
    let token = bed.identity("once", &["get", "create"], &["nodes/proxy"]);
    let mut receiver = Receiver::new(&bed.folder.join("once"));
    receiver.start(&bed.cluster);
    // The batches are never full, and their time never comes: only the end of the agent sends them.
    let mut agent = agent(bed, &receiver, &["--audit-webhook-batch-max-wait", "1h"]);
    exec(bed, &token);
    send(bed, &token, "/healthz", 100);
    wait_for_events(&mut agent, "node", 100);
    let second = bed.agent_options(&["--audit-webhook-config-file", &receiver.kubeconfig(), "--audit-webhook-queue", &queue(bed, "once")]);
    let mut second = Agent::start_blind(&bed.cluster, &second).unwrap();
    let refused = second.until("its end", ARRIVES_WITHIN, |_| Ok(None::<()>)).unwrap_err().to_string();
    assert!(refused.contains("another process uses the queue"), "{refused}");

    let (file, begun) = (agent.events_file(), Instant::now());
    assert!(receiver.events().is_empty());
    assert_eq!(agent.stop(STOPS_WITHIN).unwrap().code(), Some(0));
    assert!(begun.elapsed() < STOPS_WITHIN);
    let (written, arrived) = (read(&file), receiver.events());
    assert!(written.iter().any(|event| event["stage"] == "ResponseStarted"), "the exec is there");
    assert_eq!(keys(&arrived), keys(&written));
    // The receiver has decoded and encoded them: times and all else are the same.
    for (event, expected) in arrived.iter().zip(&written) {
        assert_eq!(event, expected);
    }
    assert_eq!(receiver.log(), "");
}

/// The load goes on while the receiver is killed, started, overloaded, slow, and while the agent is killed.
fn receiver_comes_and_goes(bed: &Bed) {
    let cluster = &bed.cluster;
    let token = bed.identity("goes", &["get", "create"], &["nodes/proxy"]);
    let mut receiver = Receiver::new(&bed.folder.join("goes"));
    let arguments = ["--audit-webhook-batch-max-wait", "200ms", "--audit-webhook-initial-backoff", "100ms"];
    let first = agent(bed, &receiver, &arguments);
    let load = || Call::get("/healthz").token(&token).user_agent("load").times(0).workers(2).pause(Duration::from_millis(1));
    let mut sent = 0;

    let running = load().start(cluster).unwrap();
    thread::sleep(Duration::from_secs(1));
    receiver.start(cluster);
    for mood in ["ok", "500", "forget", "429", "hang", "ok", "401", "forget", "503", "ok"] {
        receiver.behave(mood);
        exec(bed, &token);
        thread::sleep(Duration::from_millis(400));
        if matches!(mood, "ok" | "hang" | "forget") {
            receiver.kill();
            thread::sleep(Duration::from_millis(300));
            receiver.start(cluster);
        }
    }
    receiver.kill();
    sent += running.stop().unwrap().answered();

    // The agent is killed as well, when all is in its queue, and another one goes on with that.
    let mut first = first;
    wait_for_events(&mut first, "load", sent);
    let file = first.events_file();
    first.until("all events are queued", ARRIVES_WITHIN, |agent| Ok((balance(agent) == lines(&file)).then_some(()))).unwrap();
    let (waiting, bytes) = (figure_of(&first, "waiting"), figure_of(&first, "waiting_bytes"));
    assert_eq!(figure_of(&first, "dropped_total"), 0);
    assert_eq!(first.log().matches("cannot be sent").count(), first.log().matches("takes audit events again").count() + 1);
    first.signal(Signal::KILL).unwrap();
    drop(first);
    let mut second = agent_with_queue(bed, &receiver, "goes", &arguments);
    assert_eq!(figure_of(&second, "waiting"), waiting, "the other agent finds them");
    let running = load().start(cluster).unwrap();
    thread::sleep(Duration::from_millis(500));
    let more = running.stop().unwrap().answered();
    wait_for_events(&mut second, "load", more);

    receiver.behave("ok");
    receiver.start(cluster);
    let begun = Instant::now();
    let all = waiting + lines(&second.events_file());
    second.until("all events have arrived", ARRIVES_WITHIN, |agent| Ok((figure_of(agent, "written_total") == all).then_some(()))).unwrap();
    let took = begun.elapsed();
    assert_eq!(["dropped_total", "waiting", "waiting_bytes"].map(|what| figure_of(&second, what)), [0, 0, 0]);
    assert!(second.log().contains("takes audit events again after"), "{}", second.log());
    let memory = figure(&second, "process_resident_memory_bytes") >> 20;
    let written = [read(&file), read(&second.events_file())].concat();
    assert!(second.stop(STOPS_WITHIN).unwrap().success());

    let arrived = receiver.events();
    assert!(arrived.len() > written.len(), "lists that were taken without an answer came again");
    let mut seen = BTreeSet::new();
    let first_time: Vec<Value> = arrived.iter().filter(|event| seen.insert(keys(std::slice::from_ref(event)))).cloned().collect();
    assert_eq!(written.len(), keys(&written).into_iter().collect::<BTreeSet<_>>().len(), "the key names one event");
    // In the file, what tells of an exec comes before what waits with it.
    for is_exec in [true, false] {
        let of = |events: &[Value]| {
            let wanted = events.iter().filter(|event| (event["objectRef"]["subresource"] == "exec") == is_exec);
            keys(&wanted.cloned().collect::<Vec<_>>())
        };
        assert_eq!(of(&first_time), of(&written), "0 lost, and in order");
    }
    assert!(written.len() > 1000, "{} events are no load", written.len());
    assert_eq!(receiver.log(), "", "no list was malformed");
    eprintln!(
        "{} events, {} repeated; {waiting} waited in {bytes} bytes, {} each; the backlog was there within {took:.1?}; {memory} MiB of memory",
        written.len(),
        arrived.len() - written.len(),
        bytes / waiting
    );
}

/// Two threads write the events down, so a kill may leave the last few in one place only; none is missing before them.
fn killed_under_load(bed: &Bed) {
    let token = bed.identity("killed", &["get"], &["nodes/proxy"]);
    let receiver = Receiver::new(&bed.folder.join("killed"));
    let agent = agent(bed, &receiver, &[]);
    let load = Call::get("/healthz").token(&token).times(0).workers(4).start(&bed.cluster).unwrap();
    thread::sleep(Duration::from_secs(1));
    agent.signal(Signal::KILL).unwrap();
    let file = agent.events_file();
    drop(agent);
    assert!(load.stop().unwrap().answered() > 100);
    // A kill may cut the last line of either.
    let whole = |text: &str| text.rfind('\n').map_or(String::new(), |end| text[..end].to_owned());
    let written = whole(&fs::read_to_string(&file).unwrap());
    fs::write(&file, format!("{written}\n")).unwrap();
    let mut segments: Vec<_> = fs::read_dir(queue(bed, "killed")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "events"));
    segments.sort();
    let queued: String = segments.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let queued = whole(&queued);
    let (written, queued): (Vec<_>, Vec<_>) = (written.lines().collect(), queued.lines().map(|line| &line[9..]).collect());
    let both = written.len().min(queued.len());
    assert!(both > 100, "{both} is no load");
    assert_eq!(written[..both], queued[..both]);
    eprintln!("{} events were in the file and {} in the queue when the agent was killed", written.len(), queued.len());
}

fn refused(bed: &Bed) {
    let token = bed.identity("refused", &["get"], &["nodes/proxy"]);
    let mut receiver = Receiver::new(&bed.folder.join("refused"));
    receiver.behave("401");
    receiver.start(&bed.cluster);
    let mut agent = agent(bed, &receiver, &["--audit-webhook-batch-max-wait", "200ms", "--audit-webhook-initial-backoff", "100ms"]);
    let settled = |agent: &mut Agent, count| {
        wait_for_events(agent, "node", count);
        let lines = lines(&agent.events_file());
        let fates = |agent: &Agent| figure_of(agent, "written_total") + figure_of(agent, "dropped_total");
        agent.until("the fate of all is known", ARRIVES_WITHIN, |agent| Ok((fates(agent) == lines).then_some(()))).unwrap();
    };
    send(bed, &token, "/healthz", 50);
    send(bed, &token, "/healthz?file=../../etc/passwd", 1);
    send(bed, &token, "/healthz", 20);
    let refused = |agent: &Agent| agent.log().contains("answered 401 Unauthorized; renew the credentials");
    agent.until("they wait", ARRIVES_WITHIN, |agent| Ok((refused(agent) && figure_of(agent, "waiting") >= 71).then_some(()))).unwrap();
    assert_eq!((figure_of(&agent, "written_total"), figure_of(&agent, "dropped_total")), (0, 0), "credentials may be renewed");

    // A filter takes one event for an attack, and large lists are too large.
    receiver.behave("sulk etc/passwd");
    settled(&mut agent, 71);
    assert_eq!(figure_of(&agent, "dropped_total"), 1);
    let dropped = agent.events().unwrap().into_iter().find(|event| event["requestURI"].as_str().unwrap().contains("passwd")).unwrap();
    let said = format!("the receiver refuses the event with auditID {}", dropped["auditID"].as_str().unwrap());
    assert!(agent.log().contains(&said), "{}", agent.log());
    receiver.behave("full 3");
    send(bed, &token, "/healthz", 50);
    settled(&mut agent, 121);
    assert_eq!(figure_of(&agent, "dropped_total"), 1);
    let expected: BTreeSet<_> = keys(&agent.events().unwrap()).into_iter().filter(|key| key[0] != dropped["auditID"]).collect();
    assert_eq!(keys(&receiver.events()).into_iter().collect::<BTreeSet<_>>(), expected);
    assert!(agent.stop(STOPS_WITHIN).unwrap().success());
}

fn queue(bed: &Bed, name: &str) -> String {
    bed.folder.join(format!("{name}/queue")).display().to_string()
}

/// An agent with a queue in the receiver's folder.
fn agent(bed: &Bed, receiver: &Receiver, more: &[&str]) -> Agent {
    let name = Path::new(&receiver.kubeconfig()).parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    agent_with_queue(bed, receiver, &name, more)
}

fn agent_with_queue(bed: &Bed, receiver: &Receiver, name: &str, more: &[&str]) -> Agent {
    let (config, queue) = (receiver.kubeconfig(), queue(bed, name));
    bed.agent(&[&["--audit-webhook-config-file", &config, "--audit-webhook-queue", &queue], more].concat())
}

fn send(bed: &Bed, token: &Token, path: &str, count: u32) {
    let answers = Call::get(path).token(token).user_agent("node").times(count).from_node(&bed.cluster).unwrap();
    assert_eq!((answers.only(), answers.answered()), (Some(200), u64::from(count)), "{}", answers.problem);
}

/// A command that runs long enough to be told while it does.
fn exec(bed: &Bed, token: &Token) {
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1");
    let call = Call::websocket(&path, "v4.channel.k8s.io").token(token).user_agent("exec");
    let mut running = call.start(&bed.cluster).unwrap();
    running.upgraded().unwrap();
    assert_eq!(running.wait().unwrap().only(), Some(101));
}

fn wait_for_events(agent: &mut Agent, user_agent: &str, count: u64) {
    let all = |agent: &mut Agent| Ok((completed(&agent.events()?, user_agent).len() as u64 == count).then_some(()));
    agent.until("all requests are told", ARRIVES_WITHIN, all).unwrap();
}

/// What is known of the webhook's events.
fn figure_of(agent: &Agent, what: &str) -> u64 {
    figure(agent, &format!("kubewitness_events_{what}{{sink=\"webhook\"}}"))
}

/// Events that have arrived, and that wait for it.
fn balance(agent: &Agent) -> u64 {
    figure_of(agent, "written_total") + figure_of(agent, "waiting")
}

fn lines(file: &Path) -> u64 {
    read(file).len() as u64
}

fn read(file: &Path) -> Vec<Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What names each event. `auditID` and `stage` alone do not: an exec is told when it is authorized, and again when it runs.
fn keys(events: &[Value]) -> Vec<[String; 3]> {
    let key = |event: &Value| ["auditID", "stage", "stageTimestamp"].map(|field| event[field].as_str().unwrap().to_owned());
    events.iter().map(key).collect()
}
