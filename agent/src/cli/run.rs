//! `kubewitness run`: the daemon.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    cluster::{ApiServerArgs, ClusterArgs},
    coverage::CoverageArgs,
    follow::follow,
    front::Front,
    metrics::MetricsArgs,
    outputs::OutputArgs,
    peers::ApiServerPeerArgs,
    ports::Ports,
    socket::SocketArgs,
};
use crate::{
    daemon::{Daemon, Options, now},
    doctor::{cluster, machine, outputs},
    export::{
        Clock, Ends, Health, Recorder, Seen,
        audit::{self, Auditor},
        metrics::Metrics,
        watchers::Watchers,
    },
    judge::Policy,
};

/// What waits in the sink has this long when the daemon is told to stop; whoever stops it waits two seconds.
const FLUSH: Duration = Duration::from_secs(1);

/// Watch the kubelet of this node: audit events, metrics, health
#[derive(Debug, Parser)]
#[command(
    after_help = "\
Examples:
  kubewitness run --events /var/log/kubewitness/events.jsonl --commands redacted
  kubewitness run --rbac off",
    after_long_help = "\
Examples:
  # events to standard output, metrics on 127.0.0.1:9464
  kubewitness run

  # events to a file, without what callers ran in their commands
  kubewitness run --events /var/log/kubewitness/events.jsonl --commands redacted

  # under the API server's and the node's own names
  kubewitness run --apiserver-user my-apiserver --node-name worker-1

  # what RBAC says of each request; or without any access to the API server
  kubewitness run --kubeconfig /etc/kubewitness/kubeconfig
  kubewitness run --rbac off

  # routine requests as counters only, all else to a receiver too
  kubewitness run --audit-policy audit-policy.yaml \\
    --audit-webhook-config-file /etc/kubewitness/webhook.kubeconfig \\
    --audit-webhook-queue /var/lib/kubewitness

SIGTERM and SIGINT stop it: what is in flight is written, and the probes are
taken off. SIGHUP opens the file of events anew, as logrotate wants it, and
reads the audit policy again."
)]
pub(super) struct Args {
    #[command(flatten, next_help_heading = "Events")]
    outputs: OutputArgs,
    #[command(flatten, next_help_heading = "Events")]
    socket: SocketArgs,
    /// Whether events hold the commands that callers ran
    #[arg(long, help_heading = "Events", env = "KUBEWITNESS_COMMANDS", default_value = "full", value_name = "HOW")]
    commands: Commands,
    #[command(flatten, next_help_heading = "Metrics")]
    metrics: MetricsArgs,
    /// Identities that get metrics of their own
    ///
    /// The rest is counted as `other`.
    #[arg(
        long,
        help_heading = "Metrics",
        hide_short_help = true,
        env = "KUBEWITNESS_MAX_IDENTITIES",
        default_value_t = 1000,
        value_name = "COUNT"
    )]
    max_identities: usize,
    /// This node's name in the cluster
    ///
    /// The host's name if not given. Tokens that are bound to a node are compared with it.
    #[arg(long, help_heading = "Cluster", env = "KUBEWITNESS_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Whether to follow RBAC objects
    ///
    /// To tell what they say of each request; needs list and watch on clusterroles and clusterrolebindings.
    #[arg(long, help_heading = "Cluster", env = "KUBEWITNESS_RBAC", default_value = "on", value_name = "SWITCH")]
    rbac: Switch,
    #[command(flatten, next_help_heading = "Cluster")]
    cluster: ClusterArgs,
    #[command(flatten, next_help_heading = "Cluster")]
    api_server: ApiServerArgs,
    #[command(flatten, next_help_heading = "Cluster")]
    api_server_peers: ApiServerPeerArgs,
    #[command(flatten, next_help_heading = "Kubelet")]
    ports: Ports,
    /// A kubelet to watch wherever it is
    ///
    /// Although it is in another network namespace than the agent and process 1; repeatable.
    #[arg(
        long,
        help_heading = "Kubelet",
        hide_short_help = true,
        env = "KUBEWITNESS_KUBELET_PID",
        value_name = "PID",
        value_delimiter = ','
    )]
    kubelet_pid: Vec<u32>,
    /// Where the kubelet keeps its pods' logs
    ///
    /// Its podLogsDir; the names there tell pods by their UIDs.
    #[arg(
        long,
        help_heading = "Kubelet",
        hide_short_help = true,
        env = "KUBEWITNESS_POD_LOGS",
        default_value = "/var/log/pods",
        value_name = "DIRECTORY"
    )]
    pod_logs: PathBuf,
    #[command(flatten, next_help_heading = "Kubelet")]
    coverage: CoverageArgs,
    /// Copy the kernel's records to a file, for a report of a bug
    ///
    /// They hold what events hold, commands included, and no token.
    #[arg(long, help_heading = "Kubelet", hide_short_help = true, env = "KUBEWITNESS_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
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

impl Args {
    /// What the machine must have for it.
    pub(super) fn of_machine(&self) -> machine::Wanted {
        machine::Wanted {
            ports: self.ports.watched(),
            pids: self.kubelet_pid.clone(),
            pod_logs: self.pod_logs.clone(),
            node_name: self.node_name.clone(),
        }
    }

    /// What the API server must allow for it.
    pub(super) fn of_cluster(&self) -> cluster::Wanted {
        let asked = [
            (cluster::Feature::Rbac, self.rbac == Switch::On),
            (cluster::Feature::Reviews, self.metrics.guarded()),
            (cluster::Feature::Events, self.outputs.kubernetes_events()),
            (cluster::Feature::KubeletMetrics, self.coverage.kubelet().is_some()),
        ];
        let features = asked.into_iter().filter_map(|(feature, on)| on.then_some(feature)).collect();
        cluster::Wanted { connect: self.cluster.options(), features }
    }

    /// Where it would write and listen.
    pub(super) fn of_outputs(&self) -> outputs::Wanted {
        outputs::Wanted {
            events: self.outputs.target(),
            socket: self.socket.path().map(Path::to_owned),
            policy: self.outputs.policy(),
            webhook: self.outputs.webhook(),
            metrics: self.metrics.address(),
            guarded: self.metrics.guarded(),
            certificate: self.metrics.certificate(self.node_name.as_deref().unwrap_or_default()),
            coverage: self.coverage.kubelet().map(|kubelet| (kubelet, self.cluster.options())),
        }
    }
}

pub(super) fn run(args: Args) -> Result<ExitCode> {
    let front = Front::new()?;
    let node = args.node_name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let metrics = Arc::new(Metrics::new(&node, args.max_identities).context("the metrics cannot be set up")?);
    let restraint = args.outputs.restraint();
    let watchers = Watchers::new(metrics.watch());
    let (outputs, policy, renewal) = args.outputs.open(&node, &args.pod_logs, args.cluster.options(), &metrics, watchers.clone())?;
    let health = Arc::new(Health::new(metrics));
    let shown = (Arc::clone(&health), node.clone());
    let door = args.metrics.door(&node, args.cluster.options(), Arc::clone(&health))?;
    let stop = front.open(door, renewal)?;
    let (seen, to_compare) = watch::channel(Seen::default());
    args.coverage.compare(args.cluster.options(), Arc::clone(&health), to_compare)?;

    let commands = match args.commands {
        Commands::Full => audit::Commands::Full,
        Commands::Redacted => audit::Commands::Redacted,
    };
    let auditor = Auditor::new(Uuid::new_v4(), node.clone(), commands);
    let mut recorder = Recorder::new(Ends { health, auditor, restraint, policy, outputs, seen }, read_clock);
    let options = Options {
        port: args.ports.kubelet_port,
        read_only_port: args.ports.read_only_port,
        pids: args.kubelet_pid,
        pod_logs: args.pod_logs,
        trace: args.trace,
        policy: Policy {
            api_server_users: args.api_server.apiserver_user,
            api_server_peers: args.api_server_peers.apiserver_peer,
            node,
            rbac: args.rbac == Switch::On,
        },
    };
    let rbac = match args.rbac {
        Switch::On => Some(follow(args.cluster.options())?),
        Switch::Off => None,
    };
    let mut daemon = Daemon::start(options, rbac, |news| recorder.take(news))?;
    // Not before: a daemon that cannot start says why, and nothing else.
    let _served = args.socket.serve(&watchers, shown.0, &shown.1);
    daemon.run(stop.as_fd())?;
    // Takes the probes off, so that nothing new comes while the rest is written.
    drop(daemon);
    if !recorder.close(FLUSH) {
        warn!("some events could not be written in time; they are lost");
    }
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn read_clock() -> Clock {
    Clock::new(now(), jiff::Timestamp::now())
}
