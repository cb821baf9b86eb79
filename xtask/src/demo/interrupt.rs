//! Ctrl-C in the middle of the demo: nothing may be left.
//!
//! The process becomes `demo --interrupted`: `execve` ends every thread of it and gives every lock back, whatever they were doing,
//! and what is half made is what [`kubewitness_tests::cluster::Cluster::down`] is for.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, exit};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{fs, thread};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::progress::{error, step};

/// The argument of the process that takes everything down.
pub(super) const MARK: &str = "--interrupted";

/// 128 and the number of SIGINT, as shells have it.
const STATUS: i32 = 130;

/// From here on a signal takes everything down.
pub(super) fn watch() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("the signals cannot be watched")?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            let failed = Command::new("/proc/self/exe").args(["demo", MARK]).exec();
            error(&format!("interrupted, and the demo cannot be taken down: {failed}; do it with `cargo xtask demo --down`"));
            exit(STATUS);
        }
    });
    Ok(())
}

/// Ends what the interrupted run started, then the process. A second Ctrl-C does not keep it from that.
pub(super) fn take_down(down: impl FnOnce() -> Result<()>) -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::new(AtomicBool::new(false))).context("the signals cannot be watched")?;
    }
    end_children();
    step("down: everything, after an interruption", down)?;
    exit(STATUS)
}

/// Builds and clients of the run that was interrupted: a terminal signals them too, `kill` does not.
fn end_children() {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if parent(&stat) == Some(own.as_str()) {
            // One that has ended meanwhile is nothing to end: as a child that was not waited for it keeps its pid.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::TERM));
        }
    }
}

/// Field 4 of `/proc/PID/stat` (proc(5)); the name in field 2 may hold spaces and parentheses.
fn parent(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_whatever_the_process_is_called() {
        for name in ["go", "a b", "x) S 1 (y", ")"] {
            assert_eq!(parent(&format!("77 ({name}) S 42 77 77 0")), Some("42"), "{name:?}");
        }
        assert_eq!(parent("77 (go"), None);
        assert_eq!(parent("77 (go) S"), None);
    }
}
