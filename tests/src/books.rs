//! What was counted on both sides: by the kubelet itself, and by the agent in its metrics and its events.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use memchr::memmem;

use crate::{
    agent::{Agent, AgentError},
    call::Call,
    cluster::{Cluster, Token},
};

/// `kubelet_http_requests_total`, all of it, this question included. The token's owner needs `get` on `nodes/metrics`.
pub fn kubelet_requests(cluster: &Cluster, token: &Token) -> io::Result<u64> {
    let answers = Call::get("/metrics").token(token).user_agent("books").body().from_node(cluster)?;
    if answers.only() != Some(200) {
        return Err(io::Error::other(format!("the kubelet does not show its metrics: {:?} {}", answers.statuses, answers.problem)));
    }
    let counts = answers.body.lines().filter(|line| line.starts_with("kubelet_http_requests_total{"));
    // From a million on they are written as 1.000001e+06.
    Ok(counts.filter_map(|line| whole(line.rsplit_once(' ')?.1.parse().ok()?)).sum())
}

/// The sum of a metric of the agent over all its labels.
pub fn sum(agent: &Agent, metric: &str) -> Result<u64, AgentError> {
    let metrics = agent.metrics()?;
    let series = metrics.iter().filter(|(series, _)| series.split('{').next() == Some(metric));
    Ok(series.filter_map(|(_, value)| whole(*value)).sum())
}

/// A count as metrics have it.
fn whole(value: f64) -> Option<u64> {
    format!("{value:.0}").parse().ok()
}

/// How many requests the agent knows to have been: those that it saw, and those of which it knows only that they were.
pub fn known_requests(agent: &Agent) -> Result<(u64, u64), AgentError> {
    Ok((sum(agent, "kubewitness_requests_total")?, sum(agent, "kubewitness_requests_unseen_total")?))
}

/// The files of events that an agent wrote, those that it put aside too.
pub fn event_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect();
    files.sort();
    files
}

/// The numbers of the requests whose targets end in `mark` and a number, by the events that end them; and how many events there are beyond one
/// for each.
pub fn numbers(files: &[PathBuf], mark: &str) -> io::Result<(BTreeSet<u64>, u64)> {
    let (mut numbers, mut twice) = (BTreeSet::new(), 0);
    for file in files {
        for line in fs::read(file)?.split(|byte| *byte == b'\n') {
            let ends = memmem::find(line, br#""stage":"ResponseComplete""#).is_some();
            if let Some(number) = number(line, mark).filter(|_| ends) {
                twice += u64::from(!numbers.insert(number));
            }
        }
    }
    Ok((numbers, twice))
}

/// The number behind `mark` in the request's target.
pub fn number(line: &[u8], mark: &str) -> Option<u64> {
    let target = memmem::find(line, br#""requestURI":""#)?;
    let target = &line[target + 14..];
    let target = &target[..memchr::memchr(b'"', target)?];
    let at = memmem::find(target, mark.as_bytes())?;
    let digits: Vec<u8> = target[at + mark.len()..].iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}

/// The most memory that a process ever had, in KiB: `VmHWM` of `/proc/PID/status`.
pub fn peak_memory(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    peak.ok_or_else(|| io::Error::other(format!("process {pid} has no VmHWM")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_target_alone() {
        for (line, expected) in [
            (&br#"{"requestURI":"/healthz?n=17","verb":"get"}"#[..], Some(17)),
            (br#"{"requestURI":"/exec/a/b/c?command=true&n=3","verb":"get"}"#, Some(3)),
            (br#"{"userAgent":"n=9","requestURI":"/pods"}"#, None),
            (br#"{"requestURI":"/pods"}"#, None),
            (b"", None),
        ] {
            assert_eq!(number(line, "n="), expected, "{}", String::from_utf8_lossy(line));
        }
    }
}
