//! What the kubelet is asked to do while it is measured.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::flood::{Flood, Upgrade};
use serde::Deserialize;

use super::bed::{Bed, exec};
use crate::consumption::Consumption;

/// Measures by their names, which say their units.
pub(super) type Sample = BTreeMap<&'static str, f64>;

pub(super) const RATE: &str = "rate";
pub(super) const P50: &str = "p50_ms";
pub(super) const P99: &str = "p99_ms";
pub(super) const KUBELET: &str = "kubelet_us";
pub(super) const WATCHER: &str = "watcher_us";
pub(super) const PROCESSOR: &str = "processor_percent";
pub(super) const WAKEUPS: &str = "wakeups_per_s";
pub(super) const MEMORY: &str = "memory_mib";

/// A load.
pub(crate) struct Load {
    pub(super) name: &'static str,
    /// For people.
    pub(super) what: &'static str,
    /// What is counted.
    pub(super) unit: &'static str,
    pub(super) is_quick: bool,
    kind: Kind,
}

enum Kind {
    /// `wrk`: a path, connections at once, and whether each request has a new one.
    Requests(&'static str, u32, bool),
    /// `/healthz`, at most so many a second over 8 connections.
    Paced(u32),
    /// Execs that are opened and closed, so many at a time.
    Execs(u32),
    /// One exec that writes so many MiB as fast as it goes.
    Stream(u64),
    /// `wrk` over one connection: what a path answers, again and again.
    Download(&'static str),
    /// Nothing, for so long.
    Idle(Duration),
}

pub(super) const LOADS: &[Load] = &[
    requests("healthz-1", "`/healthz`, 1 connection", "/healthz", 1, true),
    requests("healthz-8", "`/healthz`, 8 connections", "/healthz", 8, true),
    requests("healthz-64", "`/healthz`, 64 connections", "/healthz", 64, false),
    requests("metrics", "`/metrics`, 8 connections", "/metrics", 8, false),
    requests("pods", "`/pods` with 100 pods, 8 connections", "/pods", 8, false),
    Load {
        name: "handshakes",
        what: "`/healthz`, each request with a connection of its own",
        unit: "connections/s",
        is_quick: false,
        kind: Kind::Requests("/healthz", 8, true),
    },
    Load { name: "execs", what: "exec opened and closed, 50 at a time", unit: "execs/s", is_quick: false, kind: Kind::Execs(50) },
    Load { name: "exec-stream", what: "one exec that streams as fast as it goes", unit: "MiB/s", is_quick: true, kind: Kind::Stream(1536) },
    Load {
        name: "logs",
        what: "`/containerLogs` of 60 MB, 1 connection",
        unit: "MiB/s",
        is_quick: false,
        kind: Kind::Download("/containerLogs/default/talker/main"),
    },
    Load { name: "idle", what: "nothing", unit: "", is_quick: true, kind: Kind::Idle(Duration::from_secs(20)) },
];

const fn requests(name: &'static str, what: &'static str, path: &'static str, connections: u32, is_quick: bool) -> Load {
    Load { name, what, unit: "requests/s", is_quick, kind: Kind::Requests(path, connections, false) }
}

/// `/healthz` over so many connections, as a step of a curve.
pub(super) const fn at(connections: u32) -> Load {
    requests("step", "`/healthz`", "/healthz", connections, false)
}

/// `/healthz` so many times a second, as a step of a curve.
pub(super) const fn pace(rate: u32) -> Load {
    Load { name: "step", what: "`/healthz`", unit: "requests/s", is_quick: false, kind: Kind::Paced(rate) }
}

pub(super) fn find(name: &str) -> Option<&'static Load> {
    LOADS.iter().find(|load| load.name == name)
}

pub(super) fn list() -> String {
    let lines: Vec<String> = LOADS.iter().map(|load| format!("{:<12}{}", load.name, load.what)).collect();
    lines.join("\n") + "\n"
}

/// How long requests are sent.
const TIME: Duration = Duration::from_secs(4);
const EXECS: u64 = 150;

impl Load {
    /// Whether nothing is asked, so that there is nothing to compare.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.kind, Kind::Idle(_))
    }

    /// Puts it on the kubelet; `watcher` is the process that watches, if there is one.
    pub(super) fn run(&self, bed: &Bed, watcher: Option<u32>) -> Result<Sample> {
        let kubelet = bed.kubelet()?;
        let look = || -> Result<(Consumption, Consumption)> {
            Ok((Consumption::of(kubelet)?, watcher.map(Consumption::of).transpose()?.unwrap_or_default()))
        };
        let (before, begun) = (look()?, Instant::now());
        let (done, mut sample) = match self.kind {
            Kind::Requests(path, connections, is_closed) => {
                let answered = wrk(bed, path, connections, is_closed)?;
                (answered.requests, answered.sample(answered.requests)?)
            }
            Kind::Download(path) => {
                let answered = wrk(bed, path, 1, false)?;
                let mib = answered.bytes >> 20;
                (mib, answered.sample(mib)?)
            }
            Kind::Paced(rate) => paced(bed, rate)?,
            Kind::Execs(at_once) => execs(bed, at_once)?,
            Kind::Stream(mib) => stream(bed, mib)?,
            Kind::Idle(time) => {
                thread::sleep(time);
                (1, Sample::new())
            }
        };
        let took = begun.elapsed().as_secs_f64();
        // What was asked last may not be told yet.
        thread::sleep(Duration::from_millis(200));
        let after = look()?;
        let (kubelet, watcher) = (after.0.since(before.0), after.1.since(before.1));
        sample.insert(PROCESSOR, 100.0 * watcher.processor.as_secs_f64() / took);
        if let Kind::Idle(_) = self.kind {
            sample.insert(WAKEUPS, count(watcher.wakeups) / took);
        } else {
            sample.insert(KUBELET, 1e6 * kubelet.processor.as_secs_f64() / count(done));
            sample.insert(WATCHER, 1e6 * watcher.processor.as_secs_f64() / count(done));
        }
        sample.insert(MEMORY, count(watcher.memory) / f64::from(1 << 20));
        Ok(sample)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn count(number: u64) -> f64 {
    number as f64
}

/// Whose requests `wrk` sends, one after the other, and what it prints when it is done.
const SCRIPT: &str = r#"
local tokens, turn = {}, 0
for line in io.lines(os.getenv("HEADER")) do tokens[#tokens + 1] = line:match("Authorization: (.+)") end
wrk.headers["Authorization"] = tokens[1]
if #tokens > 1 then
  request = function()
    turn = turn % #tokens + 1
    wrk.headers["Authorization"] = tokens[turn]
    return wrk.format()
  end
end
if os.getenv("CLOSED") then wrk.headers["Connection"] = "close" end
done = function(summary, latency)
  local wrong = summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout + summary.errors.connect
  print(string.format('{"requests":%d,"bytes":%d,"micros":%d,"wrong":%d,"p50":%d,"p99":%d}', summary.requests, summary.bytes, summary.duration,
    wrong, latency:percentile(50), latency:percentile(99)))
end
"#;

/// What `wrk` tells; times in microseconds.
#[derive(Deserialize)]
struct Answered {
    requests: u64,
    bytes: u64,
    micros: u64,
    wrong: u64,
    p50: u64,
    p99: u64,
}

impl Answered {
    /// Its figures, where so much was done.
    fn sample(&self, done: u64) -> Result<Sample> {
        ensure!(done > 0, "nothing was answered in {} ms", self.micros / 1000);
        Ok([(RATE, 1e6 * count(done) / count(self.micros)), (P50, count(self.p50) / 1e3), (P99, count(self.p99) / 1e3)].into())
    }
}

fn wrk(bed: &Bed, path: &str, connections: u32, is_closed: bool) -> Result<Answered> {
    let script = bed.file("wrk.lua");
    fs::write(&script, SCRIPT)?;
    let mut command = bed.cluster.command("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{}s", TIME.as_secs()), "--latency", "-s"]).arg(&script);
    command.arg(format!("https://127.0.0.1:10250{path}")).env("HEADER", &bed.header);
    if is_closed {
        command.env("CLOSED", "1");
    }
    let said = output(&mut command).context("wrk is what sends requests: install it, as with `apt-get install wrk`")?;
    let line = said.lines().last().unwrap_or_default();
    let answered: Answered = serde_json::from_str(line).with_context(|| format!("wrk did not say how it went: {said}"))?;
    ensure!(answered.wrong == 0, "requests were not answered as they should be: {line}");
    Ok(answered)
}

/// What a program prints, which must end well.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn paced(bed: &Bed, rate: u32) -> Result<(u64, Sample)> {
    let begun = Instant::now();
    let answers = Flood::get("/healthz").token(&bed.token).connections(8).rate(rate).lasting(TIME).send(&bed.cluster)?;
    ensure!(answers.only() == Some(200) && answers.failed == 0, "requests were not answered as they should be: {answers:?}");
    let sent = answers.statuses.values().sum();
    Ok((sent, [(RATE, count(sent) / begun.elapsed().as_secs_f64())].into()))
}

fn execs(bed: &Bed, at_once: u32) -> Result<(u64, Sample)> {
    let flood = Flood::sessions(&exec(&["true"]), Upgrade::WebSocket("v4.channel.k8s.io"));
    let begun = Instant::now();
    let answers = flood.token(&bed.token).connections(at_once).times(EXECS).send(&bed.cluster)?;
    ensure!(answers.only() == Some(101) && answers.failed == 0, "execs were not answered as they should be: {answers:?}");
    Ok((EXECS, [(RATE, count(EXECS) / begun.elapsed().as_secs_f64())].into()))
}

fn stream(bed: &Bed, mib: u64) -> Result<(u64, Sample)> {
    let path = exec(&["dd", "if=%2Fdev%2Fzero", "bs=1M", &format!("count={mib}")]);
    let begun = Instant::now();
    let answers =
        Flood::sessions(&path, Upgrade::WebSocket("v4.channel.k8s.io")).token(&bed.token).connections(1).times(1).send(&bed.cluster)?;
    ensure!(answers.only() == Some(101), "the exec was not answered as it should be: {answers:?}");
    Ok((mib, [(RATE, count(mib) / begun.elapsed().as_secs_f64())].into()))
}
