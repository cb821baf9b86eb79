//! The agent is killed, comes late, is not alone.

use std::{fs, thread, time::Duration};

use kubewitness_tests::{
    agent::Agent,
    call::Call,
    cluster::{CONTAINER, POD},
    flood::Flood,
    scenarios::{Bed, annotation},
};
use rustix::process::Signal;

use crate::{Form, folder, load, seen};

/// SIGKILL under load. Nobody can see what is served while no agent is there, and what it had not written yet goes with it. So what counts is
/// this: in each round, 50 numbered requests are sent once the agent says that it watches, and the agent is killed when they are in its file.
/// The load goes on all the time and must never notice.
pub(crate) fn killed(bed: &Bed, form: Form) {
    const EACH: u64 = 50;
    let rounds = form.of(5_u64, 100);
    let token = bed.identity("killed", &["get"], &["nodes/proxy"]);
    let kubelet = bed.cluster.kubelet_pid();
    let load = load(&token, "background=").start(&bed.cluster).unwrap();
    let mut total = 0;
    for round in 0..rounds {
        let mut agent = bed.agent(&[]);
        let mark = format!("killed{round}=");
        let answers = Flood::get(&format!("/healthz?{mark}{{n}}")).token(&token).connections(4).times(EACH).send(&bed.cluster).unwrap();
        assert_eq!((answers.only(), answers.answered()), (Some(200), EACH), "{answers:?}");
        let files = folder(&agent);
        total += seen(&mut agent, &files, &mark, &answers);
        agent.signal(Signal::KILL).unwrap();
    }
    let answers = load.stop().unwrap();
    assert_eq!((answers.only(), answers.failed), (Some(200), 0), "the kubelet noticed: {answers:?}");
    assert_eq!(bed.cluster.kubelet_pid(), kubelet, "it is the same kubelet");
    let note = format!("{} other requests went on meanwhile and none failed", answers.answered());
    form.row(&format!("agent SIGKILLed and restarted {rounds} times under load"), EACH * rounds, total, 0, &note);
}

/// An exec that was let in before the agent came: nobody knows what it was, and its end says so. The next one is seen whole.
pub(crate) fn in_the_middle(bed: &Bed, form: Form) {
    let token = bed.identity("middle", &["get"], &["nodes/proxy"]);
    // Long enough for an agent to start meanwhile.
    let path = format!("/exec/default/{POD}/{CONTAINER}?command=sleep&command=6&output=1");
    let exec = |name: &str, protocol: &str| {
        let mut exec = Call::websocket(&path, protocol).token(&token).user_agent(name).start(&bed.cluster).unwrap();
        exec.upgraded().unwrap();
        exec
    };
    let open = [exec("before", "v4.channel.k8s.io"), exec("before", "v5.channel.k8s.io")];
    let mut agent = bed.agent(&[]);
    for exec in open {
        assert_eq!(exec.wait().unwrap().only(), Some(101));
    }
    let partial = |agent: &Agent| {
        let events = agent.events().unwrap();
        events.into_iter().filter(|event| annotation(event, "completeness").contains("begin-not-seen")).collect::<Vec<_>>()
    };
    let ends = agent.until("both ends", Duration::from_secs(10), |agent| Ok(Some(partial(agent)).filter(|ends| ends.len() == 2))).unwrap();
    assert!(ends.iter().all(|event| annotation(event, "findings").is_empty()), "nobody is blamed: {ends:?}");
    let after = exec("after", "v5.channel.k8s.io");
    let found = |event: &serde_json::Value| event["userAgent"] == "after" && annotation(event, "findings").contains("unlogged-exec");
    agent.event("the exec after that", Duration::from_secs(5), found).unwrap();
    assert_eq!(after.stop().unwrap().only(), Some(101));
    form.row(
        "agent started in the middle of two execs",
        2,
        ends.len() as u64,
        0,
        "the ends alone, as `partial: begin-not-seen`, without a finding",
    );
}

pub(crate) fn two(bed: &Bed, form: Form) {
    let token = bed.identity("two-agents", &["get"], &["nodes/proxy"]);
    let mut first = bed.agent(&[]);
    let mut second = bed.agent(&["--metrics-listen", "127.0.0.1:9465"]);
    // The second one has another port for its pages; its log tells when it watches.
    let log = folder(&second).join("agent.log");
    let watches = || fs::read_to_string(&log).is_ok_and(|log| log.contains("attached to a kubelet"));
    while !watches() {
        thread::sleep(Duration::from_millis(20));
    }
    let load = load(&token, "two=").lasting(Duration::from_secs(form.of(1, 20))).send(&bed.cluster).unwrap();
    let exec = Call::websocket(&format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1"), "v4.channel.k8s.io");
    assert_eq!(exec.token(&token).user_agent("two").from_node(&bed.cluster).unwrap().only(), Some(101));
    let mut both = 0;
    for agent in [&mut first, &mut second] {
        let files = folder(agent);
        both += seen(agent, &files, "two=", &load);
        agent
            .event("the exec", Duration::from_secs(5), |event| {
                event["userAgent"] == "two" && annotation(event, "findings").contains("unlogged-exec")
            })
            .unwrap();
    }
    assert_eq!(both, 2 * load.answered());
    form.row("two agents at once", 2 * load.answered(), both, 0, "each sees everything");
}
