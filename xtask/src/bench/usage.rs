//! What a process takes, by `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What a process took since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Processor time of all its threads.
    pub(super) processor: Duration,
    /// How often its threads waited and were woken.
    pub(super) wakeups: u64,
    /// Pages in memory now, in bytes.
    pub(super) memory: u64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let mut usage = Self::default();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?;
        for task in tasks.flatten() {
            // A thread may end meanwhile; the first number is nanoseconds on a processor (Documentation/scheduler/sched-stats.rst).
            let time = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            usage.processor += Duration::from_nanos(time.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(0));
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            usage.wakeups += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
        usage.memory = field(&status, "VmRSS:").unwrap_or(0) * 1024;
        Ok(usage)
    }

    /// What was taken since an earlier look; memory is that of now.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(before.processor),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
            memory: self.memory,
        }
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_what_it_takes() {
        let before = Usage::of(std::process::id()).expect("this process");
        std::thread::sleep(Duration::from_millis(1));
        let mut sum = 0_u64;
        while Usage::of(std::process::id()).expect("this process").since(before).processor < Duration::from_millis(5) {
            sum = sum.wrapping_add(1);
        }
        let took = Usage::of(std::process::id()).expect("this process").since(before);
        assert!(took.wakeups > 0 && took.memory > 100_000, "{took:?} {sum}");
    }
}
