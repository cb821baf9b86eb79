//! Connections on the watched ports, joined with the process of this node that opened them and with the requests that came over them.

use std::net::SocketAddr;

use super::{Caller, LocalCaller, bounded::Bounded};
use crate::observation::{Socket, SocketEvent, Timestamp};

/// A connection as the server knows it: its network namespace, its port, and the peer. A peer's port is in use once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Inode of the server's network namespace.
    pub netns: u32,
    /// The watched port.
    pub port: u16,
    /// The peer.
    pub client: SocketAddr,
}

/// What a change of a connection means for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStep {
    /// One more is open on this port.
    Opened(u16),
    /// One that was seen to open is closed.
    Closed {
        /// The watched port.
        port: u16,
        /// No request came over it: a handshake that failed, or a hole in the capture.
        without_request: bool,
    },
    /// One that is open is forgotten, because there are too many.
    Evicted(u16),
}

#[derive(Debug)]
struct Connection {
    opened: Timestamp,
    caller: Caller,
    requests: u64,
}

/// Where a local client's connection goes to, and from where.
type Path = (SocketAddr, SocketAddr);

/// Who connected, once or from several network namespaces with the same addresses.
#[derive(Debug)]
enum Connector {
    One(LocalCaller),
    Ambiguous,
}

/// All connections that are known, within bounds.
#[derive(Debug)]
pub struct Connections {
    open: Bounded<ConnectionId, Connection>,
    connecting: Bounded<Path, Connector>,
}

impl Connections {
    /// Remembers at most `limit` open connections, and as many local clients.
    pub fn new(limit: usize) -> Self {
        Self { open: Bounded::new(limit), connecting: Bounded::new(limit) }
    }

    /// Takes a change of a socket; `caller` is who connected, for [`SocketEvent::Connected`].
    pub fn observe(&mut self, socket: &Socket, caller: Option<LocalCaller>) -> Vec<ConnectionStep> {
        let id = ConnectionId { netns: socket.netns, port: socket.server.port(), client: socket.client };
        let path = (socket.server, socket.client);
        match socket.event {
            SocketEvent::Listen(_) => Vec::new(),
            SocketEvent::Connected(_) => {
                // The client's end is established before the server's, so an entry that is still there belongs to somebody else.
                let connector = if self.connecting.get(&path).is_some() { None } else { caller };
                self.connecting.insert(path, connector.map_or(Connector::Ambiguous, Connector::One));
                Vec::new()
            }
            SocketEvent::Opened => {
                let caller = match self.connecting.remove(&path) {
                    Some(Connector::One(caller)) => Caller::Local(caller.into()),
                    Some(Connector::Ambiguous) => Caller::Unknown,
                    None => Caller::Remote,
                };
                let evicted = self.open.insert(id, Connection { opened: socket.time, caller, requests: 0 });
                let evicted = evicted.map(|(evicted, _)| ConnectionStep::Evicted(evicted.port));
                evicted.into_iter().chain([ConnectionStep::Opened(id.port)]).collect()
            }
            SocketEvent::Closed => {
                // Ends come late: the peer's port may have been taken by another connection meanwhile.
                if self.open.get(&id).is_some_and(|connection| connection.opened > socket.time) {
                    return Vec::new();
                }
                let connection = self.open.remove(&id);
                let step = |connection: Connection| ConnectionStep::Closed { port: id.port, without_request: connection.requests == 0 };
                connection.map(step).into_iter().collect()
            }
        }
    }

    /// Notes that a request came over a connection.
    pub fn request(&mut self, id: &ConnectionId) {
        if let Some(connection) = self.open.get_mut(id) {
            connection.requests += 1;
        }
    }

    /// Who is at the other end.
    pub fn caller(&self, id: &ConnectionId) -> Caller {
        self.open.get(id).map_or(Caller::Unknown, |connection| connection.caller.clone())
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.len()
    }
}
