//! `kubewitness doctor`: what would be watched on this node, how, and what is in the way.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Arg, Parser, ValueEnum};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::{
    output::{colours, columns, print},
    progress::Waiting,
};
use crate::doctor::{machine, outputs};
use crate::{
    doctor::{Finding, Kubelet, State, cluster, text::Style},
    report::text::{Paint, layout::paragraph},
};

/// Tell what this node lacks for `run`, how its kubelet would be watched, and how it is set up
#[derive(Debug, Parser)]
#[group(skip)]
#[command(
    after_help = "\
It takes all flags of run, and looks at what run would need with them.

Examples:
  sudo kubewitness doctor --fix-hints
  kubewitness doctor --kubelet-file /usr/bin/kubelet",
    after_long_help = "\
Examples:
  # this node, for run as it is without flags; and what exactly to set
  sudo kubewitness doctor
  sudo kubewitness doctor --fix-hints

  # for run with these flags: it takes all of them
  sudo kubewitness doctor --events /var/log/kubewitness/events.jsonl --rbac off

  # a file on disk: needs neither root nor eBPF
  kubewitness doctor --kubelet-file /usr/bin/kubelet

  # for programs
  kubewitness doctor -o json | jq '.preconditions[] | select(.state != \"ok\")'

Exit status: 0 if nothing is in the way, 1 if something is.",
    mut_args(as_for_run)
)]
pub(super) struct Args {
    /// Plan this executable instead of looking at the node
    #[arg(long, env = "KUBEWITNESS_KUBELET_FILE", value_name = "FILE")]
    kubelet_file: Option<PathBuf>,
    /// Say what exactly to set where something is in the way or off
    #[arg(long, env = "KUBEWITNESS_FIX_HINTS")]
    fix_hints: bool,
    /// How to print it
    #[arg(short, long, env = "KUBEWITNESS_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    #[command(flatten)]
    run: super::run::Args,
}

/// The flags of `run` are shown in the long help alone.
fn as_for_run(flag: Arg) -> Arg {
    let own = ["kubelet_file", "fix_hints", "output"];
    if own.contains(&flag.get_id().as_str()) { flag } else { flag.hide_short_help(true) }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// All that doctor tells.
#[derive(Default, Serialize)]
struct Report {
    /// What must be in place on this node; empty for a file.
    preconditions: Vec<Finding>,
    /// How programs would be put on instructions; absent for a file, and where there is no way.
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<crate::probe::Way>,
    kubelets: Vec<Kubelet>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let report = match &args.kubelet_file {
        Some(file) => {
            let kubelet = Kubelet::of_file(file).with_context(|| format!("cannot read {}, name the file of a kubelet", file.display()))?;
            Report { kubelets: vec![kubelet], ..Report::default() }
        }
        None => look(args)?,
    };
    print(&match args.output {
        Output::Text => {
            let paint = if colours() { Paint::Colour } else { Paint::Plain };
            report.text(Style { width: columns().map_or(usize::MAX, |columns| columns.clamp(60, 140)), paint, fixes: args.fix_hints })
        }
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    Ok(if report.fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at this node, and at what `run` would talk to.
fn look(args: &Args) -> Result<Report> {
    let waiting = Waiting::spinning("looking at this node and at what it talks to");
    let mut machine = machine::look(&args.run.of_machine());
    let (wanted, of_outputs) = (args.run.of_cluster(), args.run.of_outputs());
    let (of_cluster, of_outputs) = asking()?.block_on(async { tokio::join!(cluster::look(&wanted), outputs::look(&of_outputs)) });
    drop(waiting);
    if let (Some(told), [kubelet]) = (of_outputs.gate, machine.kubelets.as_mut_slice()) {
        kubelet.finer_rights(told);
    }
    let mut preconditions = machine.findings;
    preconditions.extend(of_cluster);
    preconditions.extend(cluster::not_wanted(&wanted.features));
    preconditions.extend(of_outputs.findings);
    Ok(Report { preconditions, attachment: machine.attachment, kubelets: machine.kubelets })
}

fn asking() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("no connections can be made")
}

impl Report {
    fn findings(&self) -> Vec<&Finding> {
        self.preconditions.iter().chain(self.kubelets.iter().flat_map(|kubelet| &kubelet.findings)).collect()
    }

    /// Of several kubelets one is enough: others may be programs that only use its port.
    fn fine(&self) -> bool {
        let planned = self.kubelets.is_empty() || self.kubelets.iter().any(|kubelet| kubelet.plan.is_some());
        planned && self.preconditions.iter().all(|finding| finding.state != State::Fail)
    }

    fn text(&self, style: Style) -> String {
        let mut text = style.findings(&self.preconditions);
        for kubelet in &self.kubelets {
            let pid = kubelet.pid.map(|pid| format!("process {pid}, ")).unwrap_or_default();
            let gap = if text.is_empty() { "" } else { "\n" };
            let title = format!("Kubelet: {pid}{}", kubelet.file.display());
            let _infallible = writeln!(text, "{gap}{}", style.paint.heading(&crate::inert::Inert(&title).to_string()));
            kubelet.findings.iter().for_each(|finding| text += &style.finding(finding));
            if let Some(plan) = &kubelet.plan {
                text.push('\n');
                for line in plan.to_string().lines() {
                    let indent = 2 + line.len() - line.trim_start().len();
                    for line in paragraph(line, indent, 2, style.width) {
                        let _infallible = writeln!(text, "{}", line.trim_end());
                    }
                }
            }
        }
        text + "\n" + &style.summary(&self.findings())
    }
}
