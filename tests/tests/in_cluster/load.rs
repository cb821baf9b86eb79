//! The limit on memory, under a load that no node has: what the agent takes is asked from its own cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use kubewitness_tests::{
    agent::output_of,
    call::Call,
    chart::{self, AgentPod, NAME},
    cluster::{CONTAINER, POD, Token},
    scenarios::Bed,
};

use super::{READY_WITHIN, installed, metrics, restrictions::status, until};

const REQUESTS: u32 = 20_000;
const EXECS: u32 = 200;
const MIB: u64 = 1 << 20;
/// The chart's limit.
const LIMIT: u64 = 64 * MIB;

pub(super) fn is_borne(bed: &Bed) {
    let cluster = &bed.cluster;
    let agent = installed(bed);
    let token = bed.identity("load", &["get"], &["nodes/proxy"]);
    let reader = chart::reader(cluster).unwrap();
    let total = |metric| total(bed, &agent, &reader, metric);
    let requests = || total("kubewitness_requests_total");
    until("the reader is let in", READY_WITHIN, || metrics(bed, &agent, &reader));
    let before = requests();
    let begun = Instant::now();
    let load = Call::get("/healthz").token(&token).times(REQUESTS).workers(16).start(cluster).unwrap();
    let path = format!("/exec/default/{POD}/{CONTAINER}?output=1&error=1&command=id");
    let execs = Call::websocket(&path, "v4.channel.k8s.io").token(&token).times(EXECS).workers(4).from_node(cluster).unwrap();
    assert_eq!(execs.only(), Some(101), "{}", execs.problem);
    assert_eq!(load.wait().unwrap().only(), Some(200));
    let took = begun.elapsed();
    // A machine that is busy with other things may starve the agent; then it says how much it lost.
    let lost = || total("kubewitness_records_lost_total");
    until("every request is counted, or its loss", READY_WITHIN, || {
        (requests() + lost() >= before + u64::from(REQUESTS + EXECS)).then_some(())
    });
    let lost = lost();

    let memory = Memory::of(agent.pid);
    let own = status(&agent);
    let kib = |field: &str| own[field].trim_end_matches(" kB").trim().parse::<u64>().unwrap();
    eprintln!(
        "    {REQUESTS} requests and {EXECS} execs in {took:.1?}, {lost} records lost: the container's memory was at most {:.1} MiB of {} MiB, the process's {:.1} MiB",
        mib(memory.peak),
        LIMIT / MIB,
        mib(kib("VmHWM") * 1024),
    );
    assert_eq!(memory.limit, LIMIT, "the limit is in force");
    assert_eq!(memory.refused, 0, "memory was short: {memory:?}");
    assert!(memory.peak < LIMIT * 9 / 10, "there is no room left: {memory:?}");
    let restarts = "--output=jsonpath={.status.containerStatuses[0].restartCount}";
    assert_eq!(output_of(&mut cluster.kubectl(["--namespace", NAME, "get", "pod", &agent.name, restarts])).unwrap(), "0");
}

/// The sum of a metric over its labels.
fn total(bed: &Bed, agent: &AgentPod, reader: &Token, metric: &str) -> u64 {
    let page = metrics(bed, agent, reader).expect("the agent serves its metrics");
    let series = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// What the memory controller says of a process's group, bytes.
#[derive(Debug)]
struct Memory {
    peak: u64,
    limit: u64,
    /// How often the limit was met.
    refused: u64,
}

impl Memory {
    /// Files as in the kernel's `admin-guide/cgroup-v1/memory.rst` and `cgroup-v2.rst`.
    fn of(pid: u32) -> Self {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let path = |controller: &str| {
            let of_controller = |line: &str| {
                let mut fields = line.splitn(3, ':').skip(1);
                (fields.next()? == controller).then(|| fields.next().map(|path| path.trim_start_matches('/').to_owned()))?
            };
            groups.lines().find_map(of_controller)
        };
        if let Some(group) = path("memory") {
            let group = Path::new("/sys/fs/cgroup/memory").join(group);
            let (peak, limit) = ("memory.max_usage_in_bytes", "memory.limit_in_bytes");
            return Self {
                peak: number(&group.join(peak)),
                limit: number(&group.join(limit)),
                refused: number(&group.join("memory.failcnt")),
            };
        }
        let group: PathBuf = Path::new("/sys/fs/cgroup").join(path("").expect("a process has a cgroup"));
        let events = fs::read_to_string(group.join("memory.events")).unwrap();
        let refused = events.lines().find_map(|line| line.strip_prefix("max ")?.parse().ok()).unwrap_or(0);
        Self { peak: number(&group.join("memory.peak")), limit: number(&group.join("memory.max")), refused }
    }
}

fn number(file: &Path) -> u64 {
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
