//! A row of the table: one request, and what the kubelet makes of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::http::Then;
use crate::people::{Caller, GET_PROXY, right};

/// One request, and what the kubelet makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The method, as sent.
    pub(crate) method: &'static str,
    /// The request target, as sent.
    pub(crate) target: String,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body; empty if there is none.
    pub(crate) body: &'static str,
    /// The subresources of `nodes` that the authorizer is asked about, in this order until it allows. Empty: it is not asked at all.
    pub(crate) asks: Vec<&'static str>,
    /// The status that is sent to those who are let in, and to everybody where nothing is asked.
    pub(crate) code: u16,
    /// What the path names.
    pub(crate) object: Object,
    /// What it means to be let in.
    pub(crate) kind: Kind,
    /// Who is tried.
    pub(crate) callers: Vec<Caller>,
    /// What the client does once protocols were switched.
    pub(crate) then: Then,
    /// Where the token is.
    pub(crate) token: TokenIn,
}

/// How a bearer token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenIn {
    /// `Authorization: Bearer TOKEN`
    Authorization,
    /// Among the subprotocols of a WebSocket, as browsers do it.
    Subprotocol,
}

/// The object of a request.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// The node; the subresource is the one that was asked about last, or else this one.
    Node(&'static str),
    /// The pod `default/NAME`, with this uid in the path if there is one.
    Pod {
        /// Its name.
        name: &'static str,
        /// The uid in the path.
        uid: String,
        /// What of it.
        subresource: &'static str,
    },
}

/// What it means to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing that a finding is about.
    Harmless,
    /// Logs are read, if the status says so.
    Logs,
    /// The kubelet is debugged, if the status says so.
    Debug,
    /// A container is checkpointed, if the status says so.
    Checkpoint,
    /// exec, attach, run or portForward.
    Exec(Ran),
}

/// How an exec, attach, run or portForward that was let in goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It runs, and the runtime's answer passes where it can be seen.
    Answered,
    /// It runs, as long as the client waits for it, and no answer is seen.
    Briefly,
    /// It runs for far longer than 300 ms, and no answer is seen.
    Lasting,
    /// It runs on for a while after the client has left, and no answer is seen.
    Whenever,
    /// It does not run.
    Not,
}

impl Row {
    /// A request for which the authorizer is asked these questions.
    pub(crate) fn new(method: &'static str, target: impl Into<String>, asks: &[&'static str]) -> Self {
        let mut callers: Vec<_> = asks.iter().map(|subresource| Caller::With(right(subresource))).collect();
        // Whoever has nothing but `nodes/proxy`: let in by the fallback, or because nothing finer exists, or not at all.
        if !asks.contains(&"proxy") {
            callers.push(Caller::With(right("proxy")));
        }
        callers.extend([Caller::Powerless, Caller::Forger]);
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: "",
            asks: asks.to_vec(),
            code: 200,
            object: Object::Node(asks.first().copied().unwrap_or_default()),
            kind: Kind::Harmless,
            callers,
            then: Then::Leave,
            token: TokenIn::Authorization,
        }
    }

    /// A request that is answered before anything is asked.
    pub(crate) fn unchecked(method: &'static str, target: impl Into<String>, code: u16) -> Self {
        Self::new(method, target, &[]).code(code)
    }

    pub(crate) fn code(self, code: u16) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn object(self, object: Object) -> Self {
        Self { object, ..self }
    }

    pub(crate) fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn listen(self) -> Self {
        Self { then: Then::Listen, ..self }
    }

    pub(crate) fn by(self, callers: &[Caller]) -> Self {
        Self { callers: callers.to_vec(), ..self }
    }

    pub(crate) fn token_in_subprotocol(self) -> Self {
        Self { token: TokenIn::Subprotocol, ..self }
    }

    /// Also by somebody who has `get` alone.
    pub(crate) fn and_by_a_reader(mut self) -> Self {
        self.callers.push(Caller::With(GET_PROXY));
        self
    }

    /// The verb that the kubelet makes of the method.
    pub(crate) fn verb(&self) -> &'static str {
        match self.method {
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        }
    }

    fn upgrade(&self) -> Option<&str> {
        self.headers.iter().find(|(name, _)| *name == "Upgrade").map(|(_, value)| value.as_str())
    }

    /// The word for its transport.
    pub(crate) fn transport(&self) -> &'static str {
        match self.upgrade() {
            None => "plain",
            Some("websocket") => "websocket",
            Some("SPDY/3.1") => "spdy",
            Some(_) => "unknown",
        }
    }

    /// The bytes of the request.
    pub(crate) fn bytes(&self, user_agent: &str, token: Option<&str>) -> Vec<u8> {
        let mut headers = vec![("Host", "kubelet".to_owned()), ("User-Agent", user_agent.to_owned())];
        if let Some(token) = token {
            headers.push(match self.token {
                TokenIn::Authorization => ("Authorization", format!("Bearer {token}")),
                TokenIn::Subprotocol => {
                    let token = URL_SAFE_NO_PAD.encode(token);
                    ("Sec-WebSocket-Protocol", format!("v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{token}"))
                }
            });
        }
        headers.extend(self.headers.iter().cloned());
        if !self.body.is_empty() {
            headers.push(("Content-Length", self.body.len().to_string()));
        }
        // Who is refused an upgrade need not be told twice that nothing follows.
        headers.push(("Connection", if self.upgrade().is_some() { "Upgrade, close" } else { "close" }.to_owned()));
        let headers: String = headers.iter().flat_map(|(name, value)| [*name, ": ", value, "\r\n"]).collect();
        format!("{} {} HTTP/1.1\r\n{headers}\r\n{}", self.method, self.target, self.body).into_bytes()
    }
}
