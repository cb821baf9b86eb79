//! What a process takes, by `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What a process took since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Consumption {
    /// Processor time of all its threads.
    pub(crate) processor: Duration,
    /// How often its threads waited and were woken.
    pub(crate) wakeups: u64,
    /// Pages in memory now, in bytes.
    pub(crate) memory: u64,
    /// The most that they ever were.
    pub(crate) peak: u64,
}

impl Consumption {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let gone = || format!("process {pid} is gone");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(gone)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(gone)?;
        let kib = |name: &str| field(&status, name).unwrap_or(0) * 1024;
        let (mut wakeups, mut living) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(gone)?.flatten() {
            // A thread may end meanwhile.
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            wakeups += field(&read("status"), "voluntary_ctxt_switches:").unwrap_or(0);
            living += read("schedstat").split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
        }
        // The one is exact, the other one knows of threads that ended.
        let processor = processor_time(&stat).with_context(gone)?.max(Duration::from_nanos(living));
        Ok(Self { processor, wakeups, memory: kib("VmRSS:"), peak: kib("VmHWM:") })
    }

    /// What was taken since an earlier look; memory is that of now, and the most of all time.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { processor: self.processor.saturating_sub(before.processor), wakeups: self.wakeups.saturating_sub(before.wakeups), ..self }
    }
}

/// `utime` and `stime`, which are in hundredths of a second on Linux whatever the kernel's own clock (proc(5)).
fn processor_time(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold anything; `state` follows it, and is the third field.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 10))
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_what_it_takes() {
        let before = Consumption::of(std::process::id()).expect("this process");
        std::thread::sleep(Duration::from_millis(1));
        let mut sum = 0_u64;
        while Consumption::of(std::process::id()).expect("this process").since(before).processor < Duration::from_millis(30) {
            sum = sum.wrapping_add(1);
        }
        let took = Consumption::of(std::process::id()).expect("this process").since(before);
        assert!(took.wakeups > 0 && took.memory > 100_000 && took.peak >= took.memory, "{took:?} {sum}");
    }
}
