//! `kubewitness doctor` on a system where no kubelet is: what `report` and `rbac` need, and the plan of a kubelet's file.

use std::{
    env::consts::OS,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use tokio::runtime::Builder;

use super::{
    cluster::ClusterArgs,
    output::{colours, columns, print},
    progress::Waiting,
};
use crate::{
    doctor::{Finding, Group, State, cluster, text::Style},
    report::text::Paint,
    target::{
        ExecutableFile,
        plan::{Plan, plan},
    },
};

/// Tell whether a cluster lets `report` and `rbac` read what they need, and how a kubelet would be watched
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  kubewitness doctor                             the cluster of the current kubeconfig context
  kubewitness doctor --kubelet-file kubelet      the kubelet of a Linux node, as a file

Exit status: 0 if nothing is in the way, 1 if something is.")]
pub(super) struct Args {
    /// Plan this executable instead of asking a cluster
    #[arg(long, env = "KUBEWITNESS_KUBELET_FILE", value_name = "FILE")]
    kubelet_file: Option<PathBuf>,
    /// Say what exactly to set where something is in the way
    #[arg(long, env = "KUBEWITNESS_FIX_HINTS")]
    fix_hints: bool,
    /// How to print it
    #[arg(short, long, env = "KUBEWITNESS_OUTPUT", default_value = "text")]
    output: Output,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// All that doctor tells.
#[derive(Serialize)]
struct Report {
    preconditions: Vec<Finding>,
    /// Of the file that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let report = match &args.kubelet_file {
        Some(file) => of_file(file)?,
        None => of_cluster(args)?,
    };
    print(&match args.output {
        Output::Text => {
            let paint = if colours() { Paint::Colour } else { Paint::Plain };
            report.text(Style { width: columns().unwrap_or(100).clamp(60, 140), paint, fixes: args.fix_hints })
        }
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    })?;
    let fine = report.preconditions.iter().all(|finding| finding.state != State::Fail);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_file(file: &Path) -> Result<Report> {
    let executable = ExecutableFile::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(match plan(&executable) {
        Ok(plan) => Report {
            preconditions: vec![Finding::ok(Group::Kubelet, "plan", "it can be watched where its architecture's agent runs")],
            plan: Some(plan),
        },
        Err(error) => {
            let advice = "name a kubelet's executable; of one that is, tell its version";
            Report { preconditions: vec![Finding::fail(Group::Kubelet, "plan", error.to_string(), advice)], plan: None }
        }
    })
}

fn of_cluster(args: &Args) -> Result<Report> {
    let waiting = Waiting::spinning("asking the API server");
    let runtime = Builder::new_current_thread().enable_all().build().context("no connections can be made")?;
    let wanted = cluster::Wanted { connect: args.cluster.options(), features: vec![cluster::Feature::Commands] };
    let mut preconditions = vec![Finding::off(
        Group::Node,
        "run",
        format!("this is {OS}, and kubelets are on Linux: `report` and `rbac` work here, `run` on a node"),
    )];
    preconditions.extend(runtime.block_on(cluster::look(&wanted)));
    drop(waiting);
    Ok(Report { preconditions, plan: None })
}

impl Report {
    fn text(&self, style: Style) -> String {
        let plan = self.plan.as_ref().map(|plan| format!("\n{plan}")).unwrap_or_default();
        let findings: Vec<&Finding> = self.preconditions.iter().collect();
        style.findings(&self.preconditions) + plan.trim_end() + "\n" + &style.summary(&findings)
    }
}
