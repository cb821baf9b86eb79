//! `kubewitness rbac`: who may run commands through `nodes/proxy`, before anybody does.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use super::{
    cluster::{ApiServerArgs, ClusterArgs},
    output::{FailOn, colours, print},
    progress::read_manifests,
};
use crate::{
    check::{Policy, Report},
    inert::Inert,
    manifest::Objects,
};

/// Tell who may run commands through nodes/proxy: in manifests, or in a cluster
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  kubewitness rbac                                            the cluster of the current kubeconfig context
  helm template my-chart | kubewitness rbac -                 what a chart would give
  kubewitness rbac --fail-on critical deploy/ rbac.yaml       in CI: exit status 3 if there is something
  kubewitness rbac -o sarif deploy/ > rbac.sarif              for code scanning
  kubewitness rbac --allow ServiceAccount:monitoring/agent    one that is known and wanted

Exit status: 0 fine, 1 if something could not be read, 2 wrong usage, 3 findings at or above --fail-on.")]
pub(super) struct Args {
    /// Manifests: files, directories, or - for standard input; without any, the cluster is asked
    #[arg(env = "KUBEWITNESS_MANIFESTS", value_name = "PATH", value_delimiter = ',')]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Somebody who may have it: ServiceAccount:NAMESPACE/NAME, User:NAME, Group:NAME, ClusterRole:NAME or a username; repeatable
    #[arg(long, env = "KUBEWITNESS_ALLOW", value_name = "SUBJECT", value_delimiter = ',')]
    allow: Vec<String>,
    #[command(flatten)]
    api_server: ApiServerArgs,
    /// Exit with 3 if there is a finding of this severity or a graver one
    #[arg(long, env = "KUBEWITNESS_FAIL_ON", default_value = "none", value_name = "SEVERITY")]
    fail_on: FailOn,
    /// How to print it
    #[arg(short, long, env = "KUBEWITNESS_OUTPUT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
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
        eprintln!("kubewitness: --allow {} is about nobody: take it out, or write it as `who` in -o json", Inert(name));
    }
    print(&match args.output {
        Output::Text => report.text(colours()),
        Output::Json => report.json()?,
        Output::Sarif => report.sarif()?,
    })?;
    let status = args.fail_on.status(report.gravest());
    Ok(if broken { ExitCode::FAILURE } else { status })
}
