//! `kubewitness watch`: requests as they come.

mod later;
mod printer;
mod source;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use clap::{
    Parser, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use jiff::Timestamp;

use super::{
    cluster::{ApiServerArgs, ClusterArgs},
    output::colours,
    peers::ApiServerPeerArgs,
    ports::Ports,
    run::Switch,
    socket::SocketArgs,
};
use crate::{
    kubelet::{AccessKind, Endpoint},
    watch::{
        Filter, Pattern, Since,
        top::{self, Input},
    },
};
pub(super) use later::Later;
use printer::{Printer, tell};
use source::{News, Source};

/// Chunks that may wait until the screen was drawn; then whoever reads them waits, and the agent counts what is lost.
const AHEAD: usize = 16;

/// Show requests while they come, or from event files
#[derive(Debug, Parser)]
#[command(
    after_help = "\
Examples:
  kubewitness watch --findings-only
  kubectl logs -fn kubewitness ds/kubewitness | kubewitness watch --endpoint exec -",
    after_long_help = "\
A code with + is of a request that goes on.

Without an agent on this node it attaches to the kubelet itself, which takes root;
run --help tells more of the flags for that.

Examples:
  # what is wrong on this node, from its agent
  kubewitness watch --findings-only

  # from elsewhere
  kubectl exec -itn kubewitness ds/kubewitness -- kubewitness watch --top
  kubectl logs -fn kubewitness ds/kubewitness | kubewitness watch --endpoint exec -

  # what was
  kubewitness watch --since 2h --identity 'monitoring/*' /var/log/kubewitness"
)]
pub(super) struct Args {
    /// Event files, directories, or - for standard input
    ///
    /// From the agent of this node if none are named.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Fill the screen: who asks, how often, what is wrong
    #[arg(long, env = "KUBEWITNESS_TOP")]
    top: bool,
    /// Whole identities, however long
    #[arg(short, long, env = "KUBEWITNESS_WIDE")]
    wide: bool,
    /// How to print it
    #[arg(short, long, env = "KUBEWITNESS_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    #[command(flatten, next_help_heading = "Filters (repeatable; * stands for any text)")]
    filter: FilterArgs,
    #[command(flatten, next_help_heading = "Agent")]
    socket: SocketArgs,
    #[command(flatten, next_help_heading = "Without an agent")]
    attach: AttachArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// The events, one JSON line each
    Json,
}

/// Which requests.
#[derive(Debug, Parser)]
struct FilterArgs {
    /// Who asks, such as monitoring/agent
    ///
    /// The whole name, or namespace/name for a service account; - is nobody.
    #[arg(long, env = "KUBEWITNESS_IDENTITY", value_name = "NAME", value_delimiter = ',')]
    identity: Vec<Pattern>,
    /// The namespace of the pod
    #[arg(short, long, env = "KUBEWITNESS_NAMESPACE", value_name = "NAME", value_delimiter = ',')]
    namespace: Vec<Pattern>,
    /// The pod, or namespace/pod
    #[arg(long, env = "KUBEWITNESS_POD", value_name = "NAME", value_delimiter = ',')]
    pod: Vec<Pattern>,
    /// What is asked for: exec, containerLogs, metrics/cadvisor, …
    #[arg(long, env = "KUBEWITNESS_ENDPOINT", value_name = "NAME", value_delimiter = ',', value_parser = endpoint(), hide_possible_values = true)]
    endpoint: Vec<Endpoint>,
    /// How it was let in: fallback, proxy-only, denied, …
    #[arg(long, env = "KUBEWITNESS_ACCESS", value_name = "NAME", value_delimiter = ',', value_parser = access(), hide_possible_values = true)]
    access: Vec<AccessKind>,
    /// Only where something is wrong
    #[arg(long, env = "KUBEWITNESS_FINDINGS_ONLY")]
    findings_only: bool,
    /// No earlier than 10m or 2h ago, or a time
    ///
    /// In event files: an agent keeps no requests that are over. Units are s, m, h and d; a time is such as 2026-03-04T05:06:07Z.
    #[arg(long, env = "KUBEWITNESS_SINCE", value_name = "TIME", value_parser = |text: &str| Since::parse(text, Timestamp::now()))]
    since: Option<Since>,
}

/// How to watch the kubelet without an agent, as `run` has it.
#[derive(Debug, Parser)]
struct AttachArgs {
    /// This node's name in the cluster
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Whether to follow RBAC objects
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_RBAC", default_value = "on", value_name = "SWITCH")]
    rbac: Switch,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    api_server: ApiServerArgs,
    #[command(flatten)]
    api_server_peers: ApiServerPeerArgs,
    /// A kubelet to watch wherever it is
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_KUBELET_PID", value_name = "PID", value_delimiter = ',')]
    kubelet_pid: Vec<u32>,
    /// Where the kubelet keeps its pods' logs
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_POD_LOGS", default_value = "/var/log/pods", value_name = "DIRECTORY")]
    pod_logs: PathBuf,
    #[command(flatten)]
    ports: Ports,
}

fn endpoint() -> impl TypedValueParser<Value = Endpoint> {
    let labels = Endpoint::ALL.map(|endpoint| endpoint.label());
    PossibleValuesParser::new(labels).map(|label| Endpoint::of_label(&label).unwrap_or(Endpoint::Unknown))
}

fn access() -> impl TypedValueParser<Value = AccessKind> {
    let words = AccessKind::ALL.map(AccessKind::as_str);
    PossibleValuesParser::new(words).map(|word| AccessKind::parse(&word).unwrap_or(AccessKind::Unknown))
}

impl Args {
    /// Whether the whole terminal is used.
    pub(super) const fn fills_screen(&self) -> bool {
        self.top
    }

    /// What no single flag shows to be wrong.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
            Some("standard input (-) can be read once")
        } else if self.top && self.output == Output::Json {
            Some("--top and --output json exclude each other")
        } else {
            None
        }
    }
}

impl FilterArgs {
    fn filter(self) -> Filter {
        Filter {
            identities: self.identity,
            namespaces: self.namespace,
            pods: self.pod,
            endpoints: self.endpoint,
            accesses: self.access,
            findings_only: self.findings_only,
            since: self.since.map(|since| since.0),
        }
    }
}

pub(super) fn run(args: Args) -> Result<ExitCode> {
    let Args { paths, top, wide, output, filter, socket, attach } = args;
    let filter = filter.filter();
    if filter.since.is_some() && paths.is_empty() {
        tell("an agent keeps no requests that are over: --since finds earlier ones in event files alone");
    }
    if top && !io::stdout().is_terminal() {
        bail!("--top needs a terminal to fill; without it requests are printed line by line");
    }
    let source = Source { paths, socket: socket.path().map(Into::into), attach };
    if top { show_top(source, filter) } else { print_lines(source, Printer::new(wide, output == Output::Json, filter)) }
}

fn print_lines(source: Source, mut printer: Printer) -> Result<ExitCode> {
    thread::Builder::new().name("reader".to_owned()).spawn(printer::end_when_nobody_reads).context("no thread can be started")?;
    let source = source.open()?;
    printer.head();
    source.read(&mut |news| {
        printer.take(&news);
        true
    })?;
    Ok(printer.finish())
}

fn show_top(source: Source, filter: Filter) -> Result<ExitCode> {
    let source = source.open()?;
    let (sender, inputs) = mpsc::sync_channel(AHEAD);
    let chunks = sender.clone();
    let reader = thread::Builder::new().name("source".to_owned()).spawn(move || {
        let read = source.read(&mut |news| {
            let input = match news {
                News::Bytes(bytes) => Input::Bytes(bytes.to_vec()),
                News::Told(text) => Input::Told(text),
                News::End => Input::End,
            };
            chunks.send(input).is_ok()
        });
        // The screen stays, with what was seen.
        let _left = chunks.send(Input::Told(match &read {
            Ok(()) => "this is all that there is".to_owned(),
            Err(error) => format!("{error:#}"),
        }));
    });
    reader.context("no thread can be started")?;
    let shown = top::show(filter, colours(), sender, &inputs).context("the screen cannot be drawn");
    later::print();
    shown?;
    Ok(ExitCode::SUCCESS)
}
