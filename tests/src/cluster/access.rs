//! Objects and identities for tests: manifests, pods, `ServiceAccounts`, their tokens and their rights.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::{fmt, fs};

use serde_json::{Value, json};

use super::up::wait;
use super::{Cluster, ClusterError, at, config, pki, run};

/// A bearer token. Neither `Debug` nor any other formatting shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

impl Cluster {
    /// Creates or changes what a manifest in YAML or JSON describes.
    pub fn apply(&self, manifest: &str) -> Result<(), ClusterError> {
        let failed = |message: String| ClusterError::Command { command: "kubectl apply".to_owned(), message };
        let mut command = self.kubectl(["apply", "--filename", "-"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        // kubectl that ends early closes its end; what it says then is the better message.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(manifest.as_bytes()));
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
    }

    /// Creates a `ServiceAccount` in the namespace `default`. It has no rights of its own.
    pub fn service_account(&self, name: &str) -> Result<(), ClusterError> {
        // The namespace `default` itself appears only some time after the API server is ready.
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}}).to_string();
        let mut last = None;
        let applied = wait(&self.layout, "the ServiceAccount could not be made", "kube-apiserver", || {
            last = self.apply(&object).err();
            Ok(last.is_none())
        });
        applied.map_err(|error| last.unwrap_or(error))
    }

    /// A token of a `ServiceAccount`, valid for one hour; bound to a pod that runs as that `ServiceAccount`, where one is named.
    pub fn token(&self, service_account: &str, bound_pod: Option<&str>) -> Result<Token, ClusterError> {
        let mut command = self.kubectl(["create", "token", service_account, "--duration=1h"]);
        if let Some(pod) = bound_pod {
            command.args(["--bound-object-kind=Pod", "--bound-object-name", pod]);
        }
        let output = run(&mut command)?;
        Ok(Token(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    }

    /// The certificate and the key, as PEM, of a client of this name and in these groups, whatever characters they hold.
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Result<(String, String), ClusterError> {
        pki::client(&self.layout, user, groups)
    }

    /// Writes a kubeconfig with which a program reaches the API server with a token.
    pub fn write_kubeconfig(&self, path: &Path, token: &Token) -> Result<(), ClusterError> {
        let server = format!("https://{}:6443", self.address());
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": self.ca()}}],
            "users": [{"name": "u", "user": {"token": token.expose()}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        fs::write(path, config.to_string()).map_err(at(path))
    }

    /// Gives a `ServiceAccount` these verbs on these cluster-wide resources, such as `nodes/proxy`, with a `ClusterRole` and a
    /// `ClusterRoleBinding` that both have its name. Replaces what was granted to it before; the kubelet remembers an answer for
    /// as long as its webhook cache lasts.
    pub fn grant(&self, service_account: &str, verbs: &[&str], resources: &[&str]) -> Result<(), ClusterError> {
        self.apply(&grant(service_account, verbs, resources).to_string())
    }

    /// Starts a pod like `default/web` that runs as a `ServiceAccount`, and waits until it runs.
    pub fn start_pod(&self, name: &str, service_account: &str) -> Result<(), ClusterError> {
        self.start(name, &config::pod(name, service_account))
    }

    /// The same for a pod that the scheduler finds a node, with a network of its own and the `ServiceAccount`'s token mounted; for
    /// clusters with controllers.
    pub fn start_whole_pod(&self, name: &str, service_account: &str) -> Result<(), ClusterError> {
        self.start(name, &config::whole_pod(name, service_account))
    }

    fn start(&self, name: &str, pod: &Value) -> Result<(), ClusterError> {
        self.apply(&pod.to_string())?;
        wait(&self.layout, &format!("the pod {name} did not run"), "kubelet", || {
            let phase = run(&mut self.kubectl(["get", "pod", name, "--output=jsonpath={.status.phase}"]))?;
            Ok(phase.stdout == b"Running")
        })
    }
}

fn grant(service_account: &str, verbs: &[&str], resources: &[&str]) -> Value {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": version,
                "kind": "ClusterRole",
                "metadata": {"name": service_account},
                "rules": [{"apiGroups": [""], "resources": resources, "verbs": verbs}],
            },
            {
                "apiVersion": version,
                "kind": "ClusterRoleBinding",
                "metadata": {"name": service_account},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": service_account},
                "subjects": [{"kind": "ServiceAccount", "name": service_account, "namespace": "default"}],
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_be_printed() {
        assert!(!format!("{:?}", Some(Token("secret".to_owned()))).contains("secret"));
    }
}
