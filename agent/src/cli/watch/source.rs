//! Where the events come from: files, standard input, an agent, or one inside of this process.

use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{AttachArgs, tell};
use crate::{
    cli::{
        follow::follow,
        run::{Switch, read_clock},
    },
    daemon::Options,
    judge::Policy,
    report::{Part, read_parts},
    watch::{agent::connect, attach::attach},
};

/// What is read at once from an agent.
const CHUNK: usize = 64 << 10;
/// How often it is looked whether an agent is back.
const AGAIN: Duration = Duration::from_millis(500);

/// What is to be watched.
pub(super) struct Source {
    /// Files; the kubelet of this node where there are none.
    pub(super) paths: Vec<PathBuf>,
    /// The agent's socket.
    pub(super) socket: Option<PathBuf>,
    /// How to do without an agent.
    pub(super) attach: AttachArgs,
}

/// What is watched.
pub(super) enum Opened {
    Files(Vec<PathBuf>),
    /// An agent, and its socket.
    Agent(UnixStream, PathBuf),
    /// The agent of this process.
    Own(UnixStream),
}

/// What comes next.
pub(super) enum News<'a> {
    Bytes(&'a [u8]),
    /// Something that is no event.
    Told(String),
    /// A file is over, or an agent ended.
    End,
}

impl Source {
    /// Finds an agent, or starts one.
    pub(super) fn open(self) -> Result<Opened> {
        if !self.paths.is_empty() {
            return Ok(Opened::Files(self.paths));
        }
        let Some(socket) = self.socket else { return self.attach.open().map(Opened::Own) };
        if let Some(stream) = connect(&socket)? {
            return Ok(Opened::Agent(stream, socket));
        }
        tell(&format!("no agent listens on {}: attaching to the kubelet from here", socket.display()));
        self.attach.open().map(Opened::Own)
    }
}

impl Opened {
    /// Hands on what comes, until `hand_on` wants no more or there is no more.
    pub(super) fn read(self, hand_on: &mut dyn FnMut(News) -> bool) -> Result<()> {
        match self {
            Self::Files(paths) => {
                let mut broken = Vec::new();
                read_parts(&paths, |part| match part {
                    Part::Bytes(bytes) => hand_on(News::Bytes(bytes)),
                    Part::End => hand_on(News::End),
                    Part::Broken(name) => {
                        broken.push(name);
                        true
                    }
                })?;
                if broken.is_empty() { Ok(()) } else { bail!("not read to the end: {}", broken.join(", ")) }
            }
            Self::Own(stream) => {
                let goes_on = drain(stream, hand_on)?;
                // Its log says why.
                if goes_on {
                    bail!("the agent in this process ended");
                }
                Ok(())
            }
            Self::Agent(mut stream, socket) => {
                while drain(stream, hand_on)? && hand_on(News::End) {
                    hand_on(News::Told(
                        "the agent ended, or this was too slow for it: what happens until it is back is not shown".to_owned(),
                    ));
                    stream = loop {
                        thread::sleep(AGAIN);
                        if let Some(stream) = connect(&socket)? {
                            break stream;
                        }
                    };
                }
                Ok(())
            }
        }
    }
}

/// Reads until the other side ends; false if nobody wants more.
fn drain(mut stream: UnixStream, hand_on: &mut dyn FnMut(News) -> bool) -> Result<bool> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(length) if hand_on(News::Bytes(&chunk[..length])) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(error).context("the agent cannot be read from"),
        }
    }
}

impl AttachArgs {
    fn open(self) -> Result<UnixStream> {
        let [port, read_only_port] = self.ports.watched();
        let node = self.node_name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let options = Options {
            port,
            read_only_port,
            pids: self.kubelet_pid,
            pod_logs: self.pod_logs,
            trace: None,
            policy: Policy {
                api_server_users: self.api_server.apiserver_user,
                api_server_peers: self.api_server_peers.apiserver_peer,
                node,
                rbac: self.rbac == Switch::On,
            },
        };
        let rbac = match self.rbac {
            Switch::On => Some(follow(self.cluster.options())?),
            Switch::Off => None,
        };
        Ok(attach(options, rbac, read_clock)?)
    }
}
