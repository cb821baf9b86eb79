//! `kubewitness report`: from what was seen to what to do.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use jiff::Timestamp;

use super::{
    cluster::{ApiServerArgs, ClusterArgs},
    output::{FailOn, colours, columns, print, when},
    progress::{Waiting, invite, read_manifests},
    prometheus::PrometheusArgs,
};
use crate::report::{
    Cluster, Note, Observed, Origin, Progress, Report,
    document::Document,
    manifest::manifests,
    prometheus::observe_and_tell,
    read_events,
    text::{Paint, text},
};

/// Tell who used the kubelet's API by which right, and which role would be enough
#[derive(Debug, Parser)]
#[command(
    after_help = "\
Examples:
  kubewitness report /var/log/kubewitness --rbac cluster
  kubewitness report --prometheus https://prometheus.example --window 30d",
    after_long_help = "\
Examples:
  # event files, and the cluster's RBAC objects
  kubewitness report /var/log/kubewitness --rbac cluster
  kubectl logs -n kubewitness ds/kubewitness | kubewitness report -

  # a whole fleet
  kubewitness report --prometheus https://prometheus.example --window 30d \\
    --rbac cluster

  # packed files, and RBAC objects from manifests
  kubewitness report events.jsonl.zst audit.log.gz --rbac-from rbac.yaml

  # the recommended roles
  kubewitness report events.jsonl --rbac cluster -o yaml > roles.yaml
  kubectl apply --dry-run=server -f roles.yaml

Name the API server's audit log among the files to tell who goes through its
nodes/proxy.

Exit status: 0 fine, 1 failed, 2 wrong usage, 3 findings at or above --fail-on."
)]
pub(super) struct Args {
    /// Events: files, directories, or - for standard input
    ///
    /// Of directories the files .jsonl, .json and .log, also with .gz or .zst.
    #[arg(env = "KUBEWITNESS_REPORT_EVENTS", value_name = "PATH", value_delimiter = ',', conflicts_with = "prometheus")]
    paths: Vec<PathBuf>,
    /// How to print it
    #[arg(short, long, env = "KUBEWITNESS_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// Exit with 3 if there is a finding as grave or graver
    #[arg(long, env = "KUBEWITNESS_FAIL_ON", default_value = "none", value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Columns of the text
    ///
    /// Those of the terminal if not given, or 80.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_WIDTH", value_name = "COLUMNS")]
    width: Option<usize>,
    /// Where the RBAC objects are read
    #[arg(long, help_heading = "Cluster", env = "KUBEWITNESS_REPORT_RBAC", value_name = "FROM", default_value = "none")]
    rbac: Rbac,
    /// Manifests with the RBAC objects
    ///
    /// Files, directories or - for standard input; repeatable.
    #[arg(long, help_heading = "Cluster", env = "KUBEWITNESS_RBAC_FROM", value_name = "PATH", value_delimiter = ',')]
    rbac_from: Vec<PathBuf>,
    #[command(flatten, next_help_heading = "Cluster")]
    cluster: ClusterArgs,
    #[command(flatten, next_help_heading = "Cluster")]
    api_server: ApiServerArgs,
    #[command(flatten)]
    prometheus: PrometheusArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rbac {
    /// Nowhere, or from --rbac-from
    None,
    /// From the cluster, with its list of nodes
    Cluster,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
    /// The recommended roles and bindings alone
    Yaml,
}

impl Args {
    /// What no single flag shows to be wrong.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
        if self.paths.is_empty() && !self.prometheus.is_asked() {
            Some("there is nothing to report on: name files of events, - for standard input, or a server with --prometheus URL")
        } else if self.rbac == Rbac::Cluster && !self.rbac_from.is_empty() {
            Some("--rbac cluster and --rbac-from exclude each other")
        } else if self.paths.iter().chain(&self.rbac_from).filter(|path| is_stdin(path)).count() > 1 {
            Some("standard input (-) can be read once")
        } else {
            None
        }
    }
}

pub(super) fn run(args: Args) -> Result<ExitCode> {
    // First what may fail at once: reading events may take minutes.
    let (cluster, problem) = cluster(args.rbac, &args.rbac_from, args.cluster)?;
    let (mut observed, source) = observed(&args.paths, args.prometheus)?;
    observed.notes.extend(problem);
    let origin = Origin { source, api_server_log: has_api_server_log(&observed), api_server_users: args.api_server.apiserver_user };
    let report = Report::new(&observed, &origin, cluster.as_ref());
    print(&match args.output {
        Output::Text => {
            let width = args.width.or_else(columns).unwrap_or(80);
            text(&report, width, if colours() { Paint::Colour } else { Paint::Plain }, &when())
        }
        Output::Json => Document::of(&report).json()?,
        Output::Yaml => manifests(&report),
    })?;
    Ok(args.fail_on.status(report.gravest()))
}

/// The RBAC objects, and a note where something could not be read.
fn cluster(rbac: Rbac, files: &[PathBuf], cluster: ClusterArgs) -> Result<(Option<Cluster>, Option<Note>)> {
    if rbac == Rbac::Cluster {
        let loaded = cluster.load()?;
        let source = format!("the cluster ({})", loaded.api_server);
        let version = |version: String| Some(version).filter(|version| !version.is_empty());
        let nodes = loaded.nodes.map(|nodes| nodes.into_iter().map(|node| (node.name, version(node.kubelet))).collect());
        return Ok((Some(Cluster { source, snapshot: loaded.snapshot, is_whole: true, nodes }), None));
    }
    if files.is_empty() {
        return Ok((None, None));
    }
    let manifests = read_manifests(files)?;
    let problem = manifests.problems.first().map(|first| Note {
        id: "rbac-problem",
        count: manifests.problems.len() as u64,
        text: format!("manifests could not be read whole; first: {first}"),
    });
    let snapshot = manifests.objects().snapshot;
    Ok((Some(Cluster { source: names(files), snapshot, is_whole: false, nodes: None }), problem))
}

fn observed(paths: &[PathBuf], prometheus: PrometheusArgs) -> Result<(Observed, String)> {
    let Some(options) = prometheus.options(Timestamp::now()) else {
        invite(paths);
        let mut waiting = Waiting::patient("reading events");
        let observed = read_events(paths, |Progress { done, total }| waiting.bytes(done, total))?;
        return Ok((observed, names(paths)));
    };
    let url = &options.connection.url;
    let source = format!("Prometheus at {}{}", url.host_str().unwrap_or_default(), url.path());
    let waiting = Waiting::spinning("asking Prometheus");
    let observed = observe_and_tell(&options, |answers| waiting.say(&format!("asking Prometheus: {answers} answers")))?;
    Ok((observed, source))
}

/// Events of another kind than the agents' are those of the API server's own log.
fn has_api_server_log(observed: &Observed) -> bool {
    observed.notes.iter().any(|note| note.id == "other-audit-event")
        || observed.identities.values().any(|identity| identity.through_api_server > 0)
}

fn names(paths: &[PathBuf]) -> String {
    let name = |path: &PathBuf| if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
    paths.iter().map(name).collect::<Vec<_>>().join(", ")
}
