//! What must be in place on a node before a kubelet can be watched.

use std::{collections::BTreeSet, fs, io};

use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};
use procfs::{KernelVersion, process::Process};
use serde::Serialize;

use super::{Disbelief, listeners, netns, own_netns, standing};
use crate::probe::kernel_offsets;

/// One precondition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub what: &'static str,
    /// Whether it holds.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Whether a precondition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Ok,
    /// It cannot be told.
    Unknown,
    /// It does not.
    Missing,
}

/// What was found on this node.
#[derive(Clone, Debug)]
pub struct Node {
    /// The preconditions, in the order in which they matter.
    pub preconditions: Vec<Finding>,
    /// Processes that listen on a watched port in a believed network namespace, and those that were named.
    pub listeners: BTreeSet<u32>,
}

/// Looks at this node. `named` are processes to look at wherever they are.
pub fn node(ports: &[u16], named: &[u32]) -> Node {
    let believed: BTreeSet<u32> = [own_netns().ok(), netns(1).ok()].into_iter().flatten().collect();
    let (mut kubelets, mut impostors) = (BTreeSet::new(), Vec::new());
    for pid in listeners(ports, &believed) {
        match standing(pid) {
            Err(why) if !named.contains(&pid) => impostors.push((pid, why)),
            _ => drop(kubelets.insert(pid)),
        }
    }
    kubelets.extend(named);
    let mut preconditions = vec![kernel(), btf(), capabilities(), uprobe_multi(), pid_namespace(), kubelet(ports, &kubelets)];
    preconditions.extend(impostor(&impostors));
    Node { preconditions, listeners: kubelets }
}

/// Who listens where a kubelet does, and is not believed.
fn impostor(impostors: &[(u32, Disbelief)]) -> Option<Finding> {
    let named: Vec<_> = impostors.iter().map(|(pid, why)| format!("process {pid} {why}")).collect();
    (!named.is_empty()).then(|| {
        let detail = format!("{}, and listens on a watched port: not believed", named.join("; "));
        unknown("impostors", detail, "find out who started it; if it is the node's kubelet after all, name it with --kubelet-pid")
    })
}

fn fine(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding { what, state: State::Ok, detail: detail.into(), advice: None }
}

fn missing(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, state: State::Missing, detail: detail.into(), advice: Some(advice.into()) }
}

fn unknown(what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, state: State::Unknown, detail: detail.into(), advice: Some(advice.into()) }
}

fn kernel() -> Finding {
    const WHAT: &str = "kernel";
    match KernelVersion::current() {
        Ok(version) => {
            let text = format!("Linux {}.{}.{}", version.major, version.minor, version.patch);
            if (version.major, version.minor) >= (6, 6) {
                fine(WHAT, text)
            } else {
                missing(WHAT, text, "uprobe_multi came with Linux 6.6: use a node with that or newer")
            }
        }
        Err(error) => unknown(WHAT, format!("its version cannot be read: {error}"), "mount /proc"),
    }
}

fn btf() -> Finding {
    const WHAT: &str = "kernel types";
    match fs::read("/sys/kernel/btf/vmlinux") {
        Ok(bytes) => match kernel_offsets(&bytes) {
            Ok(_) => fine(WHAT, "BTF has every field that is read"),
            Err(error) => missing(WHAT, error.to_string(), "report the kernel's version"),
        },
        Err(error) => missing(
            WHAT,
            format!("/sys/kernel/btf/vmlinux cannot be read: {error}"),
            "use a kernel with CONFIG_DEBUG_INFO_BTF; in a container, /sys must be the host's",
        ),
    }
}

/// `include/uapi/linux/capability.h`
const CAPABILITIES: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_SYS_PTRACE", 19)];
/// Wanted from whoever is not root: the open files of other users' processes tell which of them listens.
const READ_SEARCH: (&str, u32) = ("CAP_DAC_READ_SEARCH", 2);

fn capabilities() -> Finding {
    const WHAT: &str = "capabilities";
    let (effective, user) = match Process::myself().and_then(|process| process.status()) {
        Ok(status) => (status.capeff, status.euid),
        Err(error) => return unknown(WHAT, format!("they cannot be read: {error}"), "mount /proc"),
    };
    let wanted = CAPABILITIES.into_iter().chain((user != 0).then_some(READ_SEARCH));
    let (there, absent): (Vec<_>, Vec<_>) = wanted.partition(|(_, bit)| effective >> bit & 1 == 1);
    let names = |of: Vec<(&'static str, u32)>| of.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    if absent.is_empty() {
        fine(WHAT, names(there))
    } else {
        missing(WHAT, format!("{} missing", names(absent)), "run as root, or grant them to the process or its container")
    }
}

fn uprobe_multi() -> Finding {
    const WHAT: &str = "uprobes";
    match is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation) {
        Ok(true) => fine(WHAT, "the kernel attaches many at once (uprobe_multi)"),
        Ok(false) => missing(WHAT, "the kernel has no uprobe_multi", "use Linux 6.6 or newer with CONFIG_UPROBES"),
        Err(error) => unknown(WHAT, format!("cannot be tried: {error}"), "give CAP_BPF and CAP_PERFMON, or run as root"),
    }
}

fn pid_namespace() -> Finding {
    const WHAT: &str = "PID namespace";
    // The kernel gives the initial PID namespace this inode (include/linux/proc_ns.h, PROC_PID_INIT_INO).
    const INITIAL: u64 = 0xefff_fffc;
    let own = fs::metadata("/proc/self/ns/pid").map(|meta| std::os::unix::fs::MetadataExt::ino(&meta));
    match own {
        Ok(INITIAL) => fine(WHAT, "it is the host's"),
        Ok(_) => missing(WHAT, "it is not the host's, so the kubelet cannot be found", "set hostPID: true, or run outside of containers"),
        Err(error) => unknown(WHAT, io_text(&error), "mount /proc"),
    }
}

fn io_text(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

fn kubelet(ports: &[u16], listeners: &BTreeSet<u32>) -> Finding {
    const WHAT: &str = "kubelet";
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let ports = ports.join(" or ");
    if listeners.is_empty() {
        missing(
            WHAT,
            format!("no process listens on port {ports} in this or process 1's network namespace"),
            "start the kubelet, or name one elsewhere with --kubelet-pid",
        )
    } else {
        let pids: Vec<_> = listeners.iter().map(u32::to_string).collect();
        fine(WHAT, format!("process {} on port {ports}", pids.join(", ")))
    }
}
