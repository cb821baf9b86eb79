//! What the probes saw, decoded: one [`Observation`] for each kernel record. Values only, no I/O.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// Names one request: its process, its goroutine, and when it began.
///
/// A goroutine serves many requests one after the other, so the begin belongs to the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// The kubelet's process, in the initial PID namespace.
    pub tgid: u32,
    /// Address of the goroutine's `g`.
    pub goroutine: u64,
    /// When the request began; `None` if that was not seen.
    pub begin: Option<Timestamp>,
}

/// A text that was copied out of the kubelet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Text {
    /// All of it.
    Whole(Utf8),
    /// Its beginning, and how many bytes it had in all (at least; the count saturates at 65,534).
    Cut(Utf8, usize),
    /// It could not be read: unknown, not absent.
    #[default]
    Unreadable,
}

impl Text {
    /// What is known of it, the whole or its beginning.
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Whole(text) | Self::Cut(text, _) => Some(text.as_str()),
            Self::Unreadable => None,
        }
    }

    /// All of it, or nothing.
    pub fn whole(&self) -> Option<&str> {
        match self {
            Self::Whole(text) => Some(text.as_str()),
            Self::Cut(..) | Self::Unreadable => None,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Whole(Utf8::new(Bytes::copy_from_slice(text.as_bytes())))
    }
}

/// Bytes that are UTF-8, shared with the record that they came in.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Utf8(Bytes);

impl Utf8 {
    /// Takes bytes that a caller chose; what is not UTF-8 in them becomes U+FFFD.
    pub fn new(bytes: Bytes) -> Self {
        match String::from_utf8_lossy(&bytes) {
            std::borrow::Cow::Borrowed(_) => Self(bytes),
            std::borrow::Cow::Owned(text) => Self(Bytes::from(text)),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Utf8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

/// The value of a key in a map of the kubelet.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Lookup {
    /// The first value of the key.
    Found(Text),
    /// All keys were looked at, and it was not among them.
    Absent,
    /// Not all keys could be looked at.
    #[default]
    Unknown,
}

impl Lookup {
    /// The value, if it is known and there.
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Found(text) => text.known(),
            Self::Absent | Self::Unknown => None,
        }
    }
}

/// One thing that the kernel programs reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A request reached the kubelet's server.
    Request(RequestId, Request),
    /// The kubelet asked its authorizer a question about it.
    Check(RequestId, Check),
    /// The container runtime answered its upgrade, with this HTTP status.
    Answer(RequestId, Timestamp, u16),
    /// It is over.
    End(RequestId, End),
    /// A connection on a watched port changed.
    Socket(Socket),
}

/// A request as the kubelet's `net/http` parsed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it reached `ServeHTTP`.
    pub time: Timestamp,
    /// Inode of the kubelet's network namespace.
    pub netns: u32,
    /// It came to the read-only port, which has no authentication.
    pub read_only: bool,
    /// `GET`, `POST`, …
    pub method: Text,
    /// The decoded path, which the kubelet routes by.
    pub path: Text,
    /// The request target as sent, with the query.
    pub uri: Text,
    /// The peer.
    pub remote: Option<SocketAddr>,
    /// `User-Agent`
    pub user_agent: Lookup,
    /// `Upgrade`
    pub upgrade: Lookup,
}

/// One question to the authorizer, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// When the answer was there.
    pub time: Timestamp,
    /// Who asked. Many requests are of the same few.
    pub user: Arc<User>,
    /// `get`, `create`, … or empty for methods that have no verb.
    pub verb: Text,
    /// `proxy`, `metrics`, …
    pub subresource: Text,
    /// The node's name.
    pub node: Text,
    /// The answer.
    pub decision: Decision,
    /// Why, in the authorizer's words.
    pub reason: Text,
}

/// `k8s.io/apiserver/pkg/authorization/authorizer.Decision`, or the error that stood in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// 0
    Deny,
    /// 1
    Allow,
    /// 2
    NoOpinion,
    /// The authorizer failed; the kubelet answers 500.
    Error,
}

/// The user as the kubelet authenticated them (`k8s.io/apiserver/pkg/authentication/user.DefaultInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The username.
    pub name: Text,
    /// The UID, often empty.
    pub uid: Text,
    /// The groups that were read.
    pub groups: Vec<Text>,
    /// How many groups there are; `None` if they could not be read.
    pub group_count: Option<usize>,
    /// Extra `authentication.kubernetes.io/pod-name`
    pub pod_name: Lookup,
    /// Extra `authentication.kubernetes.io/pod-uid`
    pub pod_uid: Lookup,
    /// Extra `authentication.kubernetes.io/node-name`
    pub node_name: Lookup,
    /// Extra `authentication.kubernetes.io/node-uid`
    pub node_uid: Lookup,
    /// Extra `authentication.kubernetes.io/credential-id`
    pub credential_id: Lookup,
}

impl User {
    /// Whether the groups that were read are all that there are, and whole.
    pub fn all_groups_known(&self) -> bool {
        self.group_count == Some(self.groups.len()) && self.groups.iter().all(|group| group.whole().is_some())
    }
}

/// Users that are shared at a time: whatever is kept for each of them is kept for so many.
pub const SHARED_USERS: usize = 1024;

/// A user as a key, by where they lie: those who come again are shared. Two that are alike may still be two.
#[derive(Clone, Debug)]
pub struct SharedUser(pub Arc<User>);

impl PartialEq for SharedUser {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedUser {}

impl Hash for SharedUser {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub time: Timestamp,
    /// What the handler left behind; `None` if it could not be read.
    pub response: Option<Response>,
    /// The handler panicked, and the connection was cut; `None` if that cannot be told.
    pub panicked: Option<bool>,
}

impl End {
    /// The status that the client got, unless the connection was hijacked: for a handler that wrote none, and did not panic, `net/http` sends
    /// 200 (`net/http/server.go`, `(*response).finishRequest`).
    pub fn status(&self) -> Option<u16> {
        match self.response?.status {
            0 => (self.panicked == Some(false)).then_some(200),
            status => Some(status),
        }
    }
}

/// What a handler wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status; 0 if the handler wrote none (then `net/http` sends 200, or a panic cut the connection).
    pub status: u16,
    /// Bytes of the body.
    pub written: u64,
    /// The handler took the connection over: the status says nothing.
    pub hijacked: bool,
}

/// A change of a TCP socket on a watched port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// When.
    pub time: Timestamp,
    /// What happened.
    pub event: SocketEvent,
    /// Inode of the socket's network namespace.
    pub netns: u32,
    /// The server's address and the watched port.
    pub server: SocketAddr,
    /// The client's; unspecified for `Listen`.
    pub client: SocketAddr,
}

/// What happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// A process listens.
    Listen(Process),
    /// A process of this node connected.
    Connected(Process),
    /// A connection was accepted.
    Opened,
    /// It is closed.
    Closed,
}

/// A process of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id, in the initial PID namespace.
    pub pid: u32,
    /// `comm`, at most 15 bytes.
    pub comm: String,
    /// Its cgroup v2 id, 0 where it is not known.
    pub cgroup: u64,
}

/// `::ffff:1.2.3.4` is 1.2.3.4: a dual-stack listener shows IPv4 peers in either form.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::to_canonical(&address.ip()), address.port())
}
