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
mod help;
mod man;
#[cfg(target_os = "linux")]
mod metrics;
mod near;
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

use std::{
    env, fmt,
    io::IsTerminal as _,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Result;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use jiff::Timestamp;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag::register_conditional_shutdown,
};
use tracing_subscriber::{
    EnvFilter,
    filter::Directive,
    fmt::{format::Writer, time::FormatTime},
};

use crate::{inert::Inert, when::When};

/// The audit log the kubelet never had: who did what on port 10250, and which permission let them.
#[derive(Debug, Parser)]
#[command(
    version,
    long_version = version::long(),
    about,
    arg_required_else_help = true,
    after_help = "\
Examples:
  sudo kubewitness doctor
  sudo kubewitness run --events /var/log/kubewitness/events.jsonl

Exit status: 0 fine, 1 failed, 2 wrong usage, 3 findings at or above --fail-on.
Each flag is also an environment variable: --metrics-listen is
KUBEWITNESS_METRICS_LISTEN; the help of a command names all of them."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is logged to stderr, such as info or kubewitness=debug
    ///
    /// `info` if not given, `warn` by watch.
    #[arg(long, global = true, hide_short_help = true, env = "KUBEWITNESS_LOG", value_name = "FILTER", value_parser = filter)]
    log: Option<EnvFilter>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the kubelet of this node: audit events, metrics, health
    Run(Box<run::Args>),
    /// Show requests while they come, or from event files
    #[cfg(target_os = "linux")]
    Watch(Box<watch::Args>),
    /// Tell what this node lacks, and how its kubelet would be watched
    Doctor(Box<doctor::Args>),
    /// Tell who used the kubelet's API by which right, and what to do
    Report(Box<report::Args>),
    /// Tell who may run commands through nodes/proxy
    Rbac(rbac::Args),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  kubewitness completions bash > /etc/bash_completion.d/kubewitness
  kubewitness completions zsh > \"${fpath[1]}/_kubewitness\"")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages, one for each command
    Man(man::Args),
}

impl Command {
    /// Whether it ends by itself when it is told to, and has something to put in order then.
    const fn heeds_signals(&self) -> bool {
        match self {
            Self::Run(_) => true,
            #[cfg(target_os = "linux")]
            Self::Watch(_) => true,
            _ => false,
        }
    }

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
    /// What was typed, by the name under which the program was started. Ends the process where that is wrong, or where help is wanted.
    pub fn typed() -> Self {
        let is_plugin = env::args_os().next().is_some_and(|program| plugin::is(&program));
        let whole = if is_plugin { plugin::command() } else { Self::command() };
        for sentence in near::misspelt(&Self::command(), env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
            eprintln!("kubewitness: {}", Inert(&sentence));
        }
        let command = if env::args_os().any(|argument| argument == "-h") { help::brief(whole) } else { whole };
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Ends the process for what no single flag of a command shows to be wrong.
    fn wrong(command: &str, problem: impl fmt::Display) -> ! {
        let mut whole = Self::command();
        whole.build();
        let error = whole.find_subcommand_mut(command).map(|command| command.error(ErrorKind::ArgumentConflict, &problem));
        error.unwrap_or_else(|| Self::command().error(ErrorKind::ArgumentConflict, &problem)).exit()
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
        if !self.command.heeds_signals() {
            end_at_once_as_process_1();
        }
        match self.command {
            Command::Run(args) => run::run(*args),
            #[cfg(target_os = "linux")]
            Command::Watch(args) => {
                if let Some(problem) = args.problem() {
                    Self::wrong("watch", problem);
                }
                watch::run(*args)
            }
            Command::Doctor(args) => doctor::run(&args),
            Command::Report(args) => {
                if let Some(problem) = args.problem() {
                    Self::wrong("report", problem);
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

/// What is logged. A bare word is a level, or else it would be taken for a module of which there is none, and nothing would be logged at all.
fn filter(text: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let is_bare = directive.chars().all(|character| character.is_ascii_alphabetic());
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        if is_bare && !is_level && directive != "kubewitness" {
            let meant = near::nearest(directive, LEVELS).map(|level| format!("; did you mean {level}?")).unwrap_or_default();
            return Err(format!("write one of {}, or kubewitness::MODULE=LEVEL{meant}", LEVELS.join(", ")));
        }
        directive.parse::<Directive>().map_err(|error| error.to_string())?;
    }
    text.parse().map_err(|error: tracing_subscriber::filter::ParseError| error.to_string())
}

/// What stands before a line of the log.
struct LogClock(When);

impl FormatTime for LogClock {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{}", self.0.live(Timestamp::now()))
    }
}

/// The kernel spares the first process of a container all signals that it does not handle, Ctrl-C among them. `run` and `watch` handle them themselves.
fn end_at_once_as_process_1() {
    if std::process::id() != 1 {
        return;
    }
    for signal in [SIGINT, SIGTERM] {
        // Without it the command works, and only ends by itself.
        let _registered = register_conditional_shutdown(signal, 128 + signal, Arc::new(AtomicBool::new(true)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_logs_nothing_is_a_mistake() {
        for good in ["info", "DEBUG", "kubewitness=debug", "warn,kubewitness::daemon=trace", "kubewitness", "off"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for (bad, says) in [("inof", "did you mean info?"), ("", "write one of off"), ("kubewitness=loud", "level"), ("info,=", "invalid")]
        {
            assert!(filter(bad).unwrap_err().contains(says), "{bad}: {:?}", filter(bad).unwrap_err());
        }
    }
}
