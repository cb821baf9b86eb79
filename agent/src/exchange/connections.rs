//! Connections on the watched ports, joined with the process of this node that opened them and with the requests that came over them.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

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
    Closed(u16),
    /// No request came over one that is closed: a handshake that failed, or a hole in the capture.
    Silent,
    /// One that is open is forgotten, because there are too many.
    Evicted(u16),
}

#[derive(Debug)]
struct Connection {
    opened: Timestamp,
    closed: Option<Timestamp>,
    caller: Caller,
    requests: u64,
}

/// How long a connection is remembered that is closed: a client may be gone long before its request is over, which is told when it is.
const REMEMBERED: Duration = Duration::from_secs(10);

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
    /// Those that are closed.
    closed: Bounded<ConnectionId, Connection>,
    /// When they were, in that order, and no more of them than are remembered.
    closings: VecDeque<(Timestamp, ConnectionId)>,
    most_closed: usize,
    connecting: Bounded<Path, Connector>,
}

impl Connections {
    /// Remembers at most `limit` open connections, as many local clients, and a quarter of that of closed connections.
    pub fn new(limit: usize) -> Self {
        let most_closed = limit.div_ceil(4);
        Self {
            open: Bounded::new(limit),
            closed: Bounded::new(most_closed),
            closings: VecDeque::new(),
            most_closed,
            connecting: Bounded::new(limit),
        }
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
                let evicted = self.open.insert(id, Connection { opened: socket.time, closed: None, caller, requests: 0 });
                let evicted = evicted.map(|(evicted, _)| ConnectionStep::Evicted(evicted.port));
                evicted.into_iter().chain([ConnectionStep::Opened(id.port)]).collect()
            }
            SocketEvent::Closed => {
                // Ends come late: the peer's port may have been taken by another connection meanwhile.
                if self.open.get(&id).is_some_and(|connection| connection.opened > socket.time) {
                    return Vec::new();
                }
                let Some(connection) = self.open.remove(&id) else { return Vec::new() };
                let gone = self.closed.insert(id, Connection { closed: Some(socket.time), ..connection });
                let silent = gone.and_then(|(_, gone)| gone.silence());
                self.closings.push_back((socket.time, id));
                let mut too_many = self.closings.len().saturating_sub(self.most_closed);
                let oldest = self.forget_while(|_| std::mem::replace(&mut too_many, 0) > 0);
                [ConnectionStep::Closed(id.port)].into_iter().chain(silent).chain(oldest).collect()
            }
        }
    }

    /// Time passed: what was closed long enough ago is forgotten.
    pub fn forget(&mut self, now: Timestamp) -> Vec<ConnectionStep> {
        let is_long_ago = |closed: Timestamp| u128::from(now.0.saturating_sub(closed.0)) >= REMEMBERED.as_nanos();
        self.forget_while(is_long_ago)
    }

    /// Forgets the one that was closed first as long as this says so of when it was.
    fn forget_while(&mut self, mut is_due: impl FnMut(Timestamp) -> bool) -> Vec<ConnectionStep> {
        let mut steps = Vec::new();
        while let Some((closed, id)) = self.closings.pop_front_if(|(closed, _)| is_due(*closed)) {
            // Another connection of this peer may have come and gone since.
            if self.closed.get(&id).is_some_and(|connection| connection.closed == Some(closed)) {
                steps.extend(self.closed.remove(&id).and_then(Connection::silence));
            }
        }
        steps
    }

    /// Nothing follows any more.
    pub fn stop(&mut self) -> Vec<ConnectionStep> {
        self.forget(Timestamp(u64::MAX))
    }

    /// Notes that a request which began then came over a connection.
    pub fn request(&mut self, id: &ConnectionId, begin: Timestamp) {
        if let Some(connection) = self.of(id, begin) {
            connection.requests += 1;
        }
    }

    /// Who was at the other end then.
    pub fn caller(&mut self, id: &ConnectionId, begin: Timestamp) -> Caller {
        self.of(id, begin).map_or(Caller::Unknown, |connection| connection.caller.clone())
    }

    /// The connection that a request came over which began then: a peer's port is taken again and again.
    fn of(&mut self, id: &ConnectionId, begin: Timestamp) -> Option<&mut Connection> {
        let was_open = |connection: &&mut Connection| connection.opened <= begin && connection.closed.is_none_or(|closed| begin <= closed);
        match self.open.get_mut(id).filter(was_open) {
            Some(connection) => Some(connection),
            None => self.closed.get_mut(id).filter(was_open),
        }
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.len()
    }
}

impl Connection {
    /// What there is to say if no request came over it.
    fn silence(self) -> Option<ConnectionStep> {
        (self.requests == 0).then_some(ConnectionStep::Silent)
    }
}
