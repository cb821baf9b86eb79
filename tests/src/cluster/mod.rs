//! A real one-node Kubernetes cluster in its own network namespace, and the helpers that tests and the demo need on it.
//!
//! Several clusters run side by side. Each has, by its name: the network namespace `kw-NAME` with the node's address on its
//! `lo`, the cgroup `kw-NAME` for its pods, and the folder `STATE/NAME` (`STATE` is `$KUBEWITNESS_STATE`, or
//! `/var/lib/kubewitness-testbed`) for keys, configuration, logs, images and everything the programs write. So [`Cluster::down`]
//! removes one cluster and touches nothing of another, and it works just as well on what an interrupted run left. Namespaces and
//! cgroups are the machine's: a name means the same cluster to everybody on it, whatever `STATE` is, so tests choose names that
//! nobody else has.
//!
//! A kubelet sets `vm.overcommit_memory`, `kernel.panic` and `kernel.panic_on_oops` of the whole machine; that stays, as on any node.

mod access;
mod cgroups;
mod config;
mod controllers;
mod down;
mod image;
mod layout;
mod network;
mod pki;
mod process;
mod residue;
mod up;

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::build::{BuildError, KubernetesProgram, Release};
use crate::host::HostError;

pub use access::Token;
pub use config::IMAGE;
use layout::Layout;
pub use layout::names;

/// Name of the cluster's one node.
pub const NODE: &str = "node1";
/// Name of the pod in the namespace `default` that every cluster has from the start.
pub const POD: &str = "web";
/// Name of that pod's container, which prints `tick` each second.
pub const CONTAINER: &str = "main";

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Lower-case letters, digits and dashes, at most 20. Clusters with different names run side by side.
    pub name: String,
    /// The kubelet. One that is newer than the API server, or more than three releases older, is not supported upstream;
    /// 1.30.14 and 1.37.2 were both seen to work with an API server 1.36.3.
    pub kubelet: Release,
    /// The API server.
    pub api_server: Release,
    /// A `KubeletConfiguration` in JSON that is merged over the testbed's own: `{"readOnlyPort": 10255}`.
    pub kubelet_config: serde_json::Value,
    /// Static executables that are put into `/bin` of the pod image under their file names, to run clients inside a pod.
    pub image_files: Vec<PathBuf>,
    /// Whether the cluster is a whole one: controllers that make `ServiceAccounts` and pods, a scheduler, a network for pods (with which
    /// the node is Ready) and `kube-proxy`, so that a `DaemonSet` runs and reaches the API server as it does anywhere. Without them only
    /// pods run that name their node and use its network, and the cluster is there sooner.
    pub controllers: bool,
}

impl Options {
    /// A cluster of this name with Kubernetes 1.36.3 and the testbed's own configuration.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kubelet: Release::V1_36,
            api_server: Release::V1_36,
            kubelet_config: serde_json::json!({}),
            image_files: Vec::new(),
            controllers: false,
        }
    }
}

/// Why something about a cluster failed. Each message says what, on what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The name cannot be part of a namespace, a cgroup and a socket path.
    #[error("{0:?} cannot name a cluster: use 1 to 20 lower-case letters, digits and dashes")]
    Name(String),
    /// `up` of a cluster that is up.
    #[error("the cluster {0} is already up: use it, or take it down first with `cargo xtask cluster --name {0} down`")]
    AlreadyUp(String),
    /// A cluster that is not up was asked for.
    #[error("no cluster {0} is up: start it with `cargo xtask cluster --name {0} up`")]
    NotUp(String),
    /// All addresses 192.168.1.1 to 192.168.254.1 are taken.
    #[error("254 clusters are recorded in {0}: take some down")]
    NoAddress(PathBuf),
    /// Something of the machine is missing.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A program could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A file could not be read or written.
    #[error("{path}: {source}; the testbed's folder must be writable and on a disk with space, see KUBEWITNESS_STATE")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A command ended badly or could not be started.
    #[error("`{command}` failed: {message}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        message: String,
    },
    /// Keys or certificates could not be made.
    #[error("certificates could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A program of the cluster ended, or did not become ready in time.
    #[error("{what}; the end of {program}'s log:\n{log}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// The program that should have done it.
        program: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// `down` could not remove everything.
    #[error(
        "after 20 s of trying this is left of the cluster {name}: {left}; see what holds it and run `cargo xtask cluster --name {name} down` again"
    )]
    Left {
        /// The cluster.
        name: String,
        /// Processes, mounts or cgroups.
        left: String,
    },
}

/// A cluster that is up. Dropping the value leaves it up; [`Cluster::down`] ends it.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    address: Ipv4Addr,
    kubelet: Release,
    api_server: Release,
    controllers: bool,
}

impl Cluster {
    /// Builds what is not built yet, removes what an interrupted run of this name left, and starts a cluster. It is ready when
    /// this returns: the node is registered and the pod `default/web` runs. Where it fails, nothing is left.
    pub fn up(options: &Options) -> Result<Self, ClusterError> {
        up::up(options)
    }

    /// Puts in place what a cluster like this is made of: the machine's programs, and those that are built. [`Self::up`] does it too.
    pub fn prepare(options: &Options) -> Result<(), ClusterError> {
        up::prepare(options).map(drop)
    }

    /// The cluster of this name, if it is up and whole.
    pub fn open(name: &str) -> Result<Self, ClusterError> {
        up::open(name)
    }

    /// Ends the cluster of this name and removes everything of it. Does nothing where there is nothing.
    pub fn down(name: &str) -> Result<(), ClusterError> {
        down::down(&Layout::new(name)?)
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        self.layout.name()
    }

    /// The node's address; the kubelet listens there on port 10250. Reachable only inside [`Self::network_namespace`].
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The kubelet's release.
    pub fn release(&self) -> Release {
        self.kubelet
    }

    /// Where everything of the cluster is; it goes with the cluster.
    pub fn folder(&self) -> &Path {
        self.layout.folder()
    }

    /// The process ids, on this machine, of all that runs in the pod with this UID.
    pub fn processes_of_pod(&self, uid: &str) -> Vec<u32> {
        cgroups::processes_of_pod(&self.layout.label(), uid)
    }

    /// The network namespace as a file, for `nsenter --net=` and `setns`.
    pub fn network_namespace(&self) -> PathBuf {
        self.layout.network_namespace()
    }

    /// The inode of the network namespace, as `/proc/PID/ns/net` and the kernel's `net.ns.inum` show it.
    pub fn network_namespace_inode(&self) -> Result<u32, ClusterError> {
        let path = self.network_namespace();
        let inode = std::fs::metadata(&path).map_err(at(&path))?.ino();
        u32::try_from(inode).map_err(|error| at(&path)(io::Error::other(error)))
    }

    /// The process id of the kubelet, while it runs.
    pub fn kubelet_pid(&self) -> Option<u32> {
        self.pid("kubelet")
    }

    /// The process id of one of the programs that have a [`Self::log`], while it runs.
    pub fn pid(&self, program: &str) -> Option<u32> {
        process::recorded(&self.layout, program).map(process::Identity::pid)
    }

    /// The executable that the kubelet runs from.
    pub fn kubelet_binary(&self) -> PathBuf {
        self.kubelet.program(KubernetesProgram::Kubelet).path()
    }

    /// The API server's audit log, JSON lines at level Metadata.
    pub fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }

    /// The kubelet's `podLogsDir`, whose entries name the pods.
    pub fn pod_logs(&self) -> PathBuf {
        self.layout.path("pod-logs")
    }

    /// The certificate of the CA that signed the API server's and the kubelet's certificates.
    pub fn ca(&self) -> PathBuf {
        self.layout.certificate("ca")
    }

    /// The certificate and key with which the API server calls the kubelet: `CN=kube-apiserver-kubelet-client`.
    pub fn kubelet_client(&self) -> (PathBuf, PathBuf) {
        (self.layout.certificate("kubelet-client"), self.layout.key("kubelet-client"))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The log of one of `etcd`, `kube-apiserver`, `containerd`, `kubelet`, and with controllers `kube-controller-manager`,
    /// `kube-scheduler`, `kube-proxy`.
    pub fn log(&self, program: &str) -> PathBuf {
        self.layout.log(program)
    }

    /// Makes the images of an OCI archive known to the node; pods use them by the names in the archive.
    pub fn load_images(&self, archive: &Path) -> Result<(), ClusterError> {
        up::load_images(&self.layout, archive)
    }

    /// A command that will run in the cluster's network namespace. It keeps its pid: `nsenter` becomes the program.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        network::inside(&self.layout, program.as_ref())
    }

    /// A `kubectl` with the administrator's rights.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(self.api_server.program(KubernetesProgram::Kubectl).path());
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        command
    }

    /// Ends the kubelet with SIGTERM and starts it again from the same file. Pods keep running. Returns when the
    /// new one runs a command in `default/web` again, which is asked with `kubectl exec` until it works.
    pub fn restart_kubelet(&self) -> Result<(), ClusterError> {
        up::restart_kubelet(self)
    }

    /// Ends the kubelet with SIGTERM, for good: [`Self::restart_kubelet`] starts another.
    pub fn end_kubelet(&self) -> Result<(), ClusterError> {
        up::end_kubelet(self)
    }

    /// Ends the kubelet with SIGTERM and starts it again with another configuration: `config` is merged over the testbed's own, as in
    /// [`Options::kubelet_config`], and `arguments` are put behind its command line's. Returns when it listens; it knows its pods
    /// after [`Self::await_pods`]. [`Self::restart_kubelet`] keeps the configuration and drops the arguments.
    pub fn reconfigure_kubelet(&self, config: &serde_json::Value, arguments: &[&str]) -> Result<(), ClusterError> {
        up::reconfigure_kubelet(self, config, arguments)
    }

    /// Waits until the kubelet runs a command in `default/web`, which is asked with `kubectl exec` until it works: a kubelet listens before it
    /// has read which pods it has from the API server.
    pub fn await_pods(&self) -> Result<(), ClusterError> {
        up::await_pods(self)
    }

    /// Starts a kubelet where there is none, from the cluster's own file; returns as soon as it listens, which is before it knows its pods.
    pub fn start_kubelet(&self) -> Result<(), ClusterError> {
        up::start_kubelet(self, &[])
    }

    /// Ends the API server without a warning, as a crash does. [`Self::start_api_server`] starts it again.
    pub fn kill_api_server(&self) -> Result<(), ClusterError> {
        up::kill_api_server(self)
    }

    /// Starts the API server again, on the same data, and returns when it is ready.
    pub fn start_api_server(&self) -> Result<(), ClusterError> {
        up::start_api_server(self)
    }

    /// Stops the API server where it is: connections stay, and nothing answers. [`Self::resume_api_server`] lets it go on.
    pub fn pause_api_server(&self) {
        self.signal_api_server(Signal::STOP);
    }

    /// Lets a paused API server go on.
    pub fn resume_api_server(&self) {
        self.signal_api_server(Signal::CONT);
    }

    /// The programs that this cluster consists of.
    fn programs(&self) -> impl Iterator<Item = &'static str> {
        layout::PROGRAMS.into_iter().chain(layout::CONTROLLERS.into_iter().filter(|_| self.controllers))
    }

    fn signal_api_server(&self, signal: Signal) {
        if let Some(server) = process::recorded(&self.layout, "kube-apiserver") {
            server.signal(signal);
        }
    }

    /// What runs, as a table for people.
    pub fn status(&self) -> String {
        let mut lines = vec![
            format!("cluster      {}", self.name()),
            format!("kubelet      {} at https://{}:10250", self.kubelet.version(), self.address),
            format!("API server   {} at https://{}:6443", self.api_server.version(), self.address),
            format!("namespace    {}", self.network_namespace().display()),
            format!("kubeconfig   {}", self.kubeconfig().display()),
            format!("audit log    {}", self.audit_log().display()),
        ];
        for program in self.programs() {
            let state = process::recorded(&self.layout, program).map_or("not running".to_owned(), |it| format!("pid {}", it.pid()));
            lines.push(format!("{program:<25}{state}, log {}", self.log(program).display()));
        }
        lines.join("\n")
    }
}

/// Runs a command to its end; an error holds what it wrote to stderr.
fn run(command: &mut Command) -> Result<Output, ClusterError> {
    let message = match command.output() {
        Ok(output) if output.status.success() => return Ok(output),
        Ok(output) => format!("{}, {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => error.to_string(),
    };
    Err(ClusterError::Command { command: format!("{command:?}").replace('"', ""), message })
}

fn at(path: &Path) -> impl Fn(io::Error) -> ClusterError + '_ {
    |source| ClusterError::File { path: path.to_path_buf(), source }
}
