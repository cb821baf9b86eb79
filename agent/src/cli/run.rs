//! `kubewitness run`: the daemon.

use std::path::PathBuf;

use clap::Parser;

/// The kubelet's ports.
#[derive(Clone, Copy, Debug, Parser)]
pub(super) struct Ports {
    /// The kubelet's port
    #[arg(long, env = "KUBEWITNESS_KUBELET_PORT", default_value_t = 10250, value_name = "PORT")]
    kubelet_port: u16,
    /// The kubelet's read-only port, where one is open
    #[arg(long, env = "KUBEWITNESS_READ_ONLY_PORT", default_value_t = 10255, value_name = "PORT")]
    read_only_port: u16,
}

impl Ports {
    pub(super) fn watched(self) -> [u16; 2] {
        [self.kubelet_port, self.read_only_port]
    }
}

#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(flatten)]
    ports: Ports,
    #[arg(long)]
    kubelet_pid: Vec<u32>,
}

pub(super) fn run(args: Args) -> anyhow::Result<std::process::ExitCode> {
    let options = crate::daemon::Options { port: args.ports.kubelet_port, read_only_port: args.ports.read_only_port, pids: args.kubelet_pid, pod_logs: PathBuf::from("/var/log/pods"), policy: crate::judge::Policy::new("node1") };
    let mut d = crate::daemon::Daemon::start(options, |n| println!("{n:#?}"))?;
    let (r, _w) = rustix::pipe::pipe()?;
    d.run(std::os::fd::AsFd::as_fd(&r))?;
    Ok(std::process::ExitCode::SUCCESS)
}
