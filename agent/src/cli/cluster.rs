//! The flags that name a cluster, and what is read from it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::runtime::Builder;

use super::progress::Waiting;
use crate::{
    judge::Policy,
    rbac::cluster::{ConnectOptions, Connection, Loaded, load_and_tell},
};

/// How long the API server may take for one answer.
const WITHIN: Duration = Duration::from_secs(30);

/// Which cluster.
#[derive(Debug, Parser)]
pub(super) struct ClusterArgs {
    /// The kubeconfig of the cluster
    ///
    /// $KUBECONFIG, ~/.kube/config or the pod's own if not given.
    #[arg(long, env = "KUBEWITNESS_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig
    ///
    /// Its current one if not given.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_CONTEXT", value_name = "NAME")]
    context: Option<String>,
}

/// Who the API server is.
#[derive(Debug, Parser)]
pub(super) struct ApiServerArgs {
    /// A user name of the API server
    ///
    /// Repeatable, and replaces the known ones.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_APISERVER_USER", value_name = "NAME", value_delimiter = ',', default_values = Policy::API_SERVER_USERS)]
    pub(super) apiserver_user: Vec<String>,
}

impl ClusterArgs {
    /// Its RBAC objects and its nodes.
    pub(super) fn load(self) -> Result<Loaded> {
        let runtime = Builder::new_current_thread().enable_all().build().context("no connections can be made")?;
        let waiting = Waiting::spinning("asking the API server");
        runtime.block_on(async {
            let connection = Connection::open(self.options()).await?;
            Ok(load_and_tell(&connection, WITHIN, |objects| waiting.say(&format!("reading RBAC objects: {objects}"))).await?)
        })
    }

    /// Which API server, and as whom.
    pub(super) fn options(&self) -> ConnectOptions {
        ConnectOptions { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }
}
