//! The thread that follows the RBAC objects of the cluster for the daemon.

use std::{
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{runtime::Builder, time::sleep};
use tracing::warn;

use crate::rbac::{
    Update,
    cluster::{ConnectError, ConnectOptions, Connection, WatchOptions, watch},
};

/// Changes of RBAC objects that wait for the daemon; then whoever follows them waits.
const UPDATES: usize = 1024;
/// How often it is tried to make use of a kubeconfig.
const CONNECT: Duration = Duration::from_secs(10);

/// Follows the RBAC objects of a cluster on a thread of its own. Whatever is in its way is logged: requests are watched all the same.
pub(super) fn follow(cluster: ConnectOptions) -> Result<Receiver<Update>> {
    let runtime = Builder::new_current_thread().enable_all().build().context("the RBAC objects cannot be followed")?;
    let (sender, updates) = mpsc::sync_channel(UPDATES);
    thread::Builder::new()
        .name("rbac".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                if let Some(connection) = connect(cluster).await {
                    watch(&connection, WatchOptions::default(), sender).await;
                }
            });
        })
        .context("no thread can be started")?;
    Ok(updates)
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
