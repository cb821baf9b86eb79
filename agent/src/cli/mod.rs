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
mod run;
mod size;
mod socket;
mod watch;
mod webhook;

use std::{io::IsTerminal as _, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing_subscriber::EnvFilter;

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
    /// What is logged to stderr, such as `info` or `kubewitness=debug`; `info` if not given, `warn` by watch
    #[arg(long, global = true, env = "KUBEWITNESS_LOG", value_name = "FILTER")]
    log: Option<EnvFilter>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the kubelet of this node: audit events, metrics, health
    Run(Box<run::Args>),
    /// Show requests while they come, or from event files
    Watch(Box<watch::Args>),
    /// Tell how the kubelet of this node would be watched, and what is in the way
    Doctor(doctor::Args),
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
    /// Starts logging, to stderr; where that is a screen that is filled, as soon as it is not any more.
    pub fn log(&self) {
        let (quiet, has_screen) = match &self.command {
            Command::Watch(args) => ("warn", args.fills_screen() && std::io::stderr().is_terminal()),
            _ => ("info", false),
        };
        let filter = self.log.as_ref().map_or_else(|| quiet.to_owned(), ToString::to_string);
        // The client logs each failure; what follows the RBAC objects says it once. Who wants to read it asks for it after that.
        let filter = EnvFilter::new(format!("kube_client=off,{filter}"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal());
        if has_screen {
            log.with_writer(watch::Later::default).init();
        } else {
            log.with_writer(std::io::stderr).init();
        }
    }

    /// Runs the command.
    pub fn execute(self) -> Result<ExitCode> {
        leave_no_core();
        match self.command {
            Command::Run(args) => run::run(*args),
            Command::Watch(args) => {
                if let Some(problem) = args.problem() {
                    Self::command().error(ErrorKind::ArgumentConflict, problem).exit();
                }
                watch::run(*args)
            }
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

/// A crash leaves nothing of the memory on a disk: it holds credentials, the callers' commands, and for a moment the tokens of those who scrape.
/// The limit is heeded where the kernel writes a file, the other where it hands the memory to a program.
fn leave_no_core() {
    // Both are always allowed to whoever makes them stricter; without them there is a core as there would be of any program.
    let _limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
