//! The chart on a cluster, as people install it: with helm, from an image that the node has.

use std::{
    env, fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    agent::{AgentError, output_of},
    build::{BuildError, helm},
    call::Call,
    cluster::{Cluster, ClusterError, Token},
};

/// Name of the release and of its namespace.
pub const NAME: &str = "kubewitness";

/// The port of the agent's pages, the chart's default.
const PORT: u16 = 9464;

/// The chart in this repository.
pub fn folder() -> PathBuf {
    repository().join("deploy/helm/kubewitness")
}

/// The rendered manifests in this repository.
pub fn manifests() -> PathBuf {
    repository().join("deploy/manifests")
}

/// The image, `target/image/kubewitness.tar` as `cargo xtask image` leaves it; `KUBEWITNESS_IMAGE` names another.
pub fn image() -> PathBuf {
    env::var_os("KUBEWITNESS_IMAGE").map_or_else(|| repository().join("target/image/kubewitness.tar"), PathBuf::from)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the chart has to be told on the testbed. The node is a network namespace of this machine and process 1 is in another one: on a node
/// of one's own the agent finds the kubelet by process 1's namespace, here it is told which process it is. Its events hold what was run.
pub fn values(cluster: &Cluster) -> Value {
    let kubelet = cluster.kubelet_pid().map(|pid| format!("--kubelet-pid={pid}"));
    json!({
        "podLogsDir": cluster.pod_logs(),
        "extraArgs": kubelet.into_iter().collect::<Vec<_>>(),
        "events": {"commands": "full"},
    })
}

/// The token of somebody who may read the metrics, as one lets one's Prometheus do it.
pub fn reader(cluster: &Cluster) -> Result<Token, ClusterError> {
    const READER: &str = "prometheus";
    let group = "rbac.authorization.k8s.io";
    cluster.service_account(READER)?;
    let binding = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": {"name": READER},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": format!("{NAME}-metrics-reader")},
        "subjects": [{"kind": "ServiceAccount", "name": READER, "namespace": "default"}],
    });
    cluster.apply(&binding.to_string())?;
    cluster.token(READER, None)
}

/// Why something about the release failed.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// helm could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Something about the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// helm or kubectl said no.
    #[error(transparent)]
    Command(#[from] AgentError),
    /// A file could not be written.
    #[error("{path}: {source}; the cluster's folder must be writable")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What kubectl told was not understood, or is not there.
    #[error("{0}")]
    Missing(String),
}

/// helm on one cluster. What it remembers is in the cluster's folder and goes with it.
#[derive(Debug)]
pub struct Helm<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
    folder: PathBuf,
}

/// A pod of the agent, and its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    /// The pod's name.
    pub name: String,
    /// Its address; the node's own where it uses the node's network.
    pub address: Ipv4Addr,
    /// Its UID.
    pub uid: String,
    /// The process id of the agent on this machine.
    pub pid: u32,
}

impl<'a> Helm<'a> {
    /// Builds helm if it is not there.
    pub fn new(cluster: &'a Cluster) -> Result<Self, ChartError> {
        let folder = cluster.folder().join("helm");
        fs::create_dir_all(&folder).map_err(|source| ChartError::File { path: folder.clone(), source })?;
        Ok(Self { cluster, program: helm().build()?, folder })
    }

    /// helm with these arguments, as the cluster's administrator.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.cluster.command(&self.program);
        command.env("KUBECONFIG", self.cluster.kubeconfig()).args(arguments);
        for (variable, below) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")] {
            command.env(variable, self.folder.join(below));
        }
        command
    }

    /// Installs the chart, or upgrades the release to these values, and waits until its pods are ready.
    pub fn upgrade(&self, chart: &Path, values: &Value) -> Result<String, ChartError> {
        let path = self.folder.join("values.json");
        fs::write(&path, values.to_string()).map_err(|source| ChartError::File { path: path.clone(), source })?;
        let mut command = self.release(["upgrade", "--install", "--create-namespace", "--wait", "--timeout", "60s"]);
        Ok(output_of(command.arg("--values").arg(path).arg(NAME).arg(chart))?)
    }

    /// Goes back to a revision, and waits until its pods are ready.
    pub fn rollback(&self, revision: u32) -> Result<String, ChartError> {
        let mut command = self.release(["rollback", "--wait", "--timeout", "60s", NAME]);
        Ok(output_of(command.arg(revision.to_string()))?)
    }

    /// Removes the release, and waits until its objects are gone.
    pub fn uninstall(&self) -> Result<String, ChartError> {
        Ok(output_of(&mut self.release(["uninstall", "--wait", "--timeout", "60s", NAME]))?)
    }

    fn release<const N: usize>(&self, arguments: [&str; N]) -> Command {
        self.command(arguments.into_iter().chain(["--namespace", NAME]))
    }
}

impl AgentPod {
    /// The running pod of the release on the cluster's node.
    pub fn of(cluster: &Cluster) -> Result<Self, ChartError> {
        let selector = format!("app.kubernetes.io/name={NAME}");
        let mut command = cluster.kubectl(["--namespace", NAME, "get", "pods", "--selector", &selector, "--output=json"]);
        let pods: Value = serde_json::from_str(&output_of(&mut command)?).unwrap_or_default();
        let alive = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let mut pods = pods["items"].as_array().into_iter().flatten().filter(alive);
        match (pods.next(), pods.next()) {
            (Some(pod), None) => Self::read(cluster, pod),
            (first, _) => {
                let how_many = if first.is_none() { "no" } else { "more than one" };
                Err(ChartError::Missing(format!("{how_many} pod of the release runs; see `kubectl --namespace {NAME} get pods`")))
            }
        }
    }

    /// A pod of this name in the release's namespace, which runs the agent.
    pub fn named(cluster: &Cluster, name: &str) -> Result<Self, ChartError> {
        let mut command = cluster.kubectl(["--namespace", NAME, "get", "pod", name, "--output=json"]);
        Self::read(cluster, &serde_json::from_str(&output_of(&mut command)?).unwrap_or_default())
    }

    /// A page of the agent, over the network of pods: the status, and the body.
    pub fn get(&self, cluster: &Cluster, path: &str, token: Option<&Token>) -> io::Result<(u16, String)> {
        let call = Call::get(path).to(&format!("https://{}:{PORT}", self.address)).body();
        let answers = token.map_or_else(|| call.clone(), |token| call.clone().token(token)).from_node(cluster)?;
        answers.only().map(|status| (status, answers.body)).ok_or_else(|| io::Error::other(answers.problem))
    }

    /// What the pod's container wrote: its events and, on other lines, its log.
    pub fn logs(&self, cluster: &Cluster) -> Result<String, ChartError> {
        Ok(output_of(&mut cluster.kubectl(["--namespace", NAME, "logs", &self.name]))?)
    }

    fn read(cluster: &Cluster, pod: &Value) -> Result<Self, ChartError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, uid) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]));
        let address = text(&pod["status"]["podIP"]);
        let address = address.parse().map_err(|_| ChartError::Missing(format!("the pod {name} has no address: `{address}`")))?;
        let is_agent = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with(NAME));
        let pid = cluster.processes_of_pod(&uid).into_iter().find(is_agent);
        let pid = pid.ok_or_else(|| ChartError::Missing(format!("the pod {name} has no process `{NAME}`")))?;
        Ok(Self { name, address, uid, pid })
    }
}

/// The events among the lines of a container's log; what is no JSON object is the agent's own log.
pub fn events(logs: &str) -> Vec<Value> {
    logs.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_the_log() {
        let logs = "2026-01-01T00:00:00Z INFO attached\n{\"kind\":\"Event\",\"stage\":\"ResponseComplete\"}\n7\n\n{\"cut";
        let events = events(logs);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["stage"], "ResponseComplete");
    }
}
