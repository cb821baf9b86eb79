//! What the node must have beside its kernel.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use procfs::{Current as _, Meminfo};

use super::{Kubelet, Wanted};
use crate::{
    doctor::{Finding, Fix, Group, text::counted},
    target::node_name,
};

const GROUP: Group = Group::Node;

pub(super) fn findings(wanted: &Wanted, kubelets: &[Kubelet]) -> Vec<Finding> {
    let mut findings = vec![memory(limit()), cgroups()];
    if !kubelets.is_empty() {
        findings.push(pod_logs(&wanted.pod_logs));
    }
    findings.push(name(wanted.node_name.as_deref(), kubelets));
    findings.push(clock(Timestamp::now()));
    findings
}

/// What the chart gives the agent, and the most that it took on the testbed (docs/permissions.md, "Resources").
const ENOUGH: u64 = 64 << 20;
const TAKEN: u64 = 42 << 20;

/// The memory that the agent may have.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// Bytes that its control group may take.
    Group(u64),
    /// No limit but the machine's: bytes that are available.
    Machine(u64),
    /// In a container whose groups are not to be seen.
    Unknown,
}

/// The least of what the control groups above this process allow (`Documentation/admin-guide/cgroup-v2.rst`, `memory.max`).
fn limit() -> Limit {
    // `PROC_CGROUP_INIT_INO`: elsewhere the path is that below the root of a namespace.
    const INITIAL: u64 = 0xefff_fffb;
    let machine = || Meminfo::current().ok().and_then(|memory| memory.mem_available).map_or(Limit::Unknown, Limit::Machine);
    let Some((root, path)) = own_group() else { return machine() };
    let least = path.ancestors().filter_map(|group| value(&root.join(group.strip_prefix("/").unwrap_or(group)))).min();
    match least {
        Some(bytes) => Limit::Group(bytes),
        None if fs::metadata("/proc/self/ns/cgroup").is_ok_and(|namespace| namespace.ino() != INITIAL) => Limit::Unknown,
        None => machine(),
    }
}

/// Where the groups that limit memory are, and this process's own below.
fn own_group() -> Option<(PathBuf, PathBuf)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            _ if controllers.split(',').any(|controller| controller == "memory") => "/sys/fs/cgroup/memory",
            _ => return None,
        };
        Some((PathBuf::from(root), PathBuf::from(path)))
    };
    // With cgroup v1 the line of its memory controller comes before that of v2.
    groups.lines().find_map(of)
}

fn value(group: &Path) -> Option<u64> {
    let read = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse().ok();
    // v1 says "no limit" with the largest number of pages.
    read("memory.max").or_else(|| read("memory.limit_in_bytes")).filter(|bytes| *bytes < 1 << 60)
}

fn memory(limit: Limit) -> Finding {
    const WHAT: &str = "memory";
    let (bytes, whose) = match limit {
        Limit::Group(bytes) => (bytes, "the control group may take"),
        Limit::Machine(bytes) => (bytes, "no limit, and the machine has"),
        Limit::Unknown => return Finding::ok(GROUP, WHAT, "the limit of this container is not to be seen from inside; 64 MiB are enough"),
    };
    let text = format!("{whose} {} MiB; {} MiB are enough for a usual node", bytes >> 20, ENOUGH >> 20);
    let finding = match bytes {
        ENOUGH.. => return Finding::ok(GROUP, WHAT, text),
        TAKEN.. => Finding::warn(GROUP, WHAT, text, "raise the limit: the agent is ended where it needs more"),
        _ => Finding::fail(GROUP, WHAT, text, "raise the limit: the agent is ended where it needs more"),
    };
    finding.fix(Fix::Helm("resources.limits.memory=64Mi".to_owned())).fix(Fix::Systemd("MemoryMax=64M".to_owned()))
}

/// A caller that is gone already is found by its control group's id, in the tree of the whole node.
fn cgroups() -> Finding {
    const WHAT: &str = "control groups";
    /// The root of the tree is the first inode of its file system (`fs/kernfs/mount.c`).
    const ROOT: u64 = 1;
    let lost = "callers that live for milliseconds stay unknown, and stolen-token is not raised for them";
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    match roots.into_iter().find(|root| root.join("cgroup.procs").exists()).map(fs::metadata) {
        Some(Ok(root)) if root.ino() == ROOT => {
            Finding::ok(GROUP, WHAT, "the node's tree is here: callers that are gone already have a name")
        }
        Some(_) => {
            Finding::warn(GROUP, WHAT, format!("this container sees its own alone: {lost}"), "mount the host's /sys/fs/cgroup, read-only")
                .fix(Fix::Pod(
                    "volumes: [{name: cgroups, hostPath: {path: /sys/fs/cgroup}}], mounted read-only at /sys/fs/cgroup".to_owned(),
                ))
        }
        None => Finding::warn(GROUP, WHAT, format!("there is no tree of cgroup v2: {lost}"), "use a node with cgroup v2")
            .fix(Fix::Kernel("systemd.unified_cgroup_hierarchy=1".to_owned())),
    }
}

fn pod_logs(folder: &Path) -> Finding {
    const WHAT: &str = "names of pods";
    match fs::read_dir(folder) {
        Ok(entries) => Finding::ok(GROUP, WHAT, format!("{} in {}", counted(entries.count(), "pod"), folder.display())),
        Err(error) => Finding::warn(
            GROUP,
            WHAT,
            format!("{} cannot be listed: {error}; a caller is told as `pod UID`, without its name", folder.display()),
            "name the kubelet's podLogsDir, and in a container mount it read-only",
        )
        .fix(Fix::Flag("--pod-logs DIRECTORY".to_owned()))
        .fix(Fix::Helm("podLogsDir=DIRECTORY".to_owned())),
    }
}

/// Tokens that are bound to a node are compared with this name.
fn name(told: Option<&str>, kubelets: &[Kubelet]) -> Finding {
    const WHAT: &str = "node's name";
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = told.unwrap_or(&host);
    let by = if told.is_some() { "--node-name" } else { "the host's" };
    let other = kubelets.iter().filter_map(|kubelet| node_name(kubelet.pid?)).find(|known| known != name);
    match other {
        None => Finding::ok(GROUP, WHAT, format!("{name} ({by})")),
        Some(known) => Finding::warn(
            GROUP,
            WHAT,
            format!("{name} ({by}), but the kubelet was started as {known}: each token that is bound to a node would look stolen"),
            "give the agent the node's name in the cluster",
        )
        .fix(Fix::Flag(format!("--node-name {known}")))
        .fix(Fix::Pod("env: [{name: KUBEWITNESS_NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]".to_owned())),
    }
}

/// Whether the clock is right only another one can tell: the line about the API server does.
fn clock(now: Timestamp) -> Finding {
    const WHAT: &str = "clock";
    /// The begin of 2026, in which this agent was made.
    const MADE: i64 = 1_767_225_600;
    let text = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    if now.as_second() < MADE {
        Finding::warn(GROUP, WHAT, format!("{text} is before this agent was made: events get wrong times"), "set the clock")
            .fix(Fix::Command("timedatectl set-ntp true".to_owned()))
    } else {
        Finding::ok(GROUP, WHAT, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn memory_is_compared_with_what_was_measured() {
        for (limit, state) in [
            (Limit::Group(64 << 20), State::Ok),
            (Limit::Group((64 << 20) - 1), State::Warn),
            (Limit::Group(30 << 20), State::Fail),
            (Limit::Machine(8 << 30), State::Ok),
            (Limit::Machine(16 << 20), State::Fail),
            (Limit::Unknown, State::Ok),
        ] {
            let found = memory(limit);
            assert_eq!(found.state, state, "{found:?}");
            assert_eq!(found.fixes.is_empty(), state == State::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_clock_before_the_agent_is_wrong() {
        assert_eq!(clock(Timestamp::UNIX_EPOCH).state, State::Warn);
        assert_eq!(clock(Timestamp::now()).state, State::Ok);
    }
}
