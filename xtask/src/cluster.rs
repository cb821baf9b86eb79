//! `cargo xtask cluster`: a real one-node cluster to try things on, see [`kubewitness_tests::cluster`].

use std::path::PathBuf;
use std::process::exit;
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use kubewitness_tests::build::Release;
use kubewitness_tests::cluster::{Cluster, Options, names};

const USAGE: &str = "\
usage: cargo xtask cluster [--name NAME] COMMAND

  up [--controllers] [--kubelet VERSION] [--kubelet-config JSON] [--with FILE]…
                 builds what is not built yet and starts the cluster
  status         shows this cluster, or without --name all clusters
  down [--all]   ends it and removes everything of it
  kubectl ARGS…  runs kubectl on it, with kubectl's exit status

--name is `default` where it is not given; clusters with different names run side by side.
--controllers brings a whole cluster: controller manager, scheduler, kube-proxy, a network for pods; DaemonSets run then.
--kubelet is 1.36 (the default), another minor release, or a build by its full name; --with puts a static executable into the pod's /bin.

examples: cargo xtask cluster up
          cargo xtask cluster kubectl exec web -- id
          cargo xtask cluster --name old up --kubelet 1.30 --kubelet-config '{\"readOnlyPort\": 10255}'";

/// Runs `cargo xtask cluster` with the arguments after `cluster`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let (name, args) = match args {
        [flag, name, rest @ ..] if flag == "--name" => (Some(name.as_str()), rest),
        _ => (None, args),
    };
    let Some((command, rest)) = args.split_first() else { bail!("{USAGE}") };
    let default = name.unwrap_or("default");
    match (command.as_str(), rest) {
        ("up", rest) => up(default, rest),
        ("status", []) => {
            status(name);
            Ok(())
        }
        ("down", []) => down(&[default.to_owned()]),
        ("down", [all]) if all == "--all" => down(&names()),
        ("kubectl", arguments) => kubectl(default, arguments),
        ("help" | "--help" | "-h", _) => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

fn up(name: &str, arguments: &[String]) -> Result<()> {
    if let Ok(cluster) = Cluster::open(name) {
        println!("it is already up\n{}", cluster.status());
        return Ok(());
    }
    let cluster = Cluster::up(&options(name, arguments)?)?;
    println!("{}", cluster.status());
    Ok(())
}

fn options(name: &str, arguments: &[String]) -> Result<Options> {
    let mut options = Options::named(name);
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        if flag == "--controllers" {
            options.controllers = true;
            continue;
        }
        let Some(value) = arguments.next() else { bail!("{USAGE}") };
        match flag.as_str() {
            "--kubelet" => options.kubelet = Release::from_str(value).map_err(anyhow::Error::msg)?,
            "--kubelet-config" => {
                options.kubelet_config = serde_json::from_str(value).with_context(|| format!("--kubelet-config {value} is not JSON"))?;
            }
            "--with" => options.image_files.push(PathBuf::from(value)),
            _ => bail!("{USAGE}"),
        }
    }
    Ok(options)
}

fn status(name: Option<&str>) {
    let names = name.map_or_else(names, |name| vec![name.to_owned()]);
    if names.is_empty() {
        println!("no cluster is up: start one with `cargo xtask cluster up`");
    }
    let tables = names.iter().map(|name| match Cluster::open(name) {
        Ok(cluster) => cluster.status(),
        Err(_) => format!(
            "cluster      {name}\nstate        not up, or not whole: `cargo xtask cluster --name {name} down` removes what is left of it"
        ),
    });
    println!("{}", tables.collect::<Vec<_>>().join("\n\n"));
}

fn down(names: &[String]) -> Result<()> {
    for name in names {
        Cluster::down(name)?;
        println!("the cluster {name} is down");
    }
    Ok(())
}

/// Ends this process with kubectl's own exit status.
fn kubectl(name: &str, arguments: &[String]) -> Result<()> {
    let status = Cluster::open(name)?.kubectl(arguments).status().context("kubectl could not be started")?;
    exit(status.code().unwrap_or(1))
}
