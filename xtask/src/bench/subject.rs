//! The configurations that are compared: what is done to the kubelet while it is measured.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::bed::Bed;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    None,
    Floor,
    Agent,
    Stepped,
    Sniffer,
    Verbose,
}

impl Subject {
    pub(super) const ALL: [Self; 6] = [Self::None, Self::Floor, Self::Agent, Self::Stepped, Self::Sniffer, Self::Verbose];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Floor => "floor",
            Self::Agent => "kubewitness",
            Self::Stepped => "stepped",
            Self::Sniffer => "sniffer",
            Self::Verbose => "kubelet -v=4",
        }
    }

    /// Starts it, and returns when it is at work.
    pub(super) fn start(self, bed: &Bed) -> Result<Running> {
        let kubelet = bed.kubelet()?;
        let process = match self {
            Self::None => None,
            Self::Floor => Some(attach(bed, kubelet, "floor")?),
            Self::Stepped => Some(attach(bed, kubelet, "stepped")?),
            Self::Sniffer => Some(attach(bed, kubelet, "sniffer")?),
            Self::Agent => Some(agent(bed, &["--events", &bed.file("events.jsonl").display().to_string()])?),
            Self::Verbose => {
                log_level(bed, 4)?;
                None
            }
        };
        Ok(Running { subject: self, process })
    }
}

/// A configuration at work.
pub(super) struct Running {
    subject: Subject,
    process: Option<Process>,
}

impl Running {
    /// The process that watches, if there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Ends it; what it said at last.
    pub(super) fn stop(self, bed: &Bed) -> Result<String> {
        if self.subject == Subject::Verbose {
            log_level(bed, 2)?;
        }
        let end = if self.subject == Subject::Agent { Process::stop } else { Process::finish };
        self.process.map_or(Ok(String::new()), end)
    }
}

/// A program that works until it is ended.
pub(super) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("it cannot be started")?;
        let output = child.stdout.take().map(BufReader::new).context("it has no output")?;
        Ok(Self { child, output })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends one that ends when it is told to; what it said at last.
    pub(super) fn stop(self) -> Result<String> {
        kill(self.child.id())?;
        self.finish()
    }

    /// Ends one that ends with its input; what it said at last.
    pub(super) fn finish(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "what watches the kubelet failed while it was measured ({status}): what it printed above says why");
        Ok(said.trim().to_owned())
    }

    /// Its output, to be read meanwhile; to be stopped with [`kill`].
    pub(super) fn piped(self) -> (Child, BufReader<ChildStdout>) {
        (self.child, self.output)
    }
}

pub(super) fn kill(pid: u32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).context("no process")?;
    // It may have ended by itself.
    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    Ok(())
}

pub(super) fn attach(bed: &Bed, kubelet: u32, what: &str) -> Result<Process> {
    let mut command = Command::new(&bed.attacher);
    command.arg(what).arg(&bed.object).arg(kubelet.to_string());
    let mut process = Process::start(command)?;
    let mut said = String::new();
    process.output.read_line(&mut said)?;
    ensure!(said.starts_with("attached"), "the probes of `{what}` could not be attached");
    Ok(process)
}

/// The agent as the chart runs it: it follows the RBAC objects and serves its metrics. It watches the kubelet when this returns.
pub(super) fn agent(bed: &Bed, arguments: &[&str]) -> Result<Process> {
    let process = launch(bed, arguments)?;
    said(bed, ATTACHED)?;
    // What it follows is there at a random moment of its first seconds.
    said(bed, SYNCED)?;
    Ok(process)
}

/// What the agent's log says of a kubelet that it watches from now on.
pub(super) const ATTACHED: &str = "attached to a kubelet";
/// And of the objects that it follows.
pub(super) const SYNCED: &str = "the RBAC objects are known";

/// The same, when it has only begun.
pub(super) fn launch(bed: &Bed, arguments: &[&str]) -> Result<Process> {
    let mut command = bed.cluster.command(&bed.agent);
    command.args(["run", "--node-name", kubewitness_tests::cluster::NODE, "--kubeconfig"]).arg(bed.cluster.kubeconfig()).args(arguments);
    command.env("MIMALLOC_PURGE_DELAY", "0").stderr(std::fs::File::create(log(bed))?);
    Process::start(command)
}

/// The line of the agent's log that says this, as soon as it is there.
pub(super) fn said(bed: &Bed, what: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        let log = log(bed);
        if let Some(line) = std::fs::read_to_string(&log)?.lines().find(|line| line.contains(what)) {
            return Ok(line.to_owned());
        }
        if begun.elapsed() > Duration::from_secs(120) {
            bail!("the agent does not say `{what}`: see {}", log.display());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn log(bed: &Bed) -> PathBuf {
    bed.file("agent.log")
}

/// How much the kubelet logs, changed while it runs (`/debug/flags/v`, `pkg/kubelet/server/server.go`).
fn log_level(bed: &Bed, level: u32) -> Result<()> {
    let mut command = bed.cluster.command("curl");
    command.args(["-sk", "--fail", "-X", "PUT", "-d", &level.to_string(), "-H"]);
    command.arg(format!("@{}", bed.header.display()));
    let status = command.arg("https://127.0.0.1:10250/debug/flags/v").stdout(Stdio::null()).status().context("curl cannot be started")?;
    ensure!(status.success(), "the kubelet does not let its log level be changed: {status}");
    Ok(())
}
