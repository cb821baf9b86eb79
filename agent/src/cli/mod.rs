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
mod version;
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
    /// Write the man pages, one for each command
    Man(man::Args),
}

impl Cli {
    /// What was typed, by the name under which the program was started. Ends the process where that is wrong, or asks for help.
    pub fn typed() -> Self {
        if std::env::args_os().next().is_some_and(|program| plugin::is(&program)) { plugin::parse() } else { Self::parse() }
    }

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
        #[cfg(target_os = "linux")]
        secrecy::leave_no_core();
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
