//! The flags that name a cluster, and what is read from it.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use ipnet::IpNet;
use tokio::{runtime::Builder, time::sleep};
use tracing::warn;

use super::progress::Waiting;
use crate::{
    judge::Policy,
    rbac::{
        Update,
        cluster::{ConnectError, ConnectOptions, Connection, Loaded, WatchOptions, load_and_tell, watch},
    },
};

/// How long the API server may take for one answer.
const WITHIN: Duration = Duration::from_secs(30);

/// Changes of RBAC objects that wait for the daemon; then whoever follows them waits.
const UPDATES: usize = 1024;
/// How often it is tried to make use of a kubeconfig.
const CONNECT: Duration = Duration::from_secs(10);

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

/// Where the API server calls from.
#[derive(Debug, Parser)]
pub(super) struct ApiServerPeerArgs {
    /// An address or network that the API server calls from
    ///
    /// Such as 10.0.0.0/28, or that of the tunnel's end on this side; repeatable. With it, the API server's name from elsewhere is the
    /// finding api-server-impostor.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_APISERVER_PEER", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub(super) apiserver_peer: Vec<IpNet>,
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or_else(|| "use an address or a network, such as 10.0.0.5 or 10.0.0.0/28".to_owned())
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

    /// Follows its RBAC objects on a thread of its own. Whatever is in its way is logged: requests are watched all the same.
    pub(super) fn follow(self) -> Result<Receiver<Update>> {
        let runtime = Builder::new_current_thread().enable_all().build().context("the RBAC objects cannot be followed")?;
        let (sender, updates) = mpsc::sync_channel(UPDATES);
        thread::Builder::new()
            .name("rbac".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    if let Some(connection) = connect(self.options()).await {
                        watch(&connection, WatchOptions::default(), sender).await;
                    }
                });
            })
            .context("no thread can be started")?;
        Ok(updates)
    }

    /// Which API server, and as whom.
    pub(super) fn options(&self) -> ConnectOptions {
        ConnectOptions { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }
}

/// The way to the API server, as soon as there is one: a kubeconfig may be put in place later than the agent. `None` if none is named.
async fn connect(options: ConnectOptions) -> Option<Connection> {
    let mut told = false;
    loop {
        match Connection::open(options.clone()).await {
            Ok(connection) => return Some(connection),
            Err(error @ ConnectError::Nowhere(_)) => {
                warn!("the RBAC objects are not known: {error}; or start with --rbac off to do without them");
                return None;
            }
            Err(error) if !told => {
                warn!("the RBAC objects are not known until this is right: {error}; or start with --rbac off to do without them");
                told = true;
            }
            Err(_) => {}
        }
        sleep(CONNECT).await;
    }
}
