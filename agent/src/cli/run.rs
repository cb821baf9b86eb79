//! `kubewitness run`: the daemon.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use rustix::{io::write, pipe::pipe};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    cluster::{ApiServerArgs, ClusterArgs},
    webhook::WebhookArgs,
};
use crate::{
    daemon::{Daemon, Options, now},
    export::{
        Clock, Outputs, Recorder,
        audit::{self, Auditor},
        http::{Pages, Readiness, serve},
        metrics::Metrics,
        sink::{Sink, Target},
        webhook::Webhook,
    },
    judge::Policy,
    probe::Counts,
};

/// What waits in the sink has this long when the daemon is told to stop; whoever stops it waits two seconds.
const FLUSH: Duration = Duration::from_secs(1);

/// Watch the kubelet of this node: audit events, metrics, health
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  kubewitness run                                         events to stdout, metrics on 127.0.0.1:9464
  kubewitness run --events /var/log/kubewitness/events.jsonl --commands redacted
  kubewitness run --apiserver-user my-apiserver --node-name worker-1
  kubewitness run --kubeconfig /etc/kubewitness/kubeconfig    what RBAC says of each request
  kubewitness run --rbac off                              without any access to the API server
  kubewitness run --audit-webhook-config-file /etc/kubewitness/webhook.kubeconfig --audit-webhook-queue /var/lib/kubewitness

SIGTERM and SIGINT stop it: what is in flight is written, and the probes are taken off.")]
pub(super) struct Args {
    /// Where audit events go, one JSON line each: a file, or - for standard output
    #[arg(long, env = "KUBEWITNESS_EVENTS", default_value = "-", value_name = "PATH")]
    events: String,
    /// Whether events hold the commands that callers ran
    #[arg(long, env = "KUBEWITNESS_COMMANDS", default_value = "full")]
    commands: Commands,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "KUBEWITNESS_METRICS_LISTEN", default_value = "127.0.0.1:9464", value_name = "ADDRESS")]
    metrics_listen: SocketAddr,
    /// Identities that get metrics of their own; the rest is counted as `other`
    #[arg(long, env = "KUBEWITNESS_MAX_IDENTITIES", default_value_t = 1000, value_name = "COUNT")]
    max_identities: usize,
    /// This node's name in the cluster; the host's name if not given
    #[arg(long, env = "KUBEWITNESS_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Whether to follow the cluster's RBAC objects, to tell what they say of each request; needs list and watch on clusterroles and
    /// clusterrolebindings
    #[arg(long, env = "KUBEWITNESS_RBAC", default_value = "on")]
    rbac: Switch,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    api_server: ApiServerArgs,
    /// A kubelet to watch although it is in another network namespace than the agent and process 1; repeatable
    #[arg(long, env = "KUBEWITNESS_KUBELET_PID", value_name = "PID", value_delimiter = ',')]
    kubelet_pid: Vec<u32>,
    /// Where the kubelet keeps its pods' logs (its podLogsDir); the names there tell pods by their UIDs
    #[arg(long, env = "KUBEWITNESS_POD_LOGS", default_value = "/var/log/pods", value_name = "DIRECTORY")]
    pod_logs: PathBuf,
    /// Copy the kernel's records to a file, for a report of a bug; they hold what events hold, commands included, and no token
    #[arg(long, env = "KUBEWITNESS_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    ports: Ports,
    #[command(flatten)]
    webhook: WebhookArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Commands {
    /// As sent
    Full,
    /// Only how many words they had
    Redacted,
}

/// The kubelet's ports.
#[derive(Clone, Copy, Debug, Parser)]
pub(super) struct Ports {
    /// The kubelet's port
    #[arg(long, env = "KUBEWITNESS_KUBELET_PORT", default_value_t = 10250, value_name = "PORT")]
    kubelet_port: u16,
    /// The kubelet's read-only port, where one is open
    #[arg(long, env = "KUBEWITNESS_READ_ONLY_PORT", default_value_t = 10255, value_name = "PORT")]
    read_only_port: u16,
}

impl Ports {
    pub(super) fn watched(self) -> [u16; 2] {
        [self.kubelet_port, self.read_only_port]
    }
}

pub(super) fn run(args: Args) -> Result<ExitCode> {
    let node = args.node_name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let metrics = Arc::new(Metrics::new(&node, args.max_identities).context("the metrics cannot be set up")?);
    let target = Target::parse(&args.events);
    let webhook = args.webhook.options().map(|options| Webhook::start(&options, metrics.webhook())).transpose()?;
    let outputs = Outputs::new(Sink::open(&target, metrics.sink(target.kind()), now)?, webhook);
    let (readiness, ready) = watch::channel(Readiness::Starting);
    let stop = front(args.metrics_listen, Pages { metrics: Arc::clone(&metrics), readiness: ready })?;

    let commands = match args.commands {
        Commands::Full => audit::Commands::Full,
        Commands::Redacted => audit::Commands::Redacted,
    };
    let auditor = Auditor { namespace: Uuid::new_v4(), node: node.clone(), commands };
    let mut recorder = Recorder { metrics, auditor, outputs, readiness, clock: read_clock(), read_clock, counts: Counts::default() };
    let options = Options {
        port: args.ports.kubelet_port,
        read_only_port: args.ports.read_only_port,
        pids: args.kubelet_pid,
        pod_logs: args.pod_logs,
        trace: args.trace,
        policy: Policy { api_server_users: args.api_server.apiserver_user, node, rbac: args.rbac == Switch::On },
    };
    let rbac = match args.rbac {
        Switch::On => Some(args.cluster.follow()?),
        Switch::Off => None,
    };
    let mut daemon = Daemon::start(options, rbac, |news| recorder.take(news))?;
    daemon.run(stop.as_fd())?;
    // Takes the probes off, so that nothing new comes while the rest is written.
    drop(daemon);
    if !recorder.outputs.close(FLUSH) {
        warn!("some events could not be written in time; they are lost");
    }
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn read_clock() -> Clock {
    Clock::new(now(), jiff::Timestamp::now())
}

/// Serves the pages and waits for signals, on a thread of its own. The descriptor becomes readable when the daemon should stop.
fn front(address: SocketAddr, pages: Pages) -> Result<OwnedFd> {
    let runtime = Builder::new_current_thread().enable_all().build().context("the HTTP server cannot be started")?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("cannot listen on {address} for metrics; name another address with --metrics-listen"))?;
    let (stop, stopper) = pipe().context("no pipe can be made")?;
    thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || attend(&runtime, listener, pages, &stopper))
        .context("no thread can be started")?;
    Ok(stop)
}

fn attend(runtime: &Runtime, listener: TcpListener, pages: Pages, stopper: &OwnedFd) {
    runtime.block_on(async {
        let Ok((mut terminate, mut interrupt)) = signals() else {
            return warn!("signals cannot be watched: SIGTERM will end the agent without a flush");
        };
        let server = tokio::spawn(serve(listener, pages, std::future::pending()));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // The daemon reads nothing but that it can read.
        let _told = write(stopper, b"x");
        // Metrics go on until the process ends.
        let _ended = server.await;
    });
}

fn signals() -> std::io::Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}
