//! The agent has little memory, or none.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{agent::Agent, books, flood::Flood, scenarios::Bed};
use rustix::process::Signal;

use crate::{Form, SEEN_WITHIN, folder, load, seen};

/// In a memory cgroup with the limit of the chart, under a flood of what takes most memory, with an output that takes nothing: it stays below.
pub(crate) fn little_memory(bed: &Bed, form: Form) {
    let token = bed.identity("memory", &["get"], &["nodes/proxy"]);
    let Some(group) = MemoryGroup::new("kw-kf-memory", 64 << 20) else {
        form.row("agent in a memory cgroup", "-", 0, 0, "not measured: this machine has no memory cgroups");
        return;
    };
    let mut agent = group.agent_with(bed, &["--events", "-"]);
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
}

/// The kernel kills it while it watches, since another process of its cgroup fills a file that is in memory. What it had told stays told, and
/// the kubelet does not notice.
pub(crate) fn killed_for_memory(bed: &Bed, form: Form) {
    const EACH: u64 = 50;
    let rounds = form.of(1_u64, 20);
    let token = bed.identity("oom-killed", &["get"], &["nodes/proxy"]);
    let limit = 64 << 20;
    let Some(group) = MemoryGroup::new("kw-kf-oom", limit) else {
        form.row("agent killed for memory while it watches", "-", 0, 0, "not measured: this machine has no memory cgroups");
        return;
    };
    let load = load(&token, "oom-beside=").start(&bed.cluster).unwrap();
    let mut total = 0;
    for round in 0..rounds {
        let mut agent = group.agent(bed);
        let mark = format!("oom{round}=");
        let answers = Flood::get(&format!("/healthz?{mark}{{n}}")).token(&token).connections(4).times(EACH).send(&bed.cluster).unwrap();
        assert_eq!((answers.only(), answers.answered()), (Some(200), EACH), "{answers:?}");
        let files = folder(&agent);
        total += seen(&mut agent, &files, &mark, &answers);
        group.fill(limit);
        let status = agent.ended(Duration::from_secs(10)).unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
    }
    let answers = load.stop().unwrap();
    assert_eq!((answers.only(), answers.failed), (Some(200), 0), "the kubelet noticed: {answers:?}");
    assert_eq!(group.kills(), 2 * rounds, "each time the agent and who filled the file");
    let note = format!("{} other requests went on meanwhile and none failed", answers.answered());
    form.row(&format!("agent killed for memory while it watches, {rounds} times"), EACH * rounds, total, 0, &note);
}

/// In a cgroup that is far too small it is killed before it watches, and the kubelet does not notice.
pub(crate) fn hardly_any_memory(bed: &Bed, form: Form) {
    let token = bed.identity("no-memory", &["get"], &["nodes/proxy"]);
    let Some(group) = MemoryGroup::new("kw-kf-no-memory", 6 << 20) else {
        form.row("agent out of memory, 3 times", "-", 0, 0, "not measured: this machine has no memory cgroups");
        return;
    };
    let begun = Instant::now();
    let mut killed = 0;
    let load = load(&token, "oom=").start(&bed.cluster).unwrap();
    while killed < 3 && begun.elapsed() < Duration::from_secs(30) {
        let mut child = group.spawn(bed, &[]).1;
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

    /// An agent whose events go to a file, or where `arguments` say. Nobody reads its output. It is the first that the kernel kills for memory.
    fn spawn(&self, bed: &Bed, arguments: &[&str]) -> (PathBuf, std::process::Child) {
        let options = bed.agent_options(&[]);
        fs::create_dir_all(&options.folder).unwrap();
        let log = fs::File::create(options.folder.join("agent.log")).unwrap();
        let shell = format!("echo 500 > /proc/self/oom_score_adj && echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        let mut command = bed.cluster.command("sh");
        command.args(["-c", &shell, "sh"]).arg(&options.binary).args(["run", "--node-name", "node1", "--rbac", "off"]).args(arguments);
        if arguments.is_empty() {
            command.arg("--events").arg(options.folder.join("events.jsonl"));
        }
        (options.folder, command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap())
    }

    /// Has a process of this group write so many bytes to a file that is in memory, until it is killed too, and removes the file.
    fn fill(&self, bytes: u64) {
        let file = format!("/dev/shm/{}", self.folder.file_name().unwrap().display());
        let shell = format!("echo $$ > {}/cgroup.procs && exec head -c {bytes} /dev/zero > {file}", self.folder.display());
        let status = Command::new("sh").args(["-c", &shell]).status().unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "the group had room for {bytes} bytes: {status}");
    }

    fn agent(&self, bed: &Bed) -> Agent {
        self.agent_with(bed, &[])
    }

    fn agent_with(&self, bed: &Bed, arguments: &[&str]) -> Agent {
        let (folder, child) = self.spawn(bed, arguments);
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
