//! Which API server, and as whom.

use std::env;
use std::path::{Path, PathBuf};

use hyper::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use thiserror::Error;

use super::discreet::without_secrets;
use crate::causes::in_one_line;

/// Where the API server and the credentials are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// A kubeconfig. Without one it is looked for in this order: `$KUBECONFIG`, `~/.kube/config`, the pod's own `ServiceAccount`.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it other than its current one.
    pub context: Option<String>,
}

/// A server other than the API server that takes the same credentials: a kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Where it is, such as `https://192.0.2.7:10250`.
    pub url: Uri,
    /// A PEM file with those who vouch for its certificate; those of the API server's if there is none.
    pub certificate_authority: Option<PathBuf>,
    /// Whether any certificate is believed.
    pub insecure: bool,
}

/// An API server, and the way to it. Nothing is sent before something is asked.
#[derive(Clone, Debug)]
pub struct Connection {
    options: ConnectOptions,
}

/// Why there is no way to an API server.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig that was named, or `$KUBECONFIG`, or a context in it.
    #[error("{name}: {why}; name a readable kubeconfig with --kubeconfig, and one of its contexts with --context")]
    Kubeconfig {
        /// The file, or where it was named.
        name: String,
        /// Why, without what it says: a kubeconfig holds credentials.
        why: String,
    },
    /// None is named, and this is no pod.
    #[error("no cluster is named: use --kubeconfig FILE, or set KUBECONFIG; in a pod, let its ServiceAccount's token be mounted{}", of_pod(.0))]
    Nowhere(kube::config::InClusterError),
    /// What the kubeconfig says cannot be used.
    #[error("{name}: {why}; check the certificates, keys and commands that it names")]
    Unusable {
        /// The kubeconfig, or the pod's `ServiceAccount`.
        name: String,
        /// Why, without what a command for credentials said.
        why: String,
    },
}

impl Connection {
    /// Finds out where the API server is. The files that say so are read, and no request is sent.
    pub async fn open(options: ConnectOptions) -> Result<Self, ConnectError> {
        let connection = Self { options };
        connection.client().await?;
        Ok(connection)
    }

    /// A client with the credentials as they are now: files may have been replaced since.
    pub(crate) async fn client(&self) -> Result<Client, ConnectError> {
        // Another provider, chosen by whoever uses this as a library, is just as good.
        let _present = rustls::crypto::ring::default_provider().install_default();
        let (name, config) = self.config().await?;
        Client::try_from(config).map_err(|error| ConnectError::Unusable { name, why: without_secrets(&error) })
    }

    /// A client for another server, with the same credentials.
    pub async fn client_elsewhere(&self, elsewhere: &Elsewhere) -> Result<Client, ConnectError> {
        let _present = rustls::crypto::ring::default_provider().install_default();
        let (name, mut config) = self.config().await?;
        config.cluster_url = elsewhere.url.clone();
        config.tls_server_name = None;
        config.accept_invalid_certs = elsewhere.insecure;
        if let Some(file) = &elsewhere.certificate_authority {
            config.root_cert = Some(certificates(file).map_err(|why| ConnectError::Unusable { name: file.display().to_string(), why })?);
        }
        Client::try_from(config).map_err(|error| ConnectError::Unusable { name, why: without_secrets(&error) })
    }

    /// What names the cluster, for people.
    pub(crate) fn name(&self) -> String {
        self.kubeconfig().map_or_else(|| "the pod's ServiceAccount".to_owned(), |(name, _)| name)
    }

    async fn config(&self) -> Result<(String, Config), ConnectError> {
        let Some((name, file)) = self.kubeconfig() else {
            let config = Config::incluster().map_err(ConnectError::Nowhere)?;
            return Ok(("the pod's ServiceAccount".to_owned(), config));
        };
        let failed = |error| ConnectError::Kubeconfig { name: name.clone(), why: without_secrets(&error) };
        let content = file.map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(failed)?;
        let options = KubeConfigOptions { context: self.options.context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(content, &options).await.map_err(failed)?;
        Ok((name, config))
    }

    /// What the kubeconfig is called, and its file where it is one.
    fn kubeconfig(&self) -> Option<(String, Option<&Path>)> {
        if let Some(file) = &self.options.kubeconfig {
            return Some((file.display().to_string(), Some(file)));
        }
        if env::var_os("KUBECONFIG").is_some_and(|files| !files.is_empty()) {
            return Some(("KUBECONFIG".to_owned(), None));
        }
        let usual = env::home_dir().map(|home| home.join(".kube/config"));
        let usual = usual.filter(|file| file.exists()).map(|file| file.display().to_string());
        let named = || self.options.context.is_some().then(|| "~/.kube/config".to_owned());
        usual.or_else(named).map(|name| (name, None))
    }
}

/// What is wrong in a pod; elsewhere nothing is.
fn of_pod(error: &kube::config::InClusterError) -> String {
    match error {
        kube::config::InClusterError::ReadEnvironmentVariable(_) => String::new(),
        error => format!(" ({})", in_one_line(error)),
    }
}

/// The certificates of a PEM file, in DER.
fn certificates(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| error.to_string())?;
    if read.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(read.iter().map(|der| der.to_vec()).collect()) }
}
