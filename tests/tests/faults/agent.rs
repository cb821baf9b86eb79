//! The agent is killed, comes late, is not alone, has no memory.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::Agent,
    books,
    call::Call,
    cluster::{CONTAINER, POD},
    flood::Flood,
    scenarios::{Bed, annotation},
};
use rustix::process::Signal;

use crate::{Form, SEEN_WITHIN, folder, load, seen};

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

/// In a memory cgroup with the limit of the chart, under a flood of what takes most memory, with an output that takes nothing: it stays below.
/// In one that is far too small the kernel kills it, and the kubelet does not notice.
pub(crate) fn out_of_memory(bed: &Bed, form: Form) {
    let token = bed.identity("memory", &["get"], &["nodes/proxy"]);
    let Some(group) = MemoryGroup::new("kw-kf-memory", 64 << 20) else {
        form.row("agent in a memory cgroup", "-", 0, 0, "not measured: this machine has no memory cgroups");
        return;
    };
    let mut agent = group.agent(bed);
    let long = "a".repeat(3900);
    let flood = Flood::get(&format!("/healthz?{long}={{n}}")).token(&token).connections(32).lasting(Duration::from_secs(form.of(3, 60)));
    let answers = flood.send(&bed.cluster).unwrap();
    assert_eq!((answers.only(), answers.failed), (Some(200), 0), "{answers:?}");
    let (most, kills) = (group.number("memory.max_usage_in_bytes"), group.kills());
    assert_eq!(kills, 0, "the agent was killed with {most} bytes");
    assert!(agent.fetch("/healthz").is_ok());
    let counted = |agent: &mut Agent| Ok(Some(books::known_requests(agent)?).filter(|(seen, unseen)| seen + unseen == answers.answered()));
    let known = agent.until("seen and unseen are what was served", SEEN_WITHIN, counted).unwrap();
    let note = format!("the limit of the chart, 64 MiB; at most {} MiB were used, while nobody read its events", most >> 20);
    form.row("agent in a memory cgroup under a flood", answers.answered(), known.0, known.1, &note);
    drop(agent);

    let Some(group) = MemoryGroup::new("kw-kf-no-memory", 6 << 20) else { return };
    let begun = Instant::now();
    let mut killed = 0;
    let load = load(&token, "oom=").start(&bed.cluster).unwrap();
    while killed < 3 && begun.elapsed() < Duration::from_secs(30) {
        let mut child = group.spawn(bed).1;
        if !child.wait().unwrap().success() {
            killed += 1;
        }
    }
    let answers = load.stop().unwrap();
    assert_eq!((answers.only(), answers.failed), (Some(200), 0), "the kubelet noticed: {answers:?}");
    assert_eq!(killed, 3, "6 MiB are enough for the agent?");
    let note = format!("killed before it could watch; {} requests went on meanwhile and none failed", answers.answered());
    form.row("agent out of memory, 3 times", "-", 0, 0, &note);
}

/// A memory cgroup, version 1 or 2; it is removed when this is dropped.
struct MemoryGroup {
    folder: PathBuf,
    is_v2: bool,
}

impl MemoryGroup {
    fn new(name: &str, limit: u64) -> Option<Self> {
        let v1 = PathBuf::from("/sys/fs/cgroup/memory");
        let is_v2 = !v1.exists();
        let folder = if is_v2 { PathBuf::from("/sys/fs/cgroup") } else { v1 }.join(name);
        let _left = fs::remove_dir(&folder);
        fs::create_dir(&folder).ok()?;
        let this = Self { folder, is_v2 };
        fs::write(this.file("memory.limit_in_bytes"), limit.to_string()).ok()?;
        Some(this)
    }

    fn file(&self, name: &str) -> PathBuf {
        let name = match (self.is_v2, name) {
            (true, "memory.limit_in_bytes") => "memory.max",
            (true, "memory.max_usage_in_bytes") => "memory.peak",
            (_, name) => name,
        };
        self.folder.join(name)
    }

    fn number(&self, name: &str) -> u64 {
        fs::read_to_string(self.file(name)).unwrap().trim().parse().unwrap()
    }

    fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(if self.is_v2 { "memory.events" } else { "memory.oom_control" })).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or_default()
    }

    /// An agent whose events go to a pipe that nobody reads; the pipe is held by the agent's own process.
    fn spawn(&self, bed: &Bed) -> (PathBuf, std::process::Child) {
        let options = bed.agent_options(&[]);
        fs::create_dir_all(&options.folder).unwrap();
        let log = fs::File::create(options.folder.join("agent.log")).unwrap();
        let shell = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        let mut command = bed.cluster.command("sh");
        command.args(["-c", &shell, "sh"]).arg(&options.binary).args(["run", "--node-name", "node1", "--rbac", "off"]);
        (options.folder, command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap())
    }

    fn agent(&self, bed: &Bed) -> Agent {
        let (folder, child) = self.spawn(bed);
        let mut agent = Agent::started(child, bed.cluster.network_namespace(), folder);
        agent.until_it_watches().unwrap();
        agent
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // What is left of a process that was killed goes a moment later.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
