//! The configuration of the programs, pure: paths and an address in, text and arguments out. Kubernetes reads JSON wherever it reads YAML.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

use super::layout::Layout;
use super::{CONTAINER, NODE};
use crate::build::Release;

/// The image of the pods' containers: busybox, and what [`super::Options::image_files`] adds.
pub const IMAGE: &str = "localhost/busybox:1";
/// The image of the pod's sandbox.
pub(super) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// The kubelet's configuration, with `overrides` merged over it.
pub(super) fn kubelet(layout: &Layout, release: Release, overrides: &Value) -> Value {
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.certificate("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.certificate("node"),
        "tlsPrivateKeyFile": layout.key("node"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.label()),
        // So that a process's cgroup names its pod, in the v2 tree too.
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi", "nodefs.inodesFree": "1%"},
        "failSwapOn": false,
        "podLogsDir": layout.path("pod-logs"),
        "volumePluginDir": layout.path("volume-plugins"),
    });
    if release.minor() >= 31 {
        config["failCgroupV1"] = json!(false);
    }
    merge(&mut config, overrides);
    config
}

/// Puts `over` on `base`: objects are merged field by field, everything else is replaced.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (field, value) in over {
                merge(base.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

pub(super) fn kubelet_arguments(layout: &Layout, address: Ipv4Addr) -> Vec<String> {
    vec![
        flag("config", layout.path("kubelet.json")),
        flag("kubeconfig", layout.kubeconfig("node")),
        flag("root-dir", layout.path("kubelet")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={address}"),
    ]
}

/// etcd serves only its own namespace and forgets everything at `down`, so it need not wait for the disk.
pub(super) fn etcd_arguments(layout: &Layout) -> Vec<String> {
    let client = "http://127.0.0.1:2379";
    vec![
        flag("data-dir", layout.path("etcd")),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--unsafe-no-fsync".to_owned(),
    ]
}

pub(super) fn api_server_arguments(layout: &Layout, address: Ipv4Addr, controllers: bool) -> Vec<String> {
    let mut arguments: Vec<_> = [
        "--etcd-servers=http://127.0.0.1:2379",
        "--secure-port=6443",
        "--authorization-mode=Node,RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--kubelet-preferred-address-types=InternalIP",
    ]
    .map(str::to_owned)
    .to_vec();
    if !controllers {
        // Nobody makes the ServiceAccounts that this plugin waits for.
        arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
    }
    arguments.extend([
        format!("--advertise-address={address}"),
        flag("client-ca-file", layout.certificate("ca")),
        flag("tls-cert-file", layout.certificate("apiserver")),
        flag("tls-private-key-file", layout.key("apiserver")),
        flag("kubelet-certificate-authority", layout.certificate("ca")),
        flag("kubelet-client-certificate", layout.certificate("kubelet-client")),
        flag("kubelet-client-key", layout.key("kubelet-client")),
        flag("service-account-key-file", layout.path("pki/service-accounts.pub")),
        flag("service-account-signing-key-file", layout.key("service-accounts")),
        flag("audit-log-path", layout.audit_log()),
        flag("audit-policy-file", layout.path("audit-policy.json")),
    ]);
    arguments
}

pub(super) fn audit_policy() -> Value {
    json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]})
}

pub(super) fn kubeconfig(layout: &Layout, address: Ipv4Addr, user: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {"server": format!("https://{address}:6443"), "certificate-authority": layout.certificate("ca")}}],
        "users": [{"name": user, "user": {"client-certificate": layout.certificate(user), "client-key": layout.key(user)}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        "current-context": "testbed",
    })
}

/// containerd's configuration. Every path that it would share with another containerd is set to one of the cluster's own. `cni` is the
/// folder of the CNI plugins, where pods have a network of their own.
pub(super) fn containerd(layout: &Layout, runc: &Path, cni: Option<&Path>) -> String {
    let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
    let at = |below: &str| quoted(&layout.path(below));
    format!(
        r#"version = 3
root = {root}
state = {state}
temp = {temp}
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = {socket}

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  device_ownership_from_security_context = false
  netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = [{cni_plugins}]
  conf_dir = {cni}

[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = {runc}
  Root = {runc_root}
"#,
        root = at("containerd/root"),
        state = at("containerd/state"),
        temp = at("containerd/temp"),
        socket = at("containerd/containerd.sock"),
        cni = at("containerd/cni"),
        cni_plugins = cni.map_or_else(|| at("containerd/cni"), quoted),
        runc_root = at("containerd/runc"),
        runc = quoted(runc),
    )
}

/// A pod that runs without a scheduler, without controllers and without a CNI plugin, on the node's own network.
pub(super) fn pod(name: &str, service_account: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "nodeName": NODE,
            "hostNetwork": true,
            "serviceAccountName": service_account,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": CONTAINER, "image": IMAGE, "imagePullPolicy": "Never"}],
        },
    })
}

/// A pod as anybody would start one: the scheduler finds it a node, it has a network of its own and its `ServiceAccount`'s token.
pub(super) fn whole_pod(name: &str, service_account: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "serviceAccountName": service_account,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": CONTAINER, "image": IMAGE, "imagePullPolicy": "Never"}],
        },
    })
}

pub(super) fn flag(name: &str, path: impl AsRef<Path>) -> String {
    format!("--{name}={}", path.as_ref().display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_change_what_they_name_and_nothing_else() {
        let layout = Layout::new("x").unwrap();
        let plain = kubelet(&layout, Release::V1_36, &json!({}));
        let changed = kubelet(
            &layout,
            Release::V1_36,
            &json!({"readOnlyPort": 10255, "authentication": {"anonymous": {"enabled": true}}, "enforceNodeAllocatable": ["pods"]}),
        );
        assert_eq!(changed["readOnlyPort"], 10255);
        assert_eq!(changed["authentication"]["anonymous"]["enabled"], true);
        assert_eq!(changed["enforceNodeAllocatable"], json!(["pods"]));
        assert_eq!(changed["authentication"]["webhook"], plain["authentication"]["webhook"]);
        let names = |config: &Value| config.as_object().unwrap().len();
        assert_eq!(names(&changed), names(&plain) + 1);
    }

    #[test]
    fn a_field_that_a_release_does_not_know_is_left_out() {
        let layout = Layout::new("x").unwrap();
        let config = |release| kubelet(&layout, release, &json!({}));
        assert!(config(Release::V1_30).get("failCgroupV1").is_none());
        assert_eq!(config(Release::V1_36)["failCgroupV1"], false);
    }

    #[test]
    fn two_clusters_share_no_path_and_no_cgroup() {
        let (one, two) = (Layout::new("one").unwrap(), Layout::new("two").unwrap());
        let node = Ipv4Addr::new(192, 168, 1, 1);
        let texts = |layout: &Layout| {
            [
                vec![kubelet(layout, Release::V1_36, &json!({})).to_string(), containerd(layout, Path::new("/usr/sbin/runc"), None)],
                kubelet_arguments(layout, node),
                etcd_arguments(layout),
                api_server_arguments(layout, node, true),
            ]
            .concat()
            .join("\n")
        };
        let own = [one.folder().to_string_lossy().into_owned(), format!("\"/{}\"", one.label())];
        for text in &own {
            assert!(texts(&one).contains(text.as_str()));
            assert!(!texts(&two).contains(text.as_str()));
        }
    }
}
