//! What the kernel programs report.

/// What a record is about, the first byte of its [`Header`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Request`]
    Request = 1,
    /// [`Check`]
    Check = 2,
    /// [`Answer`]
    Answer = 3,
    /// [`End`]
    End = 4,
    /// [`Socket`]
    Socket = 5,
    /// [`Question`] alone: of a user who was told by a [`Check`] over the same ring, less than [`TOLD_AGAIN`] before.
    Recheck = 6,
    /// [`crate::Whole`], and the records of a routine request.
    Whole = 7,
    /// [`crate::Whole`] alone: what happened is what another one told, at these times.
    Again = 8,
}

/// Which ring a record goes through. All records of one request use the same ring, so they arrive in order; only a request that was
/// refused one right and let in by another begins in the routine ring and is told anew, from its begin on, in the other.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Drained on a timer.
    Routine = 0,
    /// What is [`Guarded`] and was let in, and what cannot be told: wakes the agent at once. Whoever is refused sends nothing here.
    Priority = 1,
    /// Connections.
    Socket = 2,
}

/// The requests that go through the ring of the priority class as soon as they are let in, by the first word of their path.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// It is none of them, or that is not known.
    No = 0,
    /// `/exec`
    Exec = 1,
    /// `/attach`
    Attach = 2,
    /// `/run`
    Run = 3,
    /// `/portForward`
    PortForward = 4,
    /// `/checkpoint`
    Checkpoint = 5,
    /// Its path could not be read.
    Unreadable = 6,
}

/// How many classes there are, for per-class counters.
pub const CLASSES: usize = 3;

/// The head of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u8,
    /// A [`Class`].
    pub class: u8,
    /// Earlier records of this request that found no room, saturating.
    pub lost: u8,
    /// A [`Guarded`]: what the request asked for, for where the record of its begin is lost.
    pub path: u8,
    /// Bytes of the whole record, texts included.
    pub len: u32,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The process, as the initial PID namespace numbers it.
    pub tgid: u32,
    /// Index of the [`crate::Site`] that was hit; 0 for sockets.
    pub site: u32,
    /// Address of the goroutine's `g`; 0 for sockets.
    pub goroutine: u64,
    /// `time` of the request that this record belongs to, which with `tgid` and `goroutine` names it; 0 if its begin was not seen.
    pub request: u64,
}

/// One text of a record: how many bytes of it follow, and how long it really was.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Bytes that follow.
    pub stored: u16,
    /// Bytes of the original, saturating at [`Span::LONGEST`]; more than `stored` means that the text was cut.
    pub full: u16,
}

impl Span {
    /// The text could not be read: unknown, not absent.
    pub const UNREADABLE: Self = Self { stored: 0, full: u16::MAX };
    /// A map's value whose key was not seen; the record's [`Search`] tells whether that means absent or unknown.
    pub const ABSENT: Self = Self { stored: 0, full: u16::MAX - 1 };
    /// The largest length that `full` tells.
    pub const LONGEST: u16 = u16::MAX - 2;

    /// Of a text of so many bytes of which none was cut.
    pub const fn whole(length: u16) -> Self {
        Self { stored: length, full: length }
    }
}

/// How a Go map was searched for the keys that matter.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Not all of it could be read, or it has more entries than a probe may visit: a key that was not found is unknown.
    Cut = 0,
    /// All entries were looked at: a key that was not found is absent.
    Complete = 1,
}

/// The longest text of each kind that is kept, in bytes.
pub mod limit {
    /// Method, verb, subresource, protocol of an upgrade, `ip:port`.
    pub const WORD: usize = 64;
    /// Names of users, groups, nodes, pods, and ids.
    pub const NAME: usize = 256;
    /// The decoded path: an exec path with three names of 253 bytes and a UID fits.
    pub const PATH: usize = 1024;
    /// The request target as sent.
    pub const URI: usize = 4096;
    /// The authorizer's reason.
    pub const REASON: usize = 1024;
    /// A struct of the kubelet's that is read at once: more of it is not read.
    pub const STRUCT: u32 = 256;
    /// Groups of one user.
    pub const GROUPS: usize = 32;
    /// The longest record.
    pub const RECORD: usize = 16 * 1024;
}

/// A request reached `(*Server).ServeHTTP`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// `header.request` equals `header.time`, which is when it began, though the record may be sent later.
    pub header: Header,
    /// 1 when the server has no `auth`: the read-only port.
    pub read_only: u8,
    /// A [`Search`] of `req.Header`.
    pub headers: u8,
    /// 1 if method and target are there as in the request's line, with one byte between them, and the path is the beginning of the target.
    pub one_line: u8,
    /// Zero.
    pub reserved: u8,
    /// Inode of the network namespace that the kubelet runs in.
    pub netns: u32,
    /// Texts, by [`RequestText`].
    pub spans: [Span; RequestText::COUNT],
}

/// The texts of a [`Request`], in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum RequestText {
    /// `req.Method`
    Method,
    /// `req.URL.Path`, decoded
    Path,
    /// `req.RequestURI`, as sent
    Uri,
    /// `req.RemoteAddr`, `ip:port`
    RemoteAddr,
    /// The first `User-Agent` header
    UserAgent,
    /// The first `Upgrade` header
    Upgrade,
}

impl RequestText {
    /// How many there are.
    pub const COUNT: usize = 6;
}

/// `Authorize` answered one question about a request.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The common head.
    pub header: Header,
    /// 0 deny, 1 allow, 2 no opinion (`authorizer.Decision`, the same from 1.29 to 1.37).
    pub decision: u32,
    /// 1 when `Authorize` returned an error.
    pub error: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Names the [`Check`] that tells of the user: this one, or one before.
    pub told: u64,
    /// Texts, by [`QuestionText`].
    pub spans: [Span; QuestionText::COUNT],
}

/// After so many nanoseconds a user is told anew. What is at an address of the kubelet's memory may be another user by then.
pub const TOLD_AGAIN: u64 = 1_000_000_000;

/// The texts of a [`Question`], in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum QuestionText {
    /// `attr.GetVerb()`
    Verb,
    /// `attr.GetSubresource()`
    Subresource,
    /// `attr.GetName()`: the node
    Node,
    /// The authorizer's reason
    Reason,
}

impl QuestionText {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// A question, and whom it is about. The bytes of the question's texts come first, then those of the user's, then the groups.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The question.
    pub question: Question,
    /// Groups of the user; more than [`limit::GROUPS`] means that the rest is not here. `u16::MAX`: could not be read.
    pub groups: u16,
    /// A [`Search`] of the user's `Extra`.
    pub extra: u8,
    /// Zero.
    pub reserved: u8,
    /// Texts, by [`UserText`].
    pub spans: [Span; UserText::COUNT],
    /// The groups.
    pub group_spans: [Span; limit::GROUPS],
}

/// The texts about a user, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum UserText {
    /// `user.GetName()`
    Name,
    /// `user.GetUID()`
    Uid,
    /// Extra `authentication.kubernetes.io/pod-name`
    PodName,
    /// Extra `authentication.kubernetes.io/pod-uid`
    PodUid,
    /// Extra `authentication.kubernetes.io/node-name`
    NodeName,
    /// Extra `authentication.kubernetes.io/node-uid`
    NodeUid,
    /// Extra `authentication.kubernetes.io/credential-id`
    CredentialId,
}

impl UserText {
    /// How many there are.
    pub const COUNT: usize = 7;
}

/// The container runtime answered an upgrade.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The common head.
    pub header: Header,
    /// HTTP status of the runtime's answer.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
}

/// A request is over.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The common head.
    pub header: Header,
    /// Bytes of the response's body.
    pub written: i64,
    /// HTTP status that the handler wrote, 0 if it wrote none.
    pub status: u32,
    /// 1 if the connection was hijacked.
    pub hijacked: u8,
    /// 1 if the fields above could be read.
    pub readable: u8,
    /// 1 if the handler panicked, 0 if not, [`End::UNKNOWN`] if that cannot be told.
    pub panicked: u8,
    /// Zero.
    pub reserved: u8,
}

impl End {
    /// The value of `panicked` where the executable does not tell how to see it.
    pub const UNKNOWN: u8 = 2;
}

/// What happened to a connection.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// A process listens on a watched port.
    Listen = 1,
    /// A process of this node reached a watched port, here or elsewhere; `header.tgid` and `cgroup` are its own.
    Connected = 2,
    /// A connection to a watched port was accepted.
    Opened = 3,
    /// It is closed.
    Closed = 4,
}

/// A change of a TCP socket on a watched port.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// The common head.
    pub header: Header,
    /// cgroup v2 id of the process, 0 where it is not known.
    pub cgroup: u64,
    /// Inode of the socket's network namespace.
    pub netns: u32,
    /// A [`SocketEvent`].
    pub event: u8,
    /// 4 or 6.
    pub family: u8,
    /// The watched port.
    pub server_port: u16,
    /// The client's port.
    pub client_port: u16,
    /// Zero.
    pub reserved: [u8; 6],
    /// The server's address; IPv4 in the first four bytes.
    pub server: [u8; 16],
    /// The client's address.
    pub client: [u8; 16],
    /// `comm` of the process for `Listen` and `Connected`.
    pub comm: [u8; 16],
}

/// Per-CPU counters of the kernel programs, by [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Records that found no room in the routine ring.
    LostRoutine = 0,
    /// Records that found no room in the priority ring.
    LostPriority = 1,
    /// Records that found no room in the socket ring.
    LostSocket = 2,
    /// Hits in a process that is not believed.
    Disbelieved = 3,
    /// Hits whose registers or memory contradict the plan: nothing was reported.
    Contradicted = 4,
    /// Requests that are over and of which no record found room in the routine ring.
    UnseenRoutine = 5,
    /// The same for the priority ring.
    UnseenPriority = 6,
    /// Requests that began in a believed process, whether or not their records found room: what the kubelet itself counts too.
    Begun = 7,
    /// TCP sockets of this machine that changed their state, on whatever port: as long as it moves, the tracepoint is alive.
    Transitions = 8,
}

impl Counter {
    /// How many there are.
    pub const COUNT: u32 = 9;
}
