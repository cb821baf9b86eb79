//! The flag that says where those who watch meet the agent.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Parser;
use tracing::{debug, info, warn};

use crate::export::{
    Health,
    watchers::{SOCKET, Served, Socket, SocketError, Status, Watchers},
};

/// Where the socket is.
#[derive(Debug, Parser)]
pub(super) struct SocketArgs {
    /// The agent's socket, for those who watch
    ///
    /// `kubewitness watch` reads from it; root alone may. `none` for no socket.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_WATCH_SOCKET", default_value = SOCKET, value_name = "PATH")]
    watch_socket: PathBuf,
}

impl SocketArgs {
    /// The path; `None` if there shall be no socket.
    pub(super) fn path(&self) -> Option<&Path> {
        Some(&*self.watch_socket).filter(|path| *path != "none")
    }

    /// Lets people watch. Whatever is in the way is logged: events are written all the same.
    pub(super) fn serve(&self, watchers: &Watchers, health: Arc<Health>, node: &str) -> Option<Served> {
        let path = self.path()?;
        let node = node.to_owned();
        let tell = Arc::new(move || Status::of(&health, &node));
        match Socket::open(path) {
            Ok(socket) => {
                let served = watchers.serve(socket, tell).inspect_err(|error| warn!("nobody can watch: {error}")).ok()?;
                debug!("`kubewitness watch` reads from {}", path.display());
                Some(served)
            }
            Err(error @ SocketError::Taken(_)) => {
                info!("nobody can watch this agent: {error}");
                None
            }
            Err(error) => {
                warn!("nobody can watch: {error}");
                None
            }
        }
    }
}
