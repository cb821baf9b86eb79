//! How soon an exec is told: from the check in the kernel to the line that was written.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::flood::{Flood, Upgrade};
use serde_json::Value;

use super::bed::{Bed, exec};
use super::subject::{agent, kill};

/// Delays of all execs, in milliseconds, from the shortest to the longest.
pub(super) struct Delays(Vec<f64>);

impl Delays {
    /// So many in a thousand are not longer.
    pub(super) fn permille(&self, part: usize) -> f64 {
        self.0[(self.0.len() * part / 1000).min(self.0.len() - 1)]
    }
}

/// Opens execs, few at a time, with or without requests beside them that take all the machine has. The events go to a pipe, and what is read
/// there is compared with the clock at once.
pub(super) fn measure(bed: &Bed, execs: u64, is_saturated: bool) -> Result<Delays> {
    let (mut child, output) = agent(bed, &["--events", "-"])?.piped();
    let reader = thread::spawn(move || {
        let (mut delays, mut known) = (Vec::new(), BTreeSet::new());
        for line in output.lines().map_while(Result::ok) {
            if !line.contains("detected=") || !line.contains("ResponseStarted") {
                continue;
            }
            let now = jiff::Timestamp::now();
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let checked = event["stageTimestamp"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
            // The first event of an exec is that it was let in; another one follows when it is known to run.
            if let Some(checked) = checked
                && known.insert(event["auditID"].as_str().map(str::to_owned))
            {
                delays.push(now.duration_since(checked).as_secs_f64() * 1e3);
            }
        }
        delays
    });
    let beside = is_saturated.then(|| Flood::get("/healthz").token(&bed.token).connections(64).start(&bed.cluster)).transpose()?;
    let path = format!("{}&detected={{n}}", exec(&["true"]));
    let flood = Flood::sessions(&path, Upgrade::WebSocket("v4.channel.k8s.io")).token(&bed.token).connections(2).times(execs);
    let answers = if is_saturated { flood } else { flood.rate(20) }.send(&bed.cluster)?;
    ensure!(answers.only() == Some(101), "execs were not answered as they should be: {answers:?}");
    if let Some(beside) = beside {
        beside.stop()?;
    }
    thread::sleep(Duration::from_secs(1));
    kill(child.id())?;
    child.wait()?;
    let mut delays = reader.join().ok().context("the reader of the events failed")?;
    ensure!(delays.len() as u64 == execs, "{} of {execs} execs were told", delays.len());
    delays.sort_by(f64::total_cmp);
    Ok(Delays(delays))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_thousand_are_counted_from_the_shortest() {
        let delays = Delays((1..=1000).map(f64::from).collect());
        assert!((delays.permille(500) - 501.0).abs() < 0.1 && (delays.permille(999) - 1000.0).abs() < 0.1);
        assert!((Delays(vec![2.0]).permille(999) - 2.0).abs() < 0.1);
    }
}
