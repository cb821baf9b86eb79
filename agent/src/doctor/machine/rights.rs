//! What the agent must be allowed.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use procfs::process::{Process, Status};

use crate::{
    doctor::{Finding, Fix, Group},
    probe::{NoWay, Way},
};

const GROUP: Group = Group::Rights;

pub(super) fn findings(way: &Result<Way, NoWay>) -> Vec<Finding> {
    let own = Process::myself().and_then(|process| process.status());
    let mut findings = match &own {
        Ok(status) => vec![capabilities(status.capeff, status.euid), system_calls(status, way)],
        Err(error) => vec![Finding::warn(GROUP, CAPABILITIES, format!("they cannot be read: {error}"), "mount /proc")],
    };
    findings.push(pid_namespace());
    findings.push(labels(&Labels::read()));
    findings.extend(tracing(fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")));
    findings
}

const CAPABILITIES: &str = "capabilities";
/// `include/uapi/linux/capability.h`, and what each is for.
const NEEDED: [(&str, u32, &str); 3] = [
    ("CAP_BPF", 39, "loads the programs"),
    ("CAP_PERFMON", 38, "puts them on instructions"),
    ("CAP_SYS_PTRACE", 19, "finds the kubelet and reads its executable"),
];
/// Wanted from whoever is not root: the open files of other users' processes tell which of them listens.
const READ_SEARCH: (&str, u32, &str) = ("CAP_DAC_READ_SEARCH", 2, "shows to others than root which process listens");

fn capabilities(effective: u64, user: u32) -> Finding {
    let wanted = NEEDED.into_iter().chain((user != 0).then_some(READ_SEARCH));
    let (there, absent): (Vec<_>, Vec<_>) = wanted.partition(|(_, bit, _)| effective >> bit & 1 == 1);
    if absent.is_empty() {
        let names: Vec<_> = there.into_iter().map(|(name, ..)| name).collect();
        return Finding::ok(GROUP, CAPABILITIES, names.join(", "));
    }
    let why: Vec<_> = absent.iter().map(|(name, _, why)| format!("{name} ({why})")).collect();
    let all: Vec<_> = NEEDED.into_iter().chain((user != 0).then_some(READ_SEARCH)).map(|(name, ..)| name).collect();
    let short: Vec<_> = all.iter().map(|name| name.trim_start_matches("CAP_")).collect();
    Finding::fail(GROUP, CAPABILITIES, format!("missing: {}", why.join(", ")), "run as root, or grant them to the process or its container")
        .fix(Fix::Command("sudo kubewitness …".to_owned()))
        .fix(Fix::Pod(format!("securityContext: {{runAsUser: 0, capabilities: {{add: [{}]}}}}", short.join(", "))))
        .fix(Fix::Systemd(format!("AmbientCapabilities={}", all.join(" "))))
}

/// A filter of system calls lets bpf(2) through, or the trial of the programs has failed.
fn system_calls(status: &Status, way: &Result<Way, NoWay>) -> Finding {
    const WHAT: &str = "seccomp";
    match (status.seccomp.unwrap_or_default(), way) {
        (0, _) => Finding::ok(GROUP, WHAT, "no system call is filtered"),
        (_, Ok(_)) => Finding::ok(GROUP, WHAT, "system calls are filtered, and bpf is let through"),
        (_, Err(_)) => Finding::warn(
            GROUP,
            WHAT,
            "system calls are filtered, perhaps bpf or perf_event_open too",
            "if the capabilities are there, use a profile that lets them through, as containerd's does with CAP_BPF and CAP_PERFMON",
        )
        .fix(Fix::Pod("securityContext.seccompProfile: {type: Unconfined}".to_owned()))
        .fix(Fix::Systemd("SystemCallFilter=@system-service bpf perf_event_open".to_owned())),
    }
}

fn pid_namespace() -> Finding {
    const WHAT: &str = "PID namespace";
    // The kernel gives the initial PID namespace this inode (include/linux/proc_ns.h, PROC_PID_INIT_INO).
    const INITIAL: u64 = 0xefff_fffc;
    match fs::metadata("/proc/self/ns/pid").map(|meta| meta.ino()) {
        Ok(INITIAL) => Finding::ok(GROUP, WHAT, "it is the host's"),
        Ok(_) => Finding::fail(
            GROUP,
            WHAT,
            "it is not the host's, so the kubelet cannot be found",
            "share the host's PID namespace, or run outside of containers",
        )
        .fix(Fix::Pod("hostPID: true".to_owned()))
        .fix(Fix::Command("docker run --pid=host …".to_owned())),
        Err(error) => Finding::warn(GROUP, WHAT, format!("cannot be read: {error}"), "mount /proc"),
    }
}

/// What security modules say of the agent.
#[derive(Debug, Default)]
struct Labels {
    /// The profile of `AppArmor`, such as `cri-containerd.apparmor.d (enforce)`.
    apparmor: Option<String>,
    /// The context of `SELinux`, where that enforces.
    selinux: Option<String>,
}

impl Labels {
    fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim_end_matches(['\0', '\n']).to_owned());
        let enforces = read("/sys/fs/selinux/enforce").is_some_and(|value| value.trim() == "1");
        Self { apparmor: read("/proc/self/attr/apparmor/current"), selinux: read("/proc/self/attr/current").filter(|_| enforces) }
    }
}

fn labels(labels: &Labels) -> Finding {
    const WHAT: &str = "security modules";
    if let Some(profile) = labels.apparmor.as_deref().filter(|profile| profile.ends_with("(enforce)")) {
        return Finding::warn(
            GROUP,
            WHAT,
            format!("AppArmor's profile {profile} may keep the agent from looking at the kubelet"),
            "run the agent without a profile",
        )
        .fix(Fix::Pod("securityContext.appArmorProfile: {type: Unconfined}".to_owned()));
    }
    match labels.selinux.as_deref() {
        Some(context) if context.contains(":container_t:") => Finding::warn(
            GROUP,
            WHAT,
            format!("SELinux enforces, and {context} may neither load programs nor look at other processes"),
            "give the container another type",
        )
        .fix(Fix::Helm("seLinuxOptions.type=spc_t".to_owned())),
        Some(context) => Finding::ok(GROUP, WHAT, format!("SELinux enforces, as {context}")),
        None => Finding::ok(GROUP, WHAT, "none is in the way"),
    }
}

/// `Documentation/admin-guide/LSM/Yama.rst`: with 3 nobody looks into another process, whatever they may.
fn tracing(scope: io::Result<String>) -> Option<Finding> {
    (scope.ok()?.trim() == "3").then(|| {
        Finding::warn(
            GROUP,
            "ptrace_scope",
            "3: nobody may look into another process, so the agent cannot tell whether its probes are still in the kubelet's memory",
            "set kernel.yama.ptrace_scope to 2 or less; it takes effect with the next start of the node",
        )
        .fix(Fix::Command("echo kernel.yama.ptrace_scope=2 > /etc/sysctl.d/90-kubewitness.conf".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn what_is_missing_is_named_with_its_use() {
        const ALL: u64 = 1 << 39 | 1 << 38 | 1 << 19;
        for (effective, user, state, says) in [
            (ALL, 0, State::Ok, "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE"),
            (ALL, 1000, State::Fail, "CAP_DAC_READ_SEARCH (shows"),
            (ALL | 1 << 2, 1000, State::Ok, "CAP_DAC_READ_SEARCH"),
            (ALL & !(1 << 38), 0, State::Fail, "missing: CAP_PERFMON (puts them on instructions)"),
            (0, 0, State::Fail, "CAP_BPF (loads the programs), CAP_PERFMON"),
        ] {
            let found = capabilities(effective, user);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.detail.contains(says), "{found:?}");
            assert_eq!(found.fixes.is_empty(), state == State::Ok, "{found:?}");
        }
    }

    #[test]
    fn labels_that_are_in_the_way_are_told() {
        let of = |apparmor: Option<&str>, selinux: Option<&str>| {
            labels(&Labels { apparmor: apparmor.map(str::to_owned), selinux: selinux.map(str::to_owned) }).state
        };
        assert_eq!(of(None, None), State::Ok);
        assert_eq!(of(Some("unconfined"), None), State::Ok);
        assert_eq!(of(Some("cri-containerd.apparmor.d (enforce)"), None), State::Warn);
        assert_eq!(of(Some("cri-containerd.apparmor.d (complain)"), None), State::Ok);
        assert_eq!(of(None, Some("system_u:system_r:container_t:s0:c1,c2")), State::Warn);
        assert_eq!(of(None, Some("system_u:system_r:spc_t:s0")), State::Ok);
    }

    #[test]
    fn only_the_strictest_scope_matters() {
        assert!(tracing(Ok("3\n".to_owned())).is_some());
        for scope in ["0\n", "1\n", "2\n"] {
            assert_eq!(tracing(Ok(scope.to_owned())), None);
        }
        assert_eq!(tracing(Err(io::ErrorKind::NotFound.into())), None);
    }
}
