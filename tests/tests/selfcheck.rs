//! The agent finds out when it was blinded: its probes taken out of the kubelet's memory, its tracepoint closed, its loop hung, and by the
//! kubelet's own counters in any case.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kubewitness::target::plan::plan;
use kubewitness_tests::{
    agent::{Agent, AgentError, AgentOptions, Rbac},
    call::Call,
    cluster::{Options, Token},
    figures::Figures,
    scenarios::{Bed, Scenario, completed, figure, play},
};

const FIGURES: Figures = Figures::of("docs/reliability.md", "selfcheck");
/// What the agent promises.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// From one look at the kubelet's counters to the next, twice, and some.
const COMPARED_WITHIN: Duration = Duration::from_secs(90);
const UNSEEN: u32 = 50;

#[test]
fn selfcheck() {
    play_on(
        "t-self",
        &[
            ("probes that are written over are put back", probes_are_put_back),
            ("a hung loop is told, and goes on where it was", a_hung_loop),
        ],
    );
}

#[test]
#[ignore = "two minutes, and it needs gdb: cargo xtask torture --only selfcheck"]
fn selfcheck_long() {
    play_on(
        "t-selflong",
        &[
            ("an agent whose loop hangs is no longer alive", a_dead_loop),
            ("requests that were not seen are counted by the kubelet's own counters", the_kubelet_counts_too),
            ("links that are closed behind the agent's back are made anew", closed_links),
            ("an agent whose maps are closed ends and says so", closed_maps),
        ],
    );
}

fn play_on(name: &str, scenarios: &[Scenario]) {
    play(&Options::named(name), &Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), scenarios);
}

fn probes_are_put_back(bed: &Bed) {
    let token = bed.identity("overwritten", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    get(bed, &token, "seen-1", 10);
    let begun = Instant::now();
    let sites = overwrite_probes(bed);
    get(bed, &token, "unseen", UNSEEN);
    let took = mended(&mut agent, "probes", begun);
    get(bed, &token, "seen-2", 10);
    ends(&mut agent, "seen-2", 10);
    let events = agent.events().unwrap();
    assert_eq!((completed(&events, "seen-1").len(), completed(&events, "unseen").len()), (10, 0), "the probes were not gone");
    assert_eq!(figure(&agent, "kubewitness_attached"), 1);
    assert!(agent.log().contains("put back"), "{}", agent.log());
    FIGURES.row(&["breakpoints overwritten in the kubelet's memory", &format!("{sites} probes put back in {took:.1} s"), "mended"]);
}

fn a_hung_loop(bed: &Bed) {
    hung_loop(bed, false);
}

fn a_dead_loop(bed: &Bed) {
    hung_loop(bed, true);
}

/// One thread alone is frozen, as cgroup v1 can: a signal would stop all of them.
fn hung_loop(bed: &Bed, is_long: bool) {
    let token = bed.identity("hung", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    let freezer = Freezer::of(agent.pid());
    let begun = Instant::now();
    freezer.set("FROZEN");
    get(bed, &token, "hung", 100);
    let reason = agent
        .until("a hung loop is told", NOTICED_WITHIN, |agent| {
            let page = agent.fetch("/readyz")?;
            Ok((!page.starts_with("attached")).then_some(page))
        })
        .unwrap();
    let took = begun.elapsed().as_secs_f32();
    assert!(reason.contains("has not turned for"), "{reason}");
    assert_eq!(figure(&agent, "kubewitness_attached"), 0);
    assert_eq!(figure(&agent, r#"kubewitness_self_check_failed{check="loop"}"#), 1);
    let mut dead = String::new();
    if is_long {
        let is_dead = |agent: &mut Agent| Ok((agent.fetch("/healthz")? != "ok\n").then_some(()));
        agent.until("it is no longer alive", Duration::from_secs(40), is_dead).unwrap();
        dead = format!(", no longer alive in {:.1} s", begun.elapsed().as_secs_f32());
    }
    freezer.set("THAWED");
    ends(&mut agent, "hung", 100);
    agent.until("it is well again", NOTICED_WITHIN, |agent| Ok((figure(agent, "kubewitness_attached") == 1).then_some(()))).unwrap();
    assert_eq!(agent.fetch("/healthz").unwrap(), "ok\n");
    FIGURES.row(&["the daemon's thread frozen", &format!("unready in {took:.1} s{dead}; thawed, all 100 requests reported"), "said"]);
}

fn the_kubelet_counts_too(bed: &Bed) {
    let token = bed.identity("counted", &["get"], &["nodes/proxy"]);
    let account = bed.identity("counts", &["get"], &["nodes/metrics"]);
    let kubeconfig = bed.folder.join("counts.kubeconfig");
    bed.cluster.write_kubeconfig(&kubeconfig, &account).unwrap();
    let url = format!("https://{}:10250", bed.cluster.address());
    let arguments = ["--rbac", "off", "--kubelet-url", &url];
    let options = AgentOptions { rbac: Rbac::Kubeconfig(kubeconfig), ..bed.agent_options(&arguments) };
    let mut agent = Agent::start(&bed.cluster, &options).unwrap();
    let known = |agent: &mut Agent| Ok((figure(agent, "kubewitness_coverage_known") == 1).then_some(()));
    agent.until("the kubelet's counters are read", COMPARED_WITHIN, known).unwrap();
    // A second reading under load raises nothing.
    get(bed, &token, "load", 20_000);
    thread::sleep(COMPARED_WITHIN);
    assert_eq!(figure(&agent, "kubewitness_requests_uncovered_total"), 0, "{}", agent.log());

    overwrite_probes(bed);
    get(bed, &token, "unseen", UNSEEN);
    let begun = Instant::now();
    let unseen = agent
        .until("the requests are missed", COMPARED_WITHIN, |agent| {
            Ok(Some(figure(agent, "kubewitness_requests_uncovered_total")).filter(|unseen| *unseen > 0))
        })
        .unwrap();
    assert!((u64::from(UNSEEN) - 2..=u64::from(UNSEEN)).contains(&unseen), "{unseen} are said to be unseen");
    let told = begun.elapsed().as_secs_f32();
    let events = agent.events().unwrap();
    assert_eq!(completed(&events, "load").len(), 20_000);
    FIGURES.row(&[
        &format!("{UNSEEN} requests while the probes were gone, by the kubelet's own counter"),
        &format!("{unseen} told as unseen, in {told:.1} s; 20,000 requests of load beside: 0"),
        "said",
    ]);
}

fn closed_links(bed: &Bed) {
    let token = bed.identity("closed", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    for (kind, check) in [("uprobe_multi", "probes"), ("raw_tracepoint", "sockets")] {
        let links = descriptors(agent.pid(), "link_type", kind);
        assert!(!links.is_empty(), "the agent has no link of the kind {kind}");
        let begun = Instant::now();
        for descriptor in &links {
            close_in(agent.pid(), *descriptor);
        }
        mended(&mut agent, check, begun);
        // They are closed one after the other, and the agent may look in between.
        let seen = |agent: &mut Agent| {
            get(bed, &token, kind, 1);
            Ok((!completed(&agent.events()?, kind).is_empty()).then_some(()))
        };
        agent.until("requests are seen again", NOTICED_WITHIN, seen).unwrap();
        let took = begun.elapsed().as_secs_f32();
        FIGURES.row(&[
            &format!("links of {kind} closed in the agent by a debugger"),
            &format!("{} made anew in {took:.1} s", links.len()),
            "mended",
        ]);
    }
    let connections = r#"kubewitness_connections_opened_total{port="10250"}"#;
    let before = figure(&agent, connections);
    get(bed, &token, "connections", 1);
    agent.until("connections are told", NOTICED_WITHIN, |agent| Ok((figure(agent, connections) > before).then_some(()))).unwrap();
}

fn closed_maps(bed: &Bed) {
    // Numbers of `enum bpf_map_type` (`include/uapi/linux/bpf.h`): what is counted per CPU, and the rings.
    for (map, kind) in [("counters", "6"), ("rings", "27")] {
        let mut agent = bed.agent(&[]);
        let begun = Instant::now();
        for descriptor in descriptors(agent.pid(), "map_type", kind) {
            close_in(agent.pid(), descriptor);
        }
        let end = agent.until("the agent ends", NOTICED_WITHIN, |_| Ok(None::<()>)).unwrap_err();
        assert!(matches!(&end, AgentError::Ended { status, .. } if status.code() == Some(1)), "{end}");
        let took = begun.elapsed().as_secs_f32();
        let said = agent.log().lines().last().unwrap_or_default().to_owned();
        FIGURES.row(&[&format!("maps closed in the agent by a debugger: {map}"), &format!("it ended in {took:.1} s: {said}"), "said"]);
    }
}

fn get(bed: &Bed, token: &Token, agent: &str, times: u32) {
    let answers = Call::get("/healthz").token(token).user_agent(agent).times(times).from_node(&bed.cluster).unwrap();
    assert_eq!(answers.only(), Some(200), "{answers:?}");
}

fn ends(agent: &mut Agent, user_agent: &str, count: usize) {
    let what = format!("{count} requests of {user_agent} end");
    let all = |agent: &mut Agent| Ok((completed(&agent.events()?, user_agent).len() == count).then_some(()));
    agent.until(&what, Duration::from_secs(10), all).unwrap();
}

/// Seconds until the agent has put something right.
fn mended(agent: &mut Agent, check: &str, begun: Instant) -> f32 {
    let series = format!(r#"kubewitness_self_check_mended_total{{check="{check}"}}"#);
    agent.until("the agent mends itself", NOTICED_WITHIN, |agent| Ok((figure(agent, &series) >= 1).then_some(()))).unwrap();
    begun.elapsed().as_secs_f32()
}

/// Writes the instructions of the file over the breakpoints, as whoever may write to the kubelet's memory can: this is no part of the agent.
/// Tells how many there were.
fn overwrite_probes(bed: &Bed) -> usize {
    let file = fs::read(bed.cluster.kubelet_binary()).unwrap();
    let plan = plan(&file).unwrap();
    let pid = bed.cluster.kubelet_pid().unwrap();
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).unwrap();
    for site in &plan.sites {
        let mut there = vec![0; site.bytes.len()];
        memory.read_exact_at(&mut there, site.address).unwrap();
        assert_ne!(there, site.bytes, "there is no probe in {}", site.symbol);
        memory.write_all_at(&site.bytes[..1], site.address).unwrap();
    }
    plan.sites.len()
}

/// Descriptors of a process of which the kernel says this in `/proc/PID/fdinfo`.
fn descriptors(pid: u32, field: &str, value: &str) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().filter_map(Result::ok);
    let is_one = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| line.split_once(':').is_some_and(|(name, is)| name == field && is.trim() == value))
    };
    entries.map(|entry| entry.path()).filter(is_one).filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
}

/// Closes a descriptor of another process: its next `ppoll` becomes a `close`.
fn close_in(pid: u32, descriptor: u32) {
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx", "-batch", "-p", &pid.to_string()]);
    for command in ["catch syscall ppoll", "continue", "set $orig_rax = 3", &format!("set $rdi = {descriptor}"), "detach"] {
        gdb.args(["-ex", command]);
    }
    let output = gdb.stdin(Stdio::null()).output().expect("gdb runs: install it");
    let gone = !Path::new(&format!("/proc/{pid}/fd/{descriptor}")).exists();
    assert!(gone, "descriptor {descriptor} is still open: {}", String::from_utf8_lossy(&output.stderr));
}

/// A group of cgroup v1's freezer with one thread in it.
struct Freezer(PathBuf);

impl Freezer {
    fn of(thread: u32) -> Self {
        let root = Path::new("/sys/fs/cgroup/freezer");
        assert!(root.join("tasks").exists(), "this test needs the freezer of cgroup v1 at {}", root.display());
        let this = Self(root.join(format!("kw-self-{thread}")));
        fs::create_dir(&this.0).unwrap();
        fs::write(this.0.join("tasks"), thread.to_string()).unwrap();
        this
    }

    fn set(&self, state: &str) {
        fs::write(self.0.join("freezer.state"), state).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // A thread that is frozen could not even be killed.
        self.set("THAWED");
        for thread in fs::read_to_string(self.0.join("tasks")).unwrap_or_default().lines() {
            let _gone = fs::write("/sys/fs/cgroup/freezer/tasks", thread);
        }
        let _gone = fs::remove_dir(&self.0);
    }
}
