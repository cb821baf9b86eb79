//! What makes the cluster a whole one: the controller manager, the scheduler, `kube-proxy`, and a network for pods.
//!
//! A pod has a pair of interfaces, one end in its namespace and one in the node's, and a route there: the CNI plugin `ptp`. Its packets for
//! the service addresses are turned to where the service is by `kube-proxy`'s nftables rules in the node's namespace. All of that goes
//! with the namespaces.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::layout::Layout;
use super::up::{succeeds, wait, write};
use super::{Cluster, ClusterError, NODE, Options, config, process};
use crate::build::{CniPlugin, KubernetesProgram, kube_proxy};
use crate::host;

/// The pods' addresses. Every cluster has the same, each in its own namespace.
const PODS: &str = "10.244.0.0/24";

/// The API server's address in every cluster: the first of `--service-cluster-ip-range`.
const API_SERVER: &str = "https://10.96.0.1:443";

/// Puts in place what only such a cluster needs.
pub(super) fn prepare(options: &Options) -> Result<(), ClusterError> {
    host::nft()?;
    for plugin in CniPlugin::ALL {
        plugin.recipe().build()?;
    }
    for program in [KubernetesProgram::ControllerManager, KubernetesProgram::Scheduler] {
        options.api_server.program(program).build()?;
    }
    kube_proxy().build()?;
    Ok(())
}

/// Writes the configuration; gives the folder of the CNI plugins.
pub(super) fn write_files(layout: &Layout, address: Ipv4Addr) -> Result<PathBuf, ClusterError> {
    for user in ["controller-manager", "scheduler", "proxy"] {
        write(&layout.kubeconfig(user), &config::kubeconfig(layout, address, user).to_string())?;
    }
    write(&layout.path("proxy.json"), &proxy(layout).to_string())?;
    write(&layout.path("containerd/cni/10-testbed.conflist"), &network(layout).to_string())?;
    let plugin = CniPlugin::PointToPoint.recipe().path();
    Ok(plugin.parent().unwrap_or(&plugin).to_path_buf())
}

/// Starts them, and returns when the node is Ready and the API server answers at its address for pods.
pub(super) fn start(cluster: &Cluster) -> Result<(), ClusterError> {
    let layout = &cluster.layout;
    let of_release = |program| cluster.api_server.program(program);
    for (recipe, arguments) in [
        (of_release(KubernetesProgram::ControllerManager), controller_manager_arguments(layout)),
        (of_release(KubernetesProgram::Scheduler), scheduler_arguments(layout)),
        (kube_proxy(), vec![config::flag("config", layout.path("proxy.json"))]),
    ] {
        process::start(layout, recipe.name, &recipe.path(), &arguments)?;
    }
    wait(layout, "the API server could not be reached at its service's address", "kube-proxy", || {
        Ok(succeeds(&mut cluster.kubectl(["--server", API_SERVER, "--request-timeout=2s", "get", "--raw", "/readyz"])))
    })?;
    wait(layout, "the node did not become Ready", "kubelet", || {
        Ok(succeeds(&mut cluster.kubectl(["wait", "node", NODE, "--for=condition=Ready", "--timeout=2s"])))
    })?;
    // Admission refuses pods in a namespace without it.
    wait(layout, "the namespace default has no ServiceAccount", "kube-controller-manager", || {
        Ok(succeeds(&mut cluster.kubectl(["get", "serviceaccount", "default"])))
    })
}

/// The files outside the cluster's folder in which the CNI library remembers what it did for a container, whatever it is told
/// (`libcni/api.go`, `CacheDir`).
pub(super) fn remembered(layout: &Layout) -> Vec<PathBuf> {
    let entries = fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|file| fs::read(file).is_ok_and(|content| is_of(layout, &content))).collect()
}

/// Whether what the library remembers is about a namespace of this cluster, whose mount is in the cluster's folder.
fn is_of(layout: &Layout, content: &[u8]) -> bool {
    let entry: Value = serde_json::from_slice(content).unwrap_or_default();
    entry["netns"].as_str().is_some_and(|path| std::path::Path::new(path).starts_with(layout.folder()))
}

fn controller_manager_arguments(layout: &Layout) -> Vec<String> {
    vec![
        config::flag("kubeconfig", layout.kubeconfig("controller-manager")),
        config::flag("service-account-private-key-file", layout.key("service-accounts")),
        // What pods find as ca.crt beside their tokens.
        config::flag("root-ca-file", layout.certificate("ca")),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ]
}

fn scheduler_arguments(layout: &Layout) -> Vec<String> {
    vec![
        config::flag("kubeconfig", layout.kubeconfig("scheduler")),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ]
}

fn proxy(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": layout.kubeconfig("proxy")},
        "clusterCIDR": PODS,
        "detectLocalMode": "ClusterCIDR",
        // Zero leaves them as they are: only the machine's first network namespace may set them.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    })
}

fn network(layout: &Layout) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": layout.label(),
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": layout.path("containerd/addresses"),
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_share_no_path() {
        let (one, two) = (Layout::new("one").unwrap(), Layout::new("two").unwrap());
        let texts = |layout: &Layout| {
            let arguments = [controller_manager_arguments(layout), scheduler_arguments(layout)].concat();
            [arguments.join("\n"), proxy(layout).to_string(), network(layout).to_string()].join("\n")
        };
        let own = one.folder().to_string_lossy().into_owned();
        assert!(texts(&one).contains(&own));
        assert!(!texts(&two).contains(&own));
    }

    #[test]
    fn what_the_cni_library_remembers_is_told_by_the_namespace() {
        let layout = Layout::new("one").unwrap();
        let entry = |netns: &str| json!({"kind": "cniCacheV1", "networkName": "cni-loopback", "netns": netns}).to_string();
        let own = layout.path("containerd/state/netns/cni-1");
        assert!(is_of(&layout, entry(&own.to_string_lossy()).as_bytes()));
        assert!(!is_of(&layout, entry("/var/run/netns/cni-1").as_bytes()));
        let other = Layout::new("one-more").unwrap().path("containerd/state/netns/cni-1");
        assert!(!is_of(&layout, entry(&other.to_string_lossy()).as_bytes()));
        assert!(!is_of(&layout, b""));
    }
}
