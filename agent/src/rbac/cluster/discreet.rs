//! What may be said of an error around credentials.

use std::error::Error;

use kube::client::AuthError;
use kube::config::KubeconfigError;

use crate::causes::in_one_line;

/// An error in one line, but for those that repeat a part of the kubeconfig, or what a command that gives credentials said.
pub fn without_secrets(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(AuthError::AuthExecRun { out, .. }) => return format!("the command for the credentials failed ({})", out.status),
            Some(AuthError::AuthExecParse(_)) => return "the command for the credentials does not give an ExecCredential".to_owned(),
            _ => {}
        }
        let unusable =
            |error: &kube::Error| matches!(error, kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. });
        if error.downcast_ref().is_some_and(unusable) {
            return "its proxy is neither http:// nor https://".to_owned();
        }
        if let Some(said) = error.downcast_ref().and_then(of_kubeconfig) {
            return said;
        }
        cause = error.source();
    }
    in_one_line(error)
}

/// What is wrong with a kubeconfig, where kube says it for those who know its code, or repeats a part of it.
fn of_kubeconfig(error: &KubeconfigError) -> Option<String> {
    Some(match error {
        KubeconfigError::Parse(_) => "it cannot be parsed as a kubeconfig; `kubectl config view --kubeconfig FILE` may say why".to_owned(),
        KubeconfigError::ReadConfig(error, _) => format!("it cannot be read: {error}"),
        KubeconfigError::CurrentContextNotSet => "it has no current-context".to_owned(),
        KubeconfigError::LoadContext(name) => format!("it has no context {name}"),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster {name}, which its context names"),
        KubeconfigError::MissingClusterUrl => "its cluster has no server".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use kube::config::{KubeConfigOptions, Kubeconfig};
    use kube::{Client, Config};

    use super::*;

    #[test]
    fn what_a_kubeconfig_holds_is_in_no_error() {
        let secret = "hunter2";
        let broken = format!("users: [{{name: x, user: {{password: {secret}}}");
        let said = without_secrets(&Kubeconfig::from_yaml(&broken).unwrap_err());
        assert!(!said.contains(secret), "{said}");
        let cluster = |more: &str| {
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters:\n- name: x\n  cluster: {{server: 'https://127.0.0.1:1'{more}}}\n"
            )
        };
        let context = "contexts:\n- name: x\n  context: {cluster: x, user: x}\n";
        for (config, expected) in [
            (
                format!("{}{context}users:\n- name: x\n  user: {{}}\n", cluster(&format!(", proxy-url: 'ftp://u:{secret}@127.0.0.1:1'"))),
                "neither http:// nor https://",
            ),
            (
                format!(
                    "{}{context}users:\n- name: x\n  user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'echo {secret} >&2; exit 3'], interactiveMode: Never}}}}\n",
                    cluster("")
                ),
                "exit status: 3",
            ),
        ] {
            let _present = rustls::crypto::ring::default_provider().install_default();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let error = runtime.block_on(async {
                let config = Kubeconfig::from_yaml(&config).unwrap();
                let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
                Client::try_from(config).err().unwrap()
            });
            let said = without_secrets(&error);
            assert!(said.contains(expected) && !said.contains(secret), "{said}");
        }
    }
}
