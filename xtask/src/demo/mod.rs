//! `cargo xtask demo`: the announcement's attack on a real kubelet, and what each side of it is told.

mod audit;
mod cast;
mod clients;
mod events;
mod in_cluster;
mod interrupt;
#[cfg(test)]
mod picture;
mod scenes;
mod screen;

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, io, mem, thread};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use kubewitness_tests::agent::{Agent, AgentOptions, Rbac};
use kubewitness_tests::build::OwnProgram;
use kubewitness_tests::cluster::{Cluster, Options};

use self::clients::Clients;
use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::{error, note, seconds, step};
use crate::{build, machine, project, setup};

const HELP: &str = "\
Usage: cargo xtask demo [--in-cluster] [--keep | --down]

Builds what is not built yet, brings up a real one-node cluster, starts kubewitness beside its kubelet, and plays seven scenes with
real clients, among them the attack of the Kubernetes 1.36 announcement. Then it shows what the agent saw, and beside it what the API
server's audit log holds. Exits with 1 if anything was not seen as it must be. Needs root, rustup and Go; the first run takes minutes.

With --in-cluster the cluster is a whole one, and the agent is installed on it with helm, from the image of `cargo xtask image`. A pod
attacks another one on its node; the agent's pod sees it, and after helm uninstall nothing of it is left.

Options:
  --in-cluster  installs the chart on a cluster with controllers
  --keep        leaves the cluster and the agent running, and says how to look around
  --down        ends what --keep left

Examples:
  cargo xtask demo
  cargo xtask demo --in-cluster
  cargo xtask demo --keep && cargo xtask demo --down
";

/// The cluster's name; everything of the demo runs in its network namespace or lies in its folder.
const NAME: &str = "demo";

/// The Go builds fill the module and build caches, which are elsewhere; this is for the programs alone.
const CACHE_MIB: u64 = 1024;

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show(false),
        ["--keep"] => show(true),
        ["--in-cluster"] => in_cluster::show(false),
        ["--in-cluster", "--keep"] | ["--keep", "--in-cluster"] => in_cluster::show(true),
        ["--down"] | ["--in-cluster", "--down"] | ["--down", "--in-cluster"] => {
            let _lock = only_one()?;
            step("down: the agent and the cluster", down)
        }
        [interrupt::MARK] => interrupt::take_down(down),
        _ => Err(Usage::error(format!("`{}` is not understood", args.join(" ")), "cargo xtask demo --help")),
    }
}

fn show(keep: bool) -> Result<()> {
    let mut times = Times::default();
    let _lock = only_one()?;
    machine()?;
    interrupt::watch()?;
    let clients = programs(&mut times)?;
    // What an earlier run left: after `--keep`, or after a power cut.
    down()?;
    let curtain = Curtain;
    let cluster =
        times.take("cluster", || step("cluster: etcd, containerd, API server, kubelet, one pod", || Ok(Cluster::up(&options())?)))?;
    let keys = times.take("identities", || step("identities: four ServiceAccounts and their rights", || cast::cast(&cluster)))?;
    let folder = cluster.audit_log().with_file_name("agent");
    let mut agent = times.take("agent", || step("agent: it finds the kubelet and attaches", || start(&cluster, folder)))?;
    let played = times.take("scenes", || step("scenes: seven, with real clients", || scenes::play(&cluster, &mut agent, &clients, &keys)));
    let played = played.inspect_err(|_| note(&format!("the agent's log ends with: {}", agent.log().lines().last().unwrap_or_default())))?;
    let ended = if keep {
        mem::forget((agent, curtain));
        Ok(())
    } else {
        times.take("down", || step("down: the agent, then the cluster", || end(agent, curtain)))
    };
    screen::print(&played, cluster.release().version())?;
    note(&times.to_string());
    if keep {
        note(&look_around(&cluster));
    }
    ended.and(played.verdict())
}

fn machine() -> Result<()> {
    machine::root()?;
    machine::kernel()?;
    machine::go()?;
    machine::free_space(&project::cache()?, CACHE_MIB)
}

/// Go and Rust build side by side: while one links or fetches, which keeps one core busy or none, the other compiles.
fn programs(times: &mut Times) -> Result<Clients> {
    let go = || -> Result<(PathBuf, PathBuf)> {
        Cluster::prepare(&options())?;
        Ok((OwnProgram::SpdyExec.recipe().build()?, OwnProgram::KubeletCall.recipe().build()?))
    };
    thread::scope(|scope| {
        let go = scope.spawn(|| step("build: the cluster's programs and the clients in Go", go));
        let agent = times
            .take("build", || setup::for_build(&[Arch::Amd64]).and_then(|()| build::all(Arch::Amd64)).and_then(|()| setup::websocat()));
        let go =
            times.take("then the rest of the Go builds", || go.join().map_err(|_| anyhow!("the build of the Go programs panicked"))?);
        let (websocat, (spdyexec, kubeletcall)) = (agent?, go?);
        Ok(Clients { websocat, spdyexec, kubeletcall })
    })
}

fn options() -> Options {
    Options::named(NAME)
}

fn start(cluster: &Cluster, folder: PathBuf) -> Result<Agent> {
    let binary = project::root().join("target/release/kubewitness");
    Ok(Agent::start(cluster, &AgentOptions { binary, folder, rbac: Rbac::Off, arguments: Vec::new() })?)
}

fn end(agent: Agent, curtain: Curtain) -> Result<()> {
    let status = agent.stop(Duration::from_secs(2))?;
    ensure!(status.success(), "the agent ended with {status} on SIGTERM: it must end with 0");
    curtain.fall()
}

fn down() -> Result<()> {
    Cluster::down(NAME).context("not everything of the demo could be ended")
}

/// Falls when the demo is over, however that comes: ends the cluster, and with it all that runs in its namespace, the agent too.
struct Curtain;

impl Curtain {
    fn fall(self) -> Result<()> {
        mem::forget(self);
        down()
    }
}

impl Drop for Curtain {
    fn drop(&mut self) {
        if let Err(left) = step("down: everything", down) {
            error(&format!("{left:#}"));
        }
    }
}

/// Two demos would take each other's cluster down. The lock ends with the returned file or with the process.
fn only_one() -> Result<File> {
    let cache = project::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make the folder {}", cache.display()))?;
    let path = cache.join("demo.lock");
    let lock = File::options().create(true).append(true).open(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => bail!("another `cargo xtask demo` runs: wait for its end"),
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// How long each part took.
struct Times {
    begun: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Default for Times {
    fn default() -> Self {
        Self { begun: Instant::now(), parts: Vec::new() }
    }
}

impl Times {
    fn take<T>(&mut self, part: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = work();
        self.parts.push((part, begun.elapsed()));
        result
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(|(part, time)| format!("{part} {}", seconds(*time))).collect();
        write!(out, "{}; in all {}", parts.join(", "), seconds(self.begun.elapsed()))
    }
}

/// How to go on by hand after `--keep`.
fn look_around(cluster: &Cluster) -> String {
    let agent = cluster.audit_log().with_file_name("agent");
    let namespace = cluster.network_namespace();
    format!(
        "the cluster and the agent go on. Look around:
      cargo xtask cluster --name {NAME} kubectl get pods
      tail -f {events}
      nsenter --net={net} -- curl -s http://{metrics}/metrics
      cat {audit}
    and end it with:
      cargo xtask demo --down",
        events = agent.join("events.jsonl").display(),
        net = namespace.display(),
        metrics = kubewitness_tests::agent::METRICS,
        audit = cluster.audit_log().display(),
    )
}

/// Writes to stdout; a reader that went away, like `head`, is no failure.
fn write_out(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}
