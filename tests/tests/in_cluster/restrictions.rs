//! What the pod asks for is what its process has: the kernel is asked, not the manifest.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _};

use kubewitness_tests::{chart::AgentPod, scenarios::Bed};

use super::installed;

/// Numbers of capabilities (`include/uapi/linux/capability.h`).
const SYS_PTRACE: u32 = 19;
const PERFMON: u32 = 38;
const BPF: u32 = 39;
/// `Seccomp:` of a process with a filter (proc(5)).
const FILTERED: &str = "2";

/// Where every pod finds its own (the admission plugin `ServiceAccount`, `DefaultAPITokenMountPath`).
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(super) fn are_in_force(bed: &Bed) {
    let agent = installed(bed);
    let status = status(&agent);
    let wanted = format!("{:016x}", 1_u64 << SYS_PTRACE | 1 << PERFMON | 1 << BPF);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status[set], wanted, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    assert_eq!(status["Seccomp"], FILTERED);
    namespaces(bed, &agent);
    mounts(&agent);
}

/// The host's PID namespace is asked for, and no other namespace of the host.
fn namespaces(bed: &Bed, agent: &AgentPod) {
    let kubelet = bed.cluster.kubelet_pid().unwrap();
    let namespace = |pid: u32, kind: &str| fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino();
    for (kind, shared) in [("pid", true), ("net", false), ("mnt", false), ("ipc", false), ("uts", false)] {
        assert_eq!(namespace(agent.pid, kind) == namespace(kubelet, kind), shared, "{kind}");
    }
}

/// Nothing of the node can be written, and the only secret is the token of its own `ServiceAccount`.
fn mounts(agent: &AgentPod) {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", agent.pid)).unwrap();
    let mounts: Vec<Mount> = table.lines().map(Mount::parse).collect();
    let of_container = ["/dev", "/proc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    let below = |point: &str, folder: &str| point == folder || point.starts_with(&format!("{folder}/"));
    for mount in &mounts {
        // What a runtime gives to every container: its devices, /proc, and files with its name and addresses.
        let own = of_container.iter().any(|folder| below(mount.point, folder));
        // The volume with the socket for `watch` lives in memory, with the pod.
        let of_socket = mount.point == "/run/kubewitness" && mount.kind == "tmpfs";
        assert!(mount.read_only || own || of_socket, "{} can be written: {mount:?}", mount.point);
    }
    let secrets: Vec<_> = mounts.iter().map(|mount| mount.point).filter(|point| point.contains("secret")).collect();
    assert_eq!(secrets, [TOKEN]);
    let token = fs::read_dir(format!("/proc/{}/root{TOKEN}", agent.pid)).unwrap();
    let mut names: Vec<_> =
        token.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| !name.starts_with("..")).collect();
    names.sort();
    assert_eq!(names, ["ca.crt", "namespace", "token"]);
}

#[derive(Debug)]
struct Mount<'a> {
    point: &'a str,
    read_only: bool,
    /// The file system's.
    kind: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of `/proc/PID/mountinfo` (proc(5)): the fifth field is where, the sixth the options of this mount; the kind follows a dash.
    fn parse(line: &'a str) -> Self {
        let fields: Vec<_> = line.split(' ').collect();
        let kind = fields.iter().skip_while(|field| **field != "-").nth(1).expect("a kind");
        Self { point: fields[4], read_only: fields[5].split(',').any(|option| option == "ro"), kind }
    }
}

/// `/proc/PID/status` by its fields.
pub(super) fn status(agent: &AgentPod) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.pid)).unwrap();
    text.lines().filter_map(|line| line.split_once(':')).map(|(field, value)| (field.to_owned(), value.trim().to_owned())).collect()
}
