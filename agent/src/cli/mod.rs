//! The command line: one file a subcommand.

mod cluster;
mod coverage;
mod doctor;
mod front;
mod metrics;
mod output;
mod outputs;
pub mod prometheus;
mod rbac;
mod report;
mod progress;
mod run;
mod size;
mod webhook;

use std::{fmt, io::IsTerminal as _, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use jiff::Timestamp;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

use crate::when::When;

/// The audit log the kubelet never had: who did what on port 10250, and which permission let them.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    arg_required_else_help = true,
    after_help = "\
Exit status: 0 fine, 1 failed, 2 wrong usage, 3 findings at or above --fail-on."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is logged to stderr, such as `info` or `kubewitness=debug`
    #[arg(long, global = true, env = "KUBEWITNESS_LOG", default_value = "info", value_name = "FILTER")]
    log: EnvFilter,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the kubelet of this node: audit events, metrics, health
    Run(Box<run::Args>),
    /// Tell how the kubelet of this node would be watched, and what is in the way
    Doctor(Box<doctor::Args>),
    /// Tell who used the kubelet's API by which right, and which role would be enough
    Report(Box<report::Args>),
    /// Tell who may run commands through nodes/proxy: in manifests, or in a cluster
    Rbac(rbac::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl Cli {
    /// Starts logging, to stderr.
    pub fn log(&self) {
        // The client logs each failure; what follows the RBAC objects says it once. Who wants to read it asks for it after that.
        let filter = EnvFilter::new(format!("kube_client=off,{}", self.log));
        let is_terminal = std::io::stderr().is_terminal();
        let clock = LogClock(if is_terminal { When::local() } else { When::Utc });
        tracing_subscriber::fmt().with_env_filter(filter).with_timer(clock).with_ansi(is_terminal).with_writer(std::io::stderr).init();
    }

    /// Runs the command.
    pub fn execute(self) -> Result<ExitCode> {
        leave_no_core();
        match self.command {
            Command::Run(args) => run::run(*args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Report(args) => {
                if let Some(problem) = args.problem() {
                    Self::command().error(ErrorKind::ArgumentConflict, problem).exit();
                }
                report::run(*args)
            }
            Command::Rbac(args) => rbac::run(args),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "kubewitness", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// What stands before a line of the log.
struct LogClock(When);

impl FormatTime for LogClock {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{}", self.0.live(Timestamp::now()))
    }
}

/// A crash leaves nothing of the memory on a disk: it holds credentials, the callers' commands, and for a moment the tokens of those who scrape.
/// The limit is heeded where the kernel writes a file, the other where it hands the memory to a program.
fn leave_no_core() {
    // Both are always allowed to whoever makes them stricter; without them there is a core as there would be of any program.
    let _limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
