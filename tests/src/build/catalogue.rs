//! The programs of the testbed, with the versions that `tests/kubernetes`, `tests/tools` and `tests/go` pin.

use std::path::{Path, PathBuf};

use super::{Recipe, Release};

/// The Go that builds everything but Kubernetes itself.
const TOOLCHAIN: &str = "go1.26.8";

/// The programs of Kubernetes that the testbed runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubernetesProgram {
    /// `kubelet`.
    Kubelet,
    /// `kube-apiserver`.
    ApiServer,
    /// `kubectl`. The one in the path may be some vendor's dispatcher that misreads flags.
    Kubectl,
    /// `kube-controller-manager`.
    ControllerManager,
    /// `kube-scheduler`.
    Scheduler,
}

impl KubernetesProgram {
    /// The name of its executable, which is also that of its folder in `k8s.io/kubernetes/cmd`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::ApiServer => "kube-apiserver",
            Self::Kubectl => "kubectl",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// The programs of containerd 2.2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerdProgram {
    /// `containerd`.
    Daemon,
    /// `containerd-shim-runc-v2`, which containerd starts for each pod.
    Shim,
    /// `ctr`, which imports images.
    Ctr,
}

impl ContainerdProgram {
    /// How it is made.
    pub fn recipe(self) -> Recipe {
        let name = match self {
            Self::Daemon => "containerd",
            Self::Shim => "containerd-shim-runc-v2",
            Self::Ctr => "ctr",
        };
        tool(name, format!("github.com/containerd/containerd/v2/cmd/{name}"), "containerd", "2.2.0")
    }
}

/// The CNI plugins 1.10.0 that give pods a network of their own. They lie in one folder, where a container runtime looks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CniPlugin {
    /// `ptp`: a pair of interfaces between a pod and its node, and a route.
    PointToPoint,
    /// `host-local`: addresses from a range, remembered in files.
    HostLocal,
    /// `loopback`: brings `lo` up.
    Loopback,
}

impl CniPlugin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PointToPoint, Self::HostLocal, Self::Loopback];

    /// How it is made.
    pub fn recipe(self) -> Recipe {
        let (name, kind) = match self {
            Self::PointToPoint => ("ptp", "main"),
            Self::HostLocal => ("host-local", "ipam"),
            Self::Loopback => ("loopback", "main"),
        };
        tool(name, format!("github.com/containernetworking/plugins/plugins/{kind}/{name}"), "cni", "1.10.0")
    }
}

/// The programs whose source is `tests/go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnProgram {
    /// `spdyexec`: exec, attach and port forward over SPDY, straight to a kubelet.
    SpdyExec,
    /// `auditcheck`: decodes audit events strictly with the API server's own type.
    AuditCheck,
    /// `kubeletcall`: plain HTTPS requests and bare upgrades, one or many, also from inside a pod.
    KubeletCall,
    /// `auditreceiver`: takes lists of audit events over TLS, strictly, and misbehaves when it is told to.
    AuditReceiver,
}

impl OwnProgram {
    /// How it is made. Static, so it also runs inside a pod.
    pub fn recipe(self) -> Recipe {
        let name = match self {
            Self::SpdyExec => "spdyexec",
            Self::AuditCheck => "auditcheck",
            Self::KubeletCall => "kubeletcall",
            Self::AuditReceiver => "auditreceiver",
        };
        Recipe {
            name,
            package: format!("kubewitness.dev/tests/cmd/{name}"),
            module: tests_folder().join("go"),
            toolchain: TOOLCHAIN,
            tags: "",
            linker_flags: "-s -w".to_owned(),
            environment: &[],
            arguments: &[],
            folder: format!("go/tests-{TOOLCHAIN}"),
        }
    }
}

/// `auditpolicy`: what the API server's own code makes of an audit policy. A module of its own, `tests/go-policy`: those in `tests/go` need not
/// carry what that code is linked with.
pub fn audit_policy() -> Recipe {
    Recipe {
        name: "auditpolicy",
        package: "kubewitness.dev/tests-policy".to_owned(),
        module: tests_folder().join("go-policy"),
        toolchain: TOOLCHAIN,
        tags: "",
        linker_flags: "-s -w".to_owned(),
        environment: &[],
        arguments: &[],
        folder: format!("go/policy-{TOOLCHAIN}"),
    }
}

/// The programs whose source is `tests/go-server`, a module of its own that pins what `tests/kubernetes/1.36.3` pins: most of it is compiled
/// already where the kubelet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerProgram {
    /// `kubeletserver`: the kubelet's real HTTP server without a kubelet behind it, for machines where no container can run.
    KubeletServer,
    /// `fewcaps`: runs a program as root with few capabilities.
    FewCaps,
}

impl ServerProgram {
    /// How it is made, static.
    pub fn recipe(self) -> Recipe {
        let (name, package) = match self {
            Self::KubeletServer => ("kubeletserver", "kubewitness.dev/tests-server"),
            Self::FewCaps => ("fewcaps", "kubewitness.dev/tests-server/fewcaps"),
        };
        // With the version that a kubelet of this release has, compiled by the same Go.
        let kubelet = Release::V1_36.program(KubernetesProgram::Kubelet);
        Recipe {
            name,
            package: package.to_owned(),
            module: tests_folder().join("go-server"),
            folder: format!("go/server-{}", kubelet.toolchain),
            ..kubelet
        }
    }
}

/// `multicall`: an API server and a kubelet 1.36.3 in one process. A module of its own, `tests/go-multicall`, which pins what
/// `tests/kubernetes/1.36.3` pins, so that only linking is left to do.
pub fn multicall() -> Recipe {
    let release = Release::V1_36;
    Recipe {
        name: "multicall",
        package: "kubewitness.dev/tests-multicall".to_owned(),
        module: tests_folder().join("go-multicall"),
        toolchain: release.toolchain(),
        tags: "",
        linker_flags: release.linker_flags(),
        environment: &[],
        arguments: &[],
        folder: format!("go/multicall-{}", release.toolchain()),
    }
}

/// `kubeflood`: requests as fast as a kubelet answers, and sessions by the thousand. A module of its own, `tests/go-flood`: a change of it
/// builds nothing else anew.
pub fn flood() -> Recipe {
    Recipe {
        name: "kubeflood",
        package: "kubewitness.dev/tests-flood".to_owned(),
        module: tests_folder().join("go-flood"),
        toolchain: TOOLCHAIN,
        tags: "",
        linker_flags: "-s -w".to_owned(),
        environment: &[],
        arguments: &[],
        folder: format!("go/flood-{TOOLCHAIN}"),
    }
}

/// How etcd 3.6.6 is made.
pub fn etcd() -> Recipe {
    tool("etcd", "go.etcd.io/etcd/server/v3".to_owned(), "etcd", "3.6.6")
}

/// How `kube-proxy` 1.36.3 is made, which serves every release here. Its module is not that of the other programs of Kubernetes, see
/// `tests/tools/kube-proxy`.
pub fn kube_proxy() -> Recipe {
    let release = Release::V1_36;
    let recipe = tool("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy".to_owned(), "kube-proxy", release.version());
    Recipe { linker_flags: release.linker_flags(), ..recipe }
}

/// How helm 4.3.1 is made, which says its version as the official builds do: a chart may ask for it.
pub fn helm() -> Recipe {
    let recipe = tool("helm", "helm.sh/helm/v4/cmd/helm".to_owned(), "helm", "4.3.1");
    Recipe { linker_flags: "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1".to_owned(), ..recipe }
}

/// How nfpm is made, which makes packages of Debian and of RPM from one description. 2.45.0 is the last whose modules the Go module proxy gives.
pub fn nfpm() -> Recipe {
    tool("nfpm", "github.com/goreleaser/nfpm/v2/cmd/nfpm".to_owned(), "nfpm", "2.45.0")
}

/// The programs of Prometheus 3.16.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrometheusProgram {
    /// `prometheus`, the server. Its pages are not built: only its API is asked.
    Server,
    /// `promtool`, which checks metrics and makes blocks of synthetic ones.
    Promtool,
}

impl PrometheusProgram {
    /// How it is made. Without service discovery: with all of that it takes nine minutes of processor time.
    pub fn recipe(self) -> Recipe {
        let name = match self {
            Self::Server => "prometheus",
            Self::Promtool => "promtool",
        };
        let recipe = tool(name, format!("github.com/prometheus/prometheus/cmd/{name}"), "prometheus", "3.16.0");
        Recipe { tags: "remove_all_sd", ..recipe }
    }
}

/// The programs of Alertmanager 0.31.1, the last release whose module holds the pages that its build embeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertmanagerProgram {
    /// `alertmanager`, the server.
    Server,
    /// `amtool`, which checks its configuration.
    Amtool,
}

impl AlertmanagerProgram {
    /// How it is made.
    pub fn recipe(self) -> Recipe {
        let name = match self {
            Self::Server => "alertmanager",
            Self::Amtool => "amtool",
        };
        tool(name, format!("github.com/prometheus/alertmanager/cmd/{name}"), "alertmanager", "0.31.1")
    }
}

fn tool(name: &'static str, package: String, module: &str, version: &str) -> Recipe {
    Recipe {
        name,
        package,
        module: tests_folder().join("tools").join(module),
        toolchain: TOOLCHAIN,
        tags: "",
        linker_flags: "-s -w".to_owned(),
        environment: &[],
        arguments: &[],
        folder: format!("go/{module}-{version}-{TOOLCHAIN}"),
    }
}

/// The folder of this crate, where the pinned modules are.
pub(super) fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_names_in_the_catalogue_are_the_versions_that_the_modules_pin() {
        let pins = [
            (etcd(), "go.etcd.io/etcd/server/v3 v3.6.6"),
            (ContainerdProgram::Ctr.recipe(), "github.com/containerd/containerd/v2 v2.2.0"),
            (kube_proxy(), "k8s.io/kubernetes v1.36.3"),
            (helm(), "helm.sh/helm/v4 v4.3.1"),
            (nfpm(), "github.com/goreleaser/nfpm/v2 v2.45.0"),
            (CniPlugin::PointToPoint.recipe(), "github.com/containernetworking/plugins v1.10.0"),
            (PrometheusProgram::Server.recipe(), "github.com/prometheus/prometheus v0.316.0"),
            (AlertmanagerProgram::Amtool.recipe(), "github.com/prometheus/alertmanager v0.31.1"),
            (OwnProgram::SpdyExec.recipe(), "k8s.io/client-go v0.36.3"),
            (audit_policy(), "k8s.io/apiserver v0.36.3"),
            (ServerProgram::KubeletServer.recipe(), "k8s.io/kubernetes v1.36.3"),
            (multicall(), "k8s.io/kubernetes v1.36.3"),
        ];
        for (recipe, pin) in pins {
            let pinned = fs::read_to_string(recipe.module.join("go.mod")).unwrap();
            assert!(pinned.contains(pin), "{} does not pin {pin}", recipe.module.display());
        }
    }
}
