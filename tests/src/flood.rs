//! Requests to a kubelet as fast as it answers them, and sessions by the thousand; `kubeflood` of `tests/go-flood` sends them.

use std::{io, path::Path, process::Command, time::Duration};

use crate::{
    build,
    call::{Answers, Running},
    cluster::{Cluster, Token},
};

/// Many requests of one kind. `{n}` in the path and in headers is the number of the request.
#[derive(Clone, Debug)]
pub struct Flood {
    arguments: Vec<String>,
    token: Option<Token>,
}

/// How a session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// A WebSocket with this subprotocol.
    WebSocket(&'static str),
    /// SPDY/3.1
    Spdy,
}

impl Flood {
    /// `GET` of a path, until it is stopped, over 16 connections.
    pub fn get(path: &str) -> Self {
        Self { arguments: vec!["--path".to_owned(), path.to_owned()], token: None }
    }

    /// Sessions, each over a connection of its own.
    pub fn sessions(path: &str, upgrade: Upgrade) -> Self {
        match upgrade {
            Upgrade::WebSocket(protocol) => {
                Self::get(path).with("--upgrade", "websocket").header(&format!("Sec-WebSocket-Protocol: {protocol}"))
            }
            Upgrade::Spdy => Self::get(path).with("--upgrade", "spdy"),
        }
    }

    /// With another method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.with("--method", method)
    }

    /// With a bearer token, which goes over standard input.
    #[must_use]
    pub fn token(self, token: &Token) -> Self {
        Self { token: Some(token.clone()), ..self }.with("--token-file", "-")
    }

    /// As the owner of a client certificate.
    #[must_use]
    pub fn certificate(self, certificate: &Path, key: &Path) -> Self {
        self.with("--cert", &certificate.display().to_string()).with("--key", &key.display().to_string())
    }

    /// With a header, `NAME: VALUE`.
    #[must_use]
    pub fn header(self, header: &str) -> Self {
        self.with("--header", header)
    }

    /// With a user agent, by which a test finds its own events.
    #[must_use]
    pub fn user_agent(self, name: &str) -> Self {
        self.header(&format!("User-Agent: {name}"))
    }

    /// So many requests and no more.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        self.with("--count", &count.to_string())
    }

    /// For so long and no longer.
    #[must_use]
    pub fn lasting(self, time: Duration) -> Self {
        self.with("--for", &format!("{}ms", time.as_millis()))
    }

    /// Over so many connections at once.
    #[must_use]
    pub fn connections(self, connections: u32) -> Self {
        self.with("--connections", &connections.to_string())
    }

    /// At most so many a second.
    #[must_use]
    pub fn rate(self, rate: u32) -> Self {
        self.with("--rate", &rate.to_string())
    }

    /// Each session is ended as soon as it is open.
    #[must_use]
    pub fn hanging_up(self) -> Self {
        self.with("--hang-up=true", "")
    }

    /// So many bytes of each answer are read, then the connection is reset: counted as 499.
    #[must_use]
    pub fn cutting(self, bytes: u32) -> Self {
        self.with("--cut", &bytes.to_string())
    }

    /// Where nobody listens it is tried again for so long.
    #[must_use]
    pub fn while_refused(self, patience: Duration) -> Self {
        self.with("--retry", &format!("{}ms", patience.as_millis()))
    }

    /// Sends them all from the node.
    pub fn send(&self, cluster: &Cluster) -> io::Result<Answers> {
        self.start(cluster)?.wait()
    }

    /// Starts to send them from the node, and does not wait.
    pub fn start(&self, cluster: &Cluster) -> io::Result<Running> {
        let program = build::flood().build().map_err(io::Error::other)?;
        let mut command: Command = cluster.command(program);
        command.arg("--address").arg(format!("{}:10250", cluster.address())).args(&self.arguments);
        Running::spawn(command, self.token.as_ref())
    }

    fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self.arguments.extend(Some(value).filter(|value| !value.is_empty()).map(str::to_owned));
        self
    }
}
