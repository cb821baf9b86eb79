//! The cluster's processes: started in its namespace, recorded by pid and start time, ended without ever meeting a reused pid.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};

use super::layout::Layout;
use super::{ClusterError, at, network};

/// One process for ever: a pid alone may name another process later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pid: u32,
    /// Clock ticks from boot to the start of the process, field 22 of `/proc/PID/stat` (proc(5)).
    started: u64,
}

impl Identity {
    /// The process that has this pid now, unless it has ended.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let started = start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some(Self { pid, started })
    }

    pub(super) fn pid(self) -> u32 {
        self.pid
    }

    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal to this process, or to none: the pidfd is opened first and the start time compared after that.
    pub(super) fn signal(self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.is_alive() {
            // It may end in between; then there is nothing left to signal.
            let _ = pidfd_send_signal(handle, signal);
        }
    }

    /// Collects the exit status where the process is a child of this one, so that no zombie stays.
    pub(super) fn reap(self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// The start time in the text of `/proc/PID/stat`, `None` for a process that has ended and waits to be collected. The command name in
/// the second field may hold spaces and parentheses, so fields are counted from the last parenthesis.
fn start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Starts a program in the cluster's namespace, in a process group of its own so that the terminal's Ctrl-C does not reach it,
/// and records it.
pub(super) fn start(layout: &Layout, name: &str, program: &Path, arguments: &[String]) -> Result<(), ClusterError> {
    let path = layout.log(name);
    let log = File::options().create(true).append(true).open(&path).map_err(at(&path))?;
    let errors = log.try_clone().map_err(at(&path))?;
    let mut command: Command = network::inside(layout, program);
    let shims = super::up::program_path();
    command
        .args(arguments)
        .env("PATH", shims)
        .current_dir(layout.folder())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0);
    let child = command.spawn().map_err(at(program))?;
    let record = layout.path(&format!("run/{name}"));
    let identity = Identity::of(child.id()).ok_or_else(|| at(program)(io::Error::other("ended at once")))?;
    fs::write(&record, format!("{} {}", identity.pid, identity.started)).map_err(at(&record))
}

/// The recorded process of a program, if it is alive.
pub(super) fn recorded(layout: &Layout, name: &str) -> Option<Identity> {
    let record = fs::read_to_string(layout.path(&format!("run/{name}"))).ok()?;
    let (pid, started) = record.split_once(' ')?;
    let identity = Identity { pid: pid.parse().ok()?, started: started.parse().ok()? };
    // A child that ended is collected first: as a zombie it would count as dead, but stay in the process table.
    identity.reap();
    identity.is_alive().then_some(identity)
}

/// Every process whose network namespace has this inode.
pub(super) fn in_namespace(inode: u64) -> Vec<Identity> {
    let wanted = format!("net:[{inode}]");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        // The identity is taken before the namespace is looked at: a pid that is reused in between fails the comparison at the signal.
        let identity = Identity::of(pid)?;
        let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
        (namespace.as_os_str() == wanted.as_str()).then_some(identity)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_field_22_whatever_the_command_is_called() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        for name in ["kubelet", "a b", "x) S 1 (y", ")"] {
            assert_eq!(start_time(&format!("77 ({name}) {rest}")), Some(4242), "{name:?}");
        }
        for stat in ["", "77 (x", "77 (x) S 1 2", "77 (x) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"] {
            assert_eq!(start_time(stat), None, "{stat:?}");
        }
    }

    #[test]
    fn a_process_with_the_same_pid_and_another_start_is_another_process() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { started: me.started + 1, ..me }.is_alive());
        // This signal would end the test if it reached the process.
        Identity { started: me.started + 1, ..me }.signal(Signal::KILL);
    }
}
