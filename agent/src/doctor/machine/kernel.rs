//! What the kernel must have.

use std::{fs, io, time::Instant};

use procfs::KernelVersion;

use crate::{
    doctor::{Finding, Fix, Group},
    gobin::Architecture,
    probe::{NoWay, Probes, Way, kernel_offsets},
};

const GROUP: Group = Group::Kernel;

pub(super) fn findings(ports: &[u16], way: &Result<Way, NoWay>) -> Vec<Finding> {
    let mut findings = vec![kernel(), lockdown(&read_lockdown()), btf(), uprobes(way), programs(ports, way)];
    findings.extend(compiler(fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")));
    findings
}

/// The oldest kernel that the agent was run on, and the oldest that has all that the programs call (`bpf_loop`).
const TRIED: (u8, u8) = (6, 1);
const POSSIBLE: (u8, u8) = (5, 17);

fn kernel() -> Finding {
    const WHAT: &str = "kernel";
    let version = match KernelVersion::current() {
        Ok(version) => (version.major, version.minor),
        Err(error) => return Finding::warn(GROUP, WHAT, format!("its version cannot be read: {error}"), "mount /proc"),
    };
    let text = format!("Linux {} for {}", rustix::system::uname().release().to_string_lossy(), Architecture::OWN.name());
    if version >= TRIED {
        Finding::ok(GROUP, WHAT, text)
    } else if version >= POSSIBLE {
        Finding::warn(GROUP, WHAT, text, "nobody has tried a kernel before 6.1: run it and see, or use a newer one")
    } else {
        Finding::fail(
            GROUP,
            WHAT,
            text,
            "the programs need Linux 5.17, and 6.1 is the oldest that was tried: use a node with that or newer",
        )
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
        Lockdown::Absent => return Finding::ok(GROUP, WHAT, "the kernel has none"),
        // The line about the programs tells whether it is in the way.
        Lockdown::Hidden => {
            return Finding::ok(GROUP, WHAT, "its mode is not to be seen here; whether the kernel takes the programs tells");
        }
        Lockdown::Modes(modes) => modes,
    };
    let mode = modes.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(modes.trim(), |(mode, _)| mode);
    if mode == "confidentiality" {
        Finding::fail(
            GROUP,
            WHAT,
            "confidentiality: no program may read the kernel's memory, not even root's, and sockets and namespaces are there",
            "start the node with lockdown=integrity, or with none (on Talos that is a kernel argument of the machine)",
        )
        .fix(Fix::Kernel("lockdown=integrity".to_owned()))
    } else {
        Finding::ok(GROUP, WHAT, mode)
    }
}

fn btf() -> Finding {
    const WHAT: &str = "kernel types";
    match fs::read("/sys/kernel/btf/vmlinux") {
        Ok(bytes) => match kernel_offsets(&bytes) {
            Ok(_) => Finding::ok(GROUP, WHAT, "BTF has every field that is read"),
            Err(error) => Finding::fail(GROUP, WHAT, error.to_string(), "report the kernel's version"),
        },
        Err(error) => Finding::fail(
            GROUP,
            WHAT,
            format!("/sys/kernel/btf/vmlinux cannot be read: {error}"),
            "use a kernel with CONFIG_DEBUG_INFO_BTF; in a container, /sys must be the host's",
        )
        .fix(Fix::Kernel("CONFIG_DEBUG_INFO_BTF=y".to_owned())),
    }
}

fn uprobes(way: &Result<Way, NoWay>) -> Finding {
    const WHAT: &str = "uprobes";
    match way {
        Ok(Way::Multi) => Finding::ok(GROUP, WHAT, format!("{}: the kernel attaches to many instructions at once", Way::Multi)),
        Ok(Way::Events) => {
            Finding::ok(GROUP, WHAT, format!("{}, one for each instruction, as the kernel has no uprobe_multi (Linux 6.6)", Way::Events))
        }
        Err(error @ NoWay::Hidden(_)) => Finding::warn(GROUP, WHAT, error.to_string(), "give CAP_BPF and CAP_PERFMON, or run as root"),
        Err(error @ NoWay::Refused(_)) => {
            Finding::fail(GROUP, WHAT, error.to_string(), "give CAP_SYS_ADMIN too, or use Linux 6.6 or newer")
                .fix(Fix::Helm("oldKernels=true".to_owned()))
                .fix(Fix::Pod("securityContext.capabilities.add: [BPF, PERFMON, SYS_PTRACE, SYS_ADMIN]".to_owned()))
                .fix(Fix::Systemd("AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_SYS_ADMIN".to_owned()))
        }
        Err(error @ (NoWay::None | NoWay::Unclear(_))) => {
            Finding::fail(GROUP, WHAT, error.to_string(), "use another kernel, best Linux 6.6 or newer")
                .fix(Fix::Kernel("CONFIG_UPROBE_EVENTS=y".to_owned()))
        }
    }
}

/// A trial: the verifier, the rings and the tracepoint's types are what a version number does not tell.
fn programs(ports: &[u16], way: &Result<Way, NoWay>) -> Finding {
    const WHAT: &str = "programs";
    let Ok(way) = way else {
        return Finding::warn(GROUP, WHAT, "not tried, as there is no way to put them on instructions", "see the line before");
    };
    let begun = Instant::now();
    match Probes::try_out(ports, *way) {
        Ok(()) => {
            let took = begun.elapsed().as_millis();
            Finding::ok(GROUP, WHAT, format!("the kernel takes all of them, with their rings, within {took} ms; nothing was attached"))
        }
        Err(error) => {
            Finding::fail(GROUP, WHAT, error.to_string(), "mend what is marked FAIL beside it; if nothing is, report the kernel's version")
        }
    }
}

/// `Documentation/admin-guide/sysctl/net.rst`: 0 is off, 1 on, 2 on and chatty. A kernel whose compiler cannot be turned off may not show it.
fn compiler(setting: io::Result<String>) -> Option<Finding> {
    const WHAT: &str = "compiler";
    match setting.ok()?.trim() {
        "0" => Some(
            Finding::warn(GROUP, WHAT, "off: the programs are interpreted, and each hit costs more", "turn the compiler for programs on")
                .fix(Fix::Command("sysctl -w net.core.bpf_jit_enable=1".to_owned())),
        ),
        _ => Some(Finding::ok(GROUP, WHAT, "programs become machine code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn lockdown_is_in_the_way_in_one_mode_alone() {
        let modes = |text: &str| lockdown(&Lockdown::Modes(text.to_owned()));
        for (found, state) in [
            (modes("[none] integrity confidentiality\n"), State::Ok),
            (modes("none [integrity] confidentiality\n"), State::Ok),
            (modes("none integrity [confidentiality]\n"), State::Fail),
            (lockdown(&Lockdown::Absent), State::Ok),
            (lockdown(&Lockdown::Hidden), State::Ok),
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
            (Err(NoWay::Refused(refused())), State::Fail, "CAP_SYS_ADMIN"),
            (Err(NoWay::Hidden(refused())), State::Warn, "CAP_BPF"),
            (Err(NoWay::None), State::Fail, "CONFIG_UPROBE_EVENTS"),
        ] {
            let found = uprobes(&way);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.detail.contains(says), "{found:?}");
        }
    }

    #[test]
    fn an_interpreter_is_told_and_what_is_hidden_is_not() {
        let state = |setting: &str| compiler(Ok(setting.to_owned())).map(|finding| finding.state);
        assert_eq!((state("0\n"), state("1\n"), state("2\n")), (Some(State::Warn), Some(State::Ok), Some(State::Ok)));
        assert_eq!(compiler(Err(io::ErrorKind::PermissionDenied.into())), None);
    }
}
