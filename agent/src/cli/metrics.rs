//! The flags that say where the metrics are served, and to whom.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::{
    export::{
        Health,
        guard::{Certificate, Guard, Tls},
        http::Pages,
    },
    rbac::cluster::ConnectOptions,
};

/// Metrics and health.
#[derive(Debug, Parser)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct MetricsArgs {
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "KUBEWITNESS_METRICS_LISTEN", default_value = "127.0.0.1:9464", value_name = "ADDR", value_parser = address)]
    metrics_listen: SocketAddr,
    /// Who may get /metrics
    #[arg(long, env = "KUBEWITNESS_METRICS_AUTH", default_value = "none", value_name = "HOW")]
    metrics_auth: Authentication,
    /// Seconds for which the API server's answer is good
    ///
    /// About who may read the metrics; ten at most for an answer that lets nobody in.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_METRICS_AUTH_CACHE", default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    metrics_auth_cache: u32,
    /// PEM file of the certificate to serve metrics and health with
    ///
    /// Read again when it is replaced.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_METRICS_TLS_CERT_FILE", value_name = "FILE", requires = "metrics_tls_key_file")]
    metrics_tls_cert_file: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_METRICS_TLS_KEY_FILE", value_name = "FILE", requires = "metrics_tls_cert_file")]
    metrics_tls_key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Authentication {
    /// Everybody who reaches the address
    None,
    /// Who has a bearer token of the cluster and may get the nonResourceURL /metrics there; over TLS
    Kubernetes,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:9464 or [::]:9464".to_owned())
}

/// Where the pages are served, and how they are protected.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Tls>,
    pub(super) pages: Pages,
}

impl MetricsArgs {
    /// Where the pages are served.
    pub(super) fn address(&self) -> SocketAddr {
        self.metrics_listen
    }

    /// Whether whoever reads the metrics shows a token.
    pub(super) fn guarded(&self) -> bool {
        self.metrics_auth == Authentication::Kubernetes
    }

    /// What they are served with, if it is not plain HTTP.
    pub(super) fn certificate(&self, node: &str) -> Option<Certificate> {
        match (&self.metrics_tls_cert_file, &self.metrics_tls_key_file) {
            (Some(certificate), Some(key)) => Some(Certificate::Files { certificate: certificate.clone(), key: key.clone() }),
            _ => self.guarded().then(|| Certificate::SelfSigned(node.to_owned())),
        }
    }

    /// Reads or makes the certificate. Nothing is asked of the API server yet.
    pub(super) fn door(self, node: &str, cluster: ConnectOptions, health: Arc<Health>) -> Result<Door> {
        let (guarded, certificate) = (self.guarded(), self.certificate(node));
        let allow_for = Duration::from_secs(self.metrics_auth_cache.into());
        let guard = if guarded { Some(Arc::new(Guard::new(cluster, allow_for)?)) } else { None };
        Ok(Door { address: self.metrics_listen, tls: certificate.map(Tls::new).transpose()?, pages: Pages { health, guard } })
    }
}
