//! `kubewitness rbac`: who may run commands through `nodes/proxy`, before anybody does.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use super::{
    cluster::{ApiServerArgs, ClusterArgs},
    near::nearest,
    output::{FailOn, colours, print},
    progress::read_manifests,
};
use crate::{
    check::{Finding, Policy, Report},
    inert::Inert,
    manifest::Objects,
};

/// Tell who may run commands through nodes/proxy: in manifests, or in a cluster
#[derive(Debug, Parser)]
#[command(
    after_help = "\
Examples:
  helm template my-chart | kubewitness rbac --fail-on critical -
  kubewitness rbac --kubeconfig FILE",
    after_long_help = "\
Examples:
  # the cluster of the current kubeconfig context
  kubewitness rbac

  # what a chart would give
  helm template my-chart | kubewitness rbac -

  # in CI: exit status 3 if there is something; for code scanning
  kubewitness rbac --fail-on critical deploy/ rbac.yaml
  kubewitness rbac -o sarif deploy/ > rbac.sarif

  # one that is known and wanted
  kubewitness rbac --allow ServiceAccount:monitoring/agent

Exit status: 0 fine, 1 if something could not be read, 2 wrong usage, 3 findings
at or above --fail-on."
)]
pub(super) struct Args {
    /// Manifests: files, directories, or - for standard input
    ///
    /// Without any, the cluster is asked.
    #[arg(env = "KUBEWITNESS_MANIFESTS", value_name = "PATH", value_delimiter = ',')]
    paths: Vec<PathBuf>,
    /// How to print it
    #[arg(short, long, env = "KUBEWITNESS_OUTPUT", default_value = "text", value_name = "FORM")]
    output: Output,
    /// Exit with 3 if there is a finding as grave or graver
    #[arg(long, env = "KUBEWITNESS_FAIL_ON", default_value = "none", value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Somebody who may have it; repeatable
    ///
    /// ServiceAccount:NAMESPACE/NAME, User:NAME, Group:NAME, ClusterRole:NAME or a username.
    #[arg(long, env = "KUBEWITNESS_ALLOW", value_name = "SUBJECT", value_delimiter = ',')]
    allow: Vec<String>,
    #[command(flatten, next_help_heading = "Cluster")]
    cluster: ClusterArgs,
    #[command(flatten, next_help_heading = "Cluster")]
    api_server: ApiServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code scanning
    Sarif,
}

pub(super) fn run(args: Args) -> Result<ExitCode> {
    let policy = Policy { api_server_users: args.api_server.apiserver_user, allow: args.allow };
    let (report, broken) = if args.paths.is_empty() {
        let objects = Objects { snapshot: args.cluster.load()?.snapshot, ..Objects::default() };
        (Report::new(&objects, None, &policy), false)
    } else {
        let manifests = read_manifests(&args.paths)?;
        for problem in &manifests.problems {
            eprintln!("kubewitness: {}", Inert(&problem.to_string()));
        }
        let broken = !manifests.problems.is_empty();
        (Report::new(&manifests.objects(), Some(manifests), &policy), broken)
    };
    for name in &report.needless {
        let whos: Vec<String> = report.findings.iter().map(Finding::who).collect();
        let meant = nearest(name, whos.iter().map(String::as_str)).map(|who| format!(" (did you mean {who}?)")).unwrap_or_default();
        let sentence = format!("--allow {name} is about nobody{meant}: take it out, or write it as `who` in -o json");
        eprintln!("kubewitness: {}", Inert(&sentence));
    }
    print(&match args.output {
        Output::Text => report.text(colours()),
        Output::Json => report.json()?,
        Output::Sarif => report.sarif()?,
    })?;
    let status = args.fail_on.status(report.gravest());
    Ok(if broken { ExitCode::FAILURE } else { status })
}
