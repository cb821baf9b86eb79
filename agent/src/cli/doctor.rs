//! `kubewitness doctor`: what would be watched on this node, how, and what is in the way.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::ports::Ports;
use crate::{
    probe::Way,
    target::{
        ExecutableFile, Setting,
        doctor::{Finding, State, node},
        plan::{Plan, plan},
        settings,
    },
};

/// Tell how the kubelet of this node would be watched, and what is in the way
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  kubewitness doctor                                    this node
  kubewitness doctor --kubelet-file /usr/bin/kubelet    a file on disk: needs neither root nor eBPF
  kubewitness doctor -o json | jq '.kubelets[].plan.sites'

Exit status: 0 if everything is in place, 1 if not.")]
pub(super) struct Args {
    /// Plan this executable instead of looking at the node
    #[arg(long, env = "KUBEWITNESS_KUBELET_FILE", value_name = "FILE")]
    kubelet_file: Option<PathBuf>,
    /// Also look at this process; repeatable
    #[arg(long, env = "KUBEWITNESS_KUBELET_PID", value_name = "PID", value_delimiter = ',')]
    kubelet_pid: Vec<u32>,
    #[command(flatten)]
    ports: Ports,
    /// How to print it
    #[arg(short, long, env = "KUBEWITNESS_OUTPUT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// All that doctor tells.
#[derive(Serialize)]
struct Report {
    /// What must be in place on this node; empty for a file.
    preconditions: Vec<Finding>,
    /// How programs would be put on instructions; absent for a file, and where there is no way.
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<Way>,
    kubelets: Vec<Kubelet>,
}

#[derive(Serialize)]
struct Kubelet {
    /// Absent for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    /// How it is set up; empty for a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    settings: Vec<Setting>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_unknown: Option<String>,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let report = match &args.kubelet_file {
        Some(file) => {
            let executable = ExecutableFile::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            Report { preconditions: Vec::new(), attachment: None, kubelets: vec![Kubelet::new(None, file.clone(), &executable)] }
        }
        None => of_node(args),
    };
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("the report cannot be printed")?,
    }
    Ok(if report.fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_node(args: &Args) -> Report {
    let node = node(&args.ports.watched(), &args.kubelet_pid);
    let kubelets = node.listeners.iter().map(|pid| {
        let path = crate::target::executable(*pid);
        let file = std::fs::read_link(&path).unwrap_or_else(|_| path.clone());
        match ExecutableFile::open(&path) {
            Ok(executable) => Kubelet::new(Some(*pid), file, &executable),
            Err(error) => Kubelet { problem: Some(format!("cannot be read: {error}")), ..Kubelet::of(Some(*pid), file) },
        }
    });
    Report { kubelets: kubelets.collect(), preconditions: node.preconditions, attachment: node.attachment }
}

impl Kubelet {
    fn new(pid: Option<u32>, file: PathBuf, executable: &ExecutableFile) -> Self {
        let kubelet = Self::of(pid, file);
        match plan(executable) {
            Ok(plan) => Self { plan: Some(plan), ..kubelet }.with_settings(),
            Err(error) => Self { problem: Some(error.to_string()), ..kubelet },
        }
    }

    fn of(pid: Option<u32>, file: PathBuf) -> Self {
        Self { pid, file, plan: None, settings: Vec::new(), settings_unknown: None, problem: None }
    }

    /// A process tells how it is set up.
    fn with_settings(mut self) -> Self {
        let minor =
            self.plan.as_ref().and_then(|plan| plan.kubelet_version.as_deref()?.strip_prefix("v1.")?.split('.').next()?.parse().ok());
        match self.pid.map(|pid| settings(pid, minor)) {
            Some(Ok(settings)) => self.settings = settings,
            Some(Err(why)) => self.settings_unknown = Some(why),
            None => {}
        }
        self
    }
}

impl Kubelet {
    /// A line for each setting, and what to do about it.
    fn set_up(&self) -> String {
        let mut text = String::new();
        for setting in &self.settings {
            let _infallible = writeln!(text, "  {:<16} {}", setting.what, setting.value);
            if let Some(advice) = setting.advice {
                let _infallible = writeln!(text, "  {:<16} → {advice}", "");
            }
        }
        if let Some(why) = &self.settings_unknown {
            let _infallible = writeln!(text, "  how it is set up is unknown: {why}");
        }
        text
    }
}

impl Report {
    fn fine(&self) -> bool {
        self.preconditions.iter().all(|finding| finding.state != State::Missing)
            && !self.kubelets.is_empty()
            && self.kubelets.iter().any(|kubelet| kubelet.plan.is_some())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.preconditions {
            let mark = match finding.state {
                State::Ok => "ok  ",
                State::Unknown => "?   ",
                State::Missing => "FAIL",
            };
            let _infallible = writeln!(text, "{mark}  {:<16} {}", finding.what, finding.detail);
            if let Some(advice) = &finding.advice {
                let _infallible = writeln!(text, "      {:<16} → {advice}", "");
            }
        }
        for kubelet in &self.kubelets {
            let pid = kubelet.pid.map(|pid| format!("process {pid}, ")).unwrap_or_default();
            let _infallible = writeln!(text, "\nkubelet: {pid}{}", kubelet.file.display());
            match (&kubelet.plan, &kubelet.problem) {
                (Some(plan), _) => {
                    text += &kubelet.set_up();
                    for line in plan.to_string().lines() {
                        let _infallible = writeln!(text, "{}", format!("  {line}").trim_end());
                    }
                }
                (None, problem) => {
                    let _infallible = writeln!(text, "  FAIL  {}", problem.as_deref().unwrap_or("no plan"));
                }
            }
        }
        text
    }
}
