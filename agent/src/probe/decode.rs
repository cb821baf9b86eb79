//! From the bytes of a kernel record to an [`Observation`]. Pure, and every length is checked: a ring is trusted, but not blindly.

use std::{
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use kubewitness_wire as wire;
use thiserror::Error;

use super::{
    Users,
    whole::{Whole, again, whole},
};
use crate::exchange::{Again, Arrival};
use crate::kubelet::Endpoint;
use crate::observation::{
    Check, Decision, End, Lookup, Observation, Process, Request, RequestId, Response, Socket, SocketEvent, Text, Timestamp, User, Utf8,
    canonical,
};

/// A record that the kernel programs of this build would not send.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends before its fixed part or its texts do.
    #[error("a kernel record of {0} bytes ends too early")]
    Short(usize),
    /// Its first byte names no kind, or a field holds a value that it cannot have.
    #[error("a kernel record has the impossible value {value} as its {field}")]
    Impossible {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// It tells of a request that was as one that was not seen.
    #[error("a kernel record tells of a request as one that is not known")]
    Unknown,
}

/// What a record tells.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// One thing.
    One(Decoded),
    /// All that is to be told of a request.
    Whole(Whole),
    /// The same of another one.
    Again(Again),
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What was seen.
    pub observation: Observation,
    /// How it came.
    pub arrival: Arrival,
}

/// Decodes one record; its texts share its bytes, and the user of a check is one of `users`.
pub fn decode(record: &Bytes, users: &mut Users) -> Result<Told, DecodeError> {
    let fields = Fields(record);
    let kind = fields.u8(offset_of!(wire::Header, kind))?;
    let arrival = Arrival {
        priority: fields.u8(offset_of!(wire::Header, class))? == wire::Class::Priority as u8,
        lost: fields.u8(offset_of!(wire::Header, lost))?,
        endpoint: guarded(fields.u8(offset_of!(wire::Header, path))?)?,
    };
    let time = Timestamp(fields.u64(offset_of!(wire::Header, time))?);
    let begin = fields.u64(offset_of!(wire::Header, request))?;
    let id = RequestId {
        tgid: fields.u32(offset_of!(wire::Header, tgid))?,
        goroutine: fields.u64(offset_of!(wire::Header, goroutine))?,
        begin: (begin != 0).then_some(Timestamp(begin)),
    };
    if kind == wire::Kind::Whole as u8 {
        return whole(record, id, arrival.lost, users).map(Told::Whole);
    }
    if kind == wire::Kind::Again as u8 {
        return again(fields, id).map(Told::Again);
    }
    Ok(Told::One(Decoded { observation: observation(fields, id, time, users)?, arrival }))
}

/// What a record tells that is not made of others.
pub(super) fn observation(fields: Fields<'_>, id: RequestId, time: Timestamp, users: &mut Users) -> Result<Observation, DecodeError> {
    let kind = fields.u8(offset_of!(wire::Header, kind))?;
    if kind == wire::Kind::Request as u8 {
        Ok(Observation::Request(id, request(fields, time)?))
    } else if kind == wire::Kind::Check as u8 {
        Ok(Observation::Check(id, question(fields, users.told(fields)?, time)?))
    } else if kind == wire::Kind::Recheck as u8 {
        Ok(Observation::Check(id, question(fields, users.told_before(fields)?, time)?))
    } else if kind == wire::Kind::Answer as u8 {
        Ok(Observation::Answer(id, time, status(fields.u32(offset_of!(wire::Answer, status))?)))
    } else if kind == wire::Kind::End as u8 {
        Ok(Observation::End(id, end(fields, time)?))
    } else if kind == wire::Kind::Socket as u8 {
        Ok(Observation::Socket(socket(fields, time, id.tgid)?))
    } else {
        Err(DecodeError::Impossible { field: "kind", value: kind.into() })
    }
}

fn request(fields: Fields<'_>, time: Timestamp) -> Result<Request, DecodeError> {
    let mut texts = fields.texts(size_of::<wire::Request>());
    let span = |text: wire::RequestText| offset_of!(wire::Request, spans) + SPAN * text as usize;
    let is_one_line = fields.u8(offset_of!(wire::Request, one_line))? != 0;
    let complete = fields.u8(offset_of!(wire::Request, headers))? == wire::Search::Complete as u8;
    let method = texts.next(span(wire::RequestText::Method))?.text();
    let path = if is_one_line {
        texts.position += 1;
        texts.ahead(span(wire::RequestText::Path))?
    } else {
        texts.next(span(wire::RequestText::Path))?
    };
    let mut next = |text| texts.next(span(text));
    Ok(Request {
        time,
        netns: fields.u32(offset_of!(wire::Request, netns))?,
        read_only: fields.u8(offset_of!(wire::Request, read_only))? != 0,
        method,
        path: path.text(),
        uri: next(wire::RequestText::Uri)?.text(),
        remote: next(wire::RequestText::RemoteAddr)?.text().whole().and_then(|text| text.parse().ok()).map(canonical),
        user_agent: next(wire::RequestText::UserAgent)?.lookup(complete),
        upgrade: next(wire::RequestText::Upgrade)?.lookup(complete),
    })
}

/// A question, which is all of a record or its beginning.
fn question(fields: Fields<'_>, user: Arc<User>, time: Timestamp) -> Result<Check, DecodeError> {
    let kind = fields.u8(offset_of!(wire::Header, kind))?;
    let mut texts = fields.texts(if kind == wire::Kind::Check as u8 { size_of::<wire::Check>() } else { size_of::<wire::Question>() });
    let mut next = |text: wire::QuestionText| Ok(texts.next(offset_of!(wire::Question, spans) + SPAN * text as usize)?.text());
    let decision = match (fields.u8(offset_of!(wire::Question, error))?, fields.u32(offset_of!(wire::Question, decision))?) {
        (0, 0) => Decision::Deny,
        (0, 1) => Decision::Allow,
        (0, 2) => Decision::NoOpinion,
        (0, value) => return Err(DecodeError::Impossible { field: "decision", value: value.into() }),
        _ => Decision::Error,
    };
    Ok(Check {
        time,
        user,
        verb: next(wire::QuestionText::Verb)?,
        subresource: next(wire::QuestionText::Subresource)?,
        node: next(wire::QuestionText::Node)?,
        decision,
        reason: next(wire::QuestionText::Reason)?,
    })
}

/// The user of a check, whose texts begin at `start`.
pub(super) fn user(fields: Fields<'_>, start: usize) -> Result<User, DecodeError> {
    let mut texts = fields.texts(start);
    let mut next = |text: wire::UserText| texts.next(offset_of!(wire::Check, spans) + SPAN * text as usize);
    let complete = fields.u8(offset_of!(wire::Check, extra))? == wire::Search::Complete as u8;
    let name = next(wire::UserText::Name)?.text();
    let uid = next(wire::UserText::Uid)?.text();
    let pod_name = next(wire::UserText::PodName)?.lookup(complete);
    let pod_uid = next(wire::UserText::PodUid)?.lookup(complete);
    let node_name = next(wire::UserText::NodeName)?.lookup(complete);
    let node_uid = next(wire::UserText::NodeUid)?.lookup(complete);
    let credential_id = next(wire::UserText::CredentialId)?.lookup(complete);
    let count = fields.u16(offset_of!(wire::Check, groups))?;
    let group_count = (count != u16::MAX).then_some(usize::from(count));
    let groups = (0..group_count.unwrap_or(0).min(wire::limit::GROUPS))
        .map(|index| Ok(texts.next(offset_of!(wire::Check, group_spans) + SPAN * index)?.text()))
        .collect::<Result<_, DecodeError>>()?;
    Ok(User { name, uid, groups, group_count, pod_name, pod_uid, node_name, node_uid, credential_id })
}

fn end(fields: Fields<'_>, time: Timestamp) -> Result<End, DecodeError> {
    let readable = fields.u8(offset_of!(wire::End, readable))? != 0;
    let response = Response {
        status: status(fields.u32(offset_of!(wire::End, status))?),
        written: fields.u64(offset_of!(wire::End, written))?.cast_signed().max(0).cast_unsigned(),
        hijacked: fields.u8(offset_of!(wire::End, hijacked))? != 0,
    };
    let panicked = match fields.u8(offset_of!(wire::End, panicked))? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    Ok(End { time, response: readable.then_some(response), panicked })
}

fn socket(fields: Fields<'_>, time: Timestamp, tgid: u32) -> Result<Socket, DecodeError> {
    let event = fields.u8(offset_of!(wire::Socket, event))?;
    let family = fields.u8(offset_of!(wire::Socket, family))?;
    let address = |at: usize, port: u16| -> Result<SocketAddr, DecodeError> {
        let bytes: [u8; 16] = fields.array(at)?;
        let ip = match family {
            4 => IpAddr::from(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
            6 => IpAddr::from(Ipv6Addr::from(bytes)),
            value => return Err(DecodeError::Impossible { field: "address family", value: value.into() }),
        };
        Ok(canonical(SocketAddr::new(ip, port)))
    };
    let comm: [u8; 16] = fields.array(offset_of!(wire::Socket, comm))?;
    let process = Process {
        pid: tgid,
        comm: String::from_utf8_lossy(comm.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned(),
        cgroup: fields.u64(offset_of!(wire::Socket, cgroup))?,
    };
    Ok(Socket {
        time,
        event: match event {
            1 => SocketEvent::Listen(process),
            2 => SocketEvent::Connected(process),
            3 => SocketEvent::Opened,
            4 => SocketEvent::Closed,
            value => return Err(DecodeError::Impossible { field: "socket event", value: value.into() }),
        },
        netns: fields.u32(offset_of!(wire::Socket, netns))?,
        server: address(offset_of!(wire::Socket, server), fields.u16(offset_of!(wire::Socket, server_port))?)?,
        client: address(offset_of!(wire::Socket, client), fields.u16(offset_of!(wire::Socket, client_port))?)?,
    })
}

/// The process that a record is of, in the agent's PID namespace; `None` for connections, which are anybody's, and for what is no record.
pub fn sender(record: &Bytes) -> Option<u32> {
    let fields = Fields(record);
    let is_socket = fields.u8(offset_of!(wire::Header, kind)).ok()? == wire::Kind::Socket as u8;
    if is_socket { None } else { fields.u32(offset_of!(wire::Header, tgid)).ok() }
}

/// What a request asked for, as far as the kernel programs looked. A path that they could not read is none that is known.
fn guarded(path: u8) -> Result<Option<Endpoint>, DecodeError> {
    const KNOWN: [(wire::Guarded, Endpoint); 5] = [
        (wire::Guarded::Exec, Endpoint::Exec(None)),
        (wire::Guarded::Attach, Endpoint::Attach(None)),
        (wire::Guarded::Run, Endpoint::Run(None)),
        (wire::Guarded::PortForward, Endpoint::PortForward(None)),
        (wire::Guarded::Checkpoint, Endpoint::Checkpoint(None)),
    ];
    if path > wire::Guarded::Unreadable as u8 {
        return Err(DecodeError::Impossible { field: "path", value: path.into() });
    }
    Ok(KNOWN.into_iter().find(|(known, _)| *known as u8 == path).map(|(_, endpoint)| endpoint))
}

/// An HTTP status; what does not fit is none.
fn status(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(0)
}

pub(super) const SPAN: usize = size_of::<wire::Span>();

/// The fixed part of a record.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Bytes);

impl<'a> Fields<'a> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], DecodeError> {
        let bytes = self.0.get(at..at + N).ok_or(DecodeError::Short(self.0.len()))?;
        bytes.try_into().map_err(|_| DecodeError::Short(self.0.len()))
    }

    pub(super) fn u8(self, at: usize) -> Result<u8, DecodeError> {
        self.array(at).map(u8::from_ne_bytes)
    }

    pub(super) fn u16(self, at: usize) -> Result<u16, DecodeError> {
        self.array(at).map(u16::from_ne_bytes)
    }

    pub(super) fn u32(self, at: usize) -> Result<u32, DecodeError> {
        self.array(at).map(u32::from_ne_bytes)
    }

    pub(super) fn u64(self, at: usize) -> Result<u64, DecodeError> {
        self.array(at).map(u64::from_ne_bytes)
    }

    /// The texts behind a fixed part of `size` bytes.
    fn texts(self, size: usize) -> Texts<'a> {
        Texts { fields: self, position: size }
    }
}

/// Walks along the texts of a record, in the order of their spans.
struct Texts<'a> {
    fields: Fields<'a>,
    position: usize,
}

impl Texts<'_> {
    fn next(&mut self, span: usize) -> Result<Taken, DecodeError> {
        let taken = self.ahead(span)?;
        self.position += taken.bytes.len();
        Ok(taken)
    }

    /// The next one, which stays there.
    fn ahead(&self, span: usize) -> Result<Taken, DecodeError> {
        let stored = self.fields.u16(span)?;
        let full = self.fields.u16(span + offset_of!(wire::Span, full))?;
        let end = self.position + usize::from(stored);
        if end > self.fields.0.len() {
            return Err(DecodeError::Short(self.fields.0.len()));
        }
        Ok(Taken { span: wire::Span { stored, full }, bytes: self.fields.0.slice(self.position..end) })
    }
}

struct Taken {
    span: wire::Span,
    bytes: Bytes,
}

impl Taken {
    fn text(self) -> Text {
        if self.span == wire::Span::UNREADABLE || self.span == wire::Span::ABSENT {
            return Text::Unreadable;
        }
        let text = Utf8::new(self.bytes);
        if self.span.full > self.span.stored { Text::Cut(text, self.span.full.into()) } else { Text::Whole(text) }
    }

    /// `complete`: all keys of the map were looked at.
    fn lookup(self, complete: bool) -> Lookup {
        if self.span != wire::Span::ABSENT {
            return Lookup::Found(self.text());
        }
        if complete { Lookup::Absent } else { Lookup::Unknown }
    }
}
