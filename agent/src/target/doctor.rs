//! What must be in place on a node before a kubelet can be watched.

use std::{collections::BTreeSet, fs, io};

use procfs::{KernelVersion, process::Process};
use serde::Serialize;

use super::{Disbelief, listeners, netns, own_netns, standing};
use crate::probe::{NoWay, Way, kernel_offsets};

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
    /// How programs would be put on instructions, if there is a way.
    pub attachment: Option<Way>,
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
    let way = Way::of_this_kernel();
    let mut preconditions =
        vec![kernel(), lockdown(&read_lockdown()), btf(), capabilities(), uprobes(&way), pid_namespace(), kubelet(ports, &kubelets)];
    preconditions.extend(impostor(&impostors));
    Node { preconditions, attachment: way.ok(), listeners: kubelets }
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

/// The oldest kernel that the agent was run on, and the oldest that has all that the programs call (`bpf_loop`).
const TRIED: (u8, u8) = (6, 1);
const POSSIBLE: (u8, u8) = (5, 17);

fn kernel() -> Finding {
    const WHAT: &str = "kernel";
    let version = match KernelVersion::current() {
        Ok(version) => (version.major, version.minor),
        Err(error) => return unknown(WHAT, format!("its version cannot be read: {error}"), "mount /proc"),
    };
    let text = format!("Linux {}", rustix::system::uname().release().to_string_lossy());
    if version >= TRIED {
        fine(WHAT, text)
    } else if version >= POSSIBLE {
        unknown(WHAT, text, "nobody has tried a kernel before 6.1: run it and see, or use a newer one")
    } else {
        missing(WHAT, text, "the programs need Linux 5.17, and 6.1 is the oldest that was tried: use a node with that or newer")
    }
}

/// What there is of `/sys/kernel/security`.
#[derive(Debug)]
enum Lockdown {
    /// The kernel was built without it, or the modules that are on do not include it.
    Absent,
    /// Nobody mounted it here.
    Hidden,
    /// `none [integrity] confidentiality`
    Modes(String),
}

fn read_lockdown() -> Lockdown {
    const FOLDER: &str = "/sys/kernel/security";
    match fs::read_to_string(format!("{FOLDER}/lockdown")) {
        Ok(modes) => Lockdown::Modes(modes),
        Err(_) if fs::exists(format!("{FOLDER}/lsm")).unwrap_or_default() || !fs::exists(FOLDER).unwrap_or(true) => Lockdown::Absent,
        Err(_) => Lockdown::Hidden,
    }
}

fn lockdown(found: &Lockdown) -> Finding {
    const WHAT: &str = "lockdown";
    let modes = match found {
        Lockdown::Absent => return fine(WHAT, "the kernel has none"),
        Lockdown::Hidden => {
            return unknown(WHAT, "/sys/kernel/security is not mounted here", "look at /sys/kernel/security/lockdown on the node");
        }
        Lockdown::Modes(modes) => modes,
    };
    let mode = modes.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(modes.trim(), |(mode, _)| mode);
    if mode == "confidentiality" {
        missing(
            WHAT,
            "confidentiality: no program may read the kernel's memory, not even root's, and sockets and namespaces are there",
            "start the node with lockdown=integrity, or with none (on Talos that is a kernel argument of the machine)",
        )
    } else {
        fine(WHAT, mode)
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

fn uprobes(way: &Result<Way, NoWay>) -> Finding {
    const WHAT: &str = "uprobes";
    // The same for both, because no site's instruction has to be executed elsewhere.
    const COST: &str = "a hit costs one trap, a request four hits or more";
    match way {
        Ok(Way::Multi) => fine(WHAT, format!("{}: the kernel attaches to many instructions at once; {COST}", Way::Multi)),
        Ok(Way::Events) => {
            fine(WHAT, format!("{}, one for each instruction, as the kernel has no uprobe_multi (Linux 6.6); {COST}", Way::Events))
        }
        Err(error @ NoWay::Hidden(_)) => unknown(WHAT, error.to_string(), "give CAP_BPF and CAP_PERFMON, or run as root"),
        Err(error @ NoWay::Refused(_)) => missing(WHAT, error.to_string(), "give CAP_SYS_ADMIN too, or use Linux 6.6 or newer"),
        Err(error @ (NoWay::None | NoWay::Unclear(_))) => missing(WHAT, error.to_string(), "use another kernel, best Linux 6.6 or newer"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_is_in_the_way_in_one_mode_alone() {
        let modes = |text: &str| lockdown(&Lockdown::Modes(text.to_owned()));
        for (found, state) in [
            (modes("[none] integrity confidentiality\n"), State::Ok),
            (modes("none [integrity] confidentiality\n"), State::Ok),
            (modes("none integrity [confidentiality]\n"), State::Missing),
            (lockdown(&Lockdown::Absent), State::Ok),
            (lockdown(&Lockdown::Hidden), State::Unknown),
        ] {
            assert_eq!(found.state, state, "{found:?}");
            assert_eq!(found.advice.is_some(), state != State::Ok, "{found:?}");
        }
    }

    #[test]
    fn the_line_about_uprobes_says_the_way_and_why() {
        let refused = || io::Error::from_raw_os_error(libc::EACCES);
        for (way, state, says) in [
            (Ok(Way::Multi), State::Ok, "uprobe_multi: "),
            (Ok(Way::Events), State::Ok, "perf events, one for each instruction, as the kernel has no uprobe_multi"),
            (Err(NoWay::Refused(refused())), State::Missing, "CAP_SYS_ADMIN"),
            (Err(NoWay::Hidden(refused())), State::Unknown, "CAP_BPF"),
            (Err(NoWay::None), State::Missing, "CONFIG_UPROBE_EVENTS"),
        ] {
            let found = uprobes(&way);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.detail.contains(says), "{found:?}");
        }
    }
}
