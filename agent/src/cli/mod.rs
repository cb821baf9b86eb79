//! The command line: one file a subcommand.

mod cluster;
#[cfg(target_os = "linux")]
mod coverage;
#[cfg_attr(not(target_os = "linux"), path = "doctor_elsewhere.rs")]
mod doctor;
#[cfg(target_os = "linux")]
mod follow;
#[cfg(target_os = "linux")]
mod front;
mod man;
#[cfg(target_os = "linux")]
mod metrics;
mod output;
#[cfg(target_os = "linux")]
mod outputs;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod ports;
mod plugin;
pub mod prometheus;
mod rbac;
mod report;
mod progress;
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod run;
#[cfg(target_os = "linux")]
mod secrecy;
#[cfg(target_os = "linux")]
mod size;
#[cfg(target_os = "linux")]
mod socket;
mod version;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(target_os = "linux")]
mod webhook;

use std::{fmt, io::IsTerminal as _, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use jiff::Timestamp;
use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

use crate::when::When;

/// The audit log the kubelet never had: who did what on port 10250, and which permission let them.
#[derive(Debug, Parser)]
#[command(
    version,
    long_version = version::long(),
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
    #[cfg(target_os = "linux")]
    Watch(Box<watch::Args>),
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
    /// Write the man pages, one for each command
    Man(man::Args),
}

impl Command {
    /// What is logged where nobody says it.
    const fn log_level(&self) -> &'static str {
        match self {
            #[cfg(target_os = "linux")]
            Self::Watch(_) => "warn",
            _ => "info",
        }
    }
}

impl Cli {
    /// What was typed, by the name under which the program was started. Ends the process where that is wrong, or asks for help.
    pub fn typed() -> Self {
        if std::env::args_os().next().is_some_and(|program| plugin::is(&program)) { plugin::parse() } else { Self::parse() }
    }

    /// Starts logging, to stderr; where that is a screen that is filled, as soon as it is not any more.
    pub fn log(&self) {
        let filter = self.log.as_ref().map_or_else(|| self.command.log_level().to_owned(), ToString::to_string);
        // The client logs each failure; what follows the RBAC objects says it once. Who wants to read it asks for it after that.
        let filter = EnvFilter::new(format!("kube_client=off,{filter}"));
        let is_terminal = std::io::stderr().is_terminal();
        let clock = LogClock(if is_terminal { When::local() } else { When::Utc });
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_timer(clock).with_ansi(is_terminal);
        #[cfg(target_os = "linux")]
        if is_terminal && matches!(&self.command, Command::Watch(args) if args.fills_screen()) {
            return log.with_writer(watch::Later::default).init();
        }
        log.with_writer(std::io::stderr).init();
    }

    /// Runs the command.
    pub fn execute(self) -> Result<ExitCode> {
        #[cfg(target_os = "linux")]
        secrecy::leave_no_core();
        match self.command {
            Command::Run(args) => run::run(*args),
            #[cfg(target_os = "linux")]
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
            Command::Man(args) => man::run(&args),
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
