//! How soon a kubelet is watched: from its `LISTEN` in the kernel to the probes on its executable.

use anyhow::{Context as _, Result};

use super::bed::Bed;
use super::subject::{ATTACHED, SYNCED, launch, said};

/// Kubelets that start while the agent runs that has not seen their executable; the delays in milliseconds, from the shortest to the longest.
///
/// One whose executable the agent knows needs no figure: its probes are on the file when it starts.
pub(super) fn measure(bed: &Bed, times: usize) -> Result<Vec<f64>> {
    let mut delays = Vec::new();
    for _ in 0..times {
        bed.cluster.end_kubelet()?;
        let agent = launch(bed, &[])?;
        said(bed, SYNCED)?;
        bed.cluster.start_kubelet()?;
        let line = said(bed, ATTACHED)?;
        delays.push(since_listen(&line).with_context(|| format!("the agent does not say how soon it was: {line}"))?);
        agent.stop()?;
        bed.cluster.await_pods()?;
    }
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}

/// `since_listen=23.4ms`, in milliseconds.
fn since_listen(line: &str) -> Option<f64> {
    let value = line.split("since_listen=").nth(1)?.split_whitespace().next()?;
    let at = value.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let factor = match &value[at..] {
        "s" => 1e3,
        "ms" => 1.0,
        "µs" => 1e-3,
        _ => return None,
    };
    value[..at].parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_read_from_the_log() {
        let line = |delay: &str| format!("INFO x: attached to a kubelet pid=7 took=21.3ms since_listen={delay}");
        for (delay, expected) in [("23.5ms", Some(23.5)), ("1.5s", Some(1500.0)), ("250µs", Some(0.25)), ("7", None), ("x", None)] {
            let read = since_listen(&line(delay));
            assert_eq!(read.is_some(), expected.is_some(), "{delay}");
            assert!(read.zip(expected).is_none_or(|(read, expected)| (read - expected).abs() < 1e-9), "{delay}: {read:?}");
        }
        assert_eq!(since_listen("attached to a kubelet took=3ms"), None);
    }
}
