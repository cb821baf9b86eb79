//! One line, as far as the report reads it. Nothing is copied that is not escaped.

use std::borrow::Cow;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use super::plain;
use crate::kubelet::{Endpoint, PodTarget};

/// What a line is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and a box would be an allocation for each line")]
pub(crate) enum Line<'a> {
    /// Nothing but white space.
    Blank,
    /// An event of `audit.k8s.io`, whoever wrote it.
    Event(Event<'a>),
    /// JSON, and no such event.
    OtherJson,
    /// The beginning of JSON, or an event that breaks off and something else behind it.
    Cut,
    /// Anything else.
    NotJson,
}

/// An event of the API server's audit log or of kubewitness (`k8s.io/apiserver/pkg/apis/audit/v1`), borrowed from its line.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event<'a> {
    #[serde(borrow)]
    pub(super) kind: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) api_version: Option<Word<'a>>,
    #[serde(borrow, rename = "auditID")]
    pub(super) audit_id: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) stage: Option<Word<'a>>,
    #[serde(borrow, rename = "requestURI")]
    pub(super) request_uri: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) verb: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) user: Option<User<'a>>,
    #[serde(borrow)]
    pub(super) impersonated_user: Option<User<'a>>,
    #[serde(borrow, rename = "sourceIPs")]
    pub(super) source_ips: Option<Words<'a>>,
    #[serde(borrow)]
    pub(super) object_ref: Option<ObjectRef<'a>>,
    pub(super) response_status: Option<ResponseStatus>,
    #[serde(borrow)]
    pub(super) request_received_timestamp: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) stage_timestamp: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) annotations: Option<Annotations<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct User<'a> {
    #[serde(borrow)]
    pub(super) username: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) groups: Option<Words<'a>>,
}

/// `meta/v1` `Status`
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct ResponseStatus {
    pub(super) code: Option<u32>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct ObjectRef<'a> {
    #[serde(borrow)]
    pub(super) resource: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) namespace: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) subresource: Option<Word<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Annotations<'a> {
    #[serde(borrow, rename = "kubewitness.dev/access")]
    pub(super) access: Option<Word<'a>>,
    #[serde(borrow, rename = "kubewitness.dev/endpoint")]
    pub(super) endpoint: Option<Word<'a>>,
    #[serde(borrow, rename = "kubewitness.dev/node")]
    pub(super) node: Option<Word<'a>>,
    #[serde(borrow, rename = "kubewitness.dev/findings")]
    pub(super) findings: Option<Word<'a>>,
    #[serde(borrow, rename = "kubewitness.dev/granted-by")]
    pub(super) granted_by: Option<Word<'a>>,
    #[serde(borrow, rename = "kubewitness.dev/completeness")]
    pub(super) completeness: Option<Word<'a>>,
    #[serde(borrow, rename = "kubewitness.dev/audit-policy")]
    pub(super) audit_policy: Option<Word<'a>>,
}

/// A string of the line itself, unless escapes make it another one. The wrapper lets it borrow inside of an `Option` or a `Vec` too.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Word<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A list of strings.
#[derive(Debug)]
pub(crate) enum Words<'a> {
    /// As they are in JSON, brackets included, and without an escape or white space.
    Plain(&'a str),
    /// One by one.
    Each(Vec<Word<'a>>),
}

/// How far the request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has an answer, or was let in, and goes on.
    Started,
    /// It is over.
    Ended,
    /// The API server's `RequestReceived`, or a word that is not known.
    Other,
}

/// How kubewitness and the API server begin an event. A caller's quotation marks are escaped, so that no string holds these bytes.
pub(super) const START: &[u8] = br#"{"kind":"Event""#;

/// Reads a line, without its end.
pub(super) fn read(line: &[u8]) -> Line<'_> {
    let line = without_prefix(line.trim_ascii());
    if line.is_empty() {
        return Line::Blank;
    }
    if line[0] != b'{' {
        return classify(line, Category::Data);
    }
    if let Some(event) = plain::read(line) {
        return if event.is_audit() { Line::Event(event) } else { Line::OtherJson };
    }
    match serde_json::from_slice::<Event>(line) {
        Ok(event) if event.is_audit() => Line::Event(event),
        Ok(_) => Line::OtherJson,
        Err(error) => classify(line, error.classify()),
    }
}

/// The event of a line as JSON in one line, without white space; `None` if it is none or longer than `most` bytes.
pub(super) fn json(line: &[u8], most: usize) -> Option<String> {
    let line = without_prefix(line.trim_ascii());
    if line.len() > most {
        return None;
    }
    let json = serde_json::from_slice::<serde_json::Value>(line).ok()?.to_string();
    (json.len() <= most).then_some(json)
}

fn classify(line: &[u8], error: Category) -> Line<'_> {
    match error {
        Category::Eof => Line::Cut,
        Category::Syntax if line.starts_with(START) => Line::Cut,
        _ => match serde_json::from_slice::<IgnoredAny>(line) {
            Ok(_) => Line::OtherJson,
            Err(error) if error.is_eof() || line.starts_with(START) => Line::Cut,
            Err(_) => Line::NotJson,
        },
    }
}

/// The line without what the container runtime puts before it in `/var/log/pods`: `2026-03-04T05:06:07.000000000Z stdout F `
/// (k8s.io/cri-client/pkg/logs).
pub(crate) fn without_prefix(line: &[u8]) -> &[u8] {
    if line.first().is_none_or(|first| !first.is_ascii_digit()) {
        return line;
    }
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(_), Some(b"stdout" | b"stderr"), Some(b"F" | b"P"), Some(rest)) => rest,
        _ => line,
    }
}

impl<'a> Event<'a> {
    fn is_audit(&self) -> bool {
        word(self.kind.as_ref()) == "Event" && word(self.api_version.as_ref()).starts_with("audit.k8s.io/")
    }

    /// `kubewitness.dev/access`, which every event of kubewitness has and no other.
    pub(crate) fn access(&self) -> Option<&str> {
        self.annotation(|annotations| annotations.access.as_ref())
    }

    /// `auditID`; empty if there is none.
    pub(crate) fn audit_id(&self) -> &str {
        word(self.audit_id.as_ref())
    }

    pub(crate) fn stage(&self) -> Stage {
        match word(self.stage.as_ref()) {
            "ResponseStarted" => Stage::Started,
            "ResponseComplete" | "Panic" => Stage::Ended,
            _ => Stage::Other,
        }
    }

    pub(super) fn verb(&self) -> &str {
        word(self.verb.as_ref())
    }

    pub(super) fn uri(&self) -> &str {
        word(self.request_uri.as_ref())
    }

    /// The name of whom the kubelet took the caller for; empty if for nobody.
    pub(crate) fn user_name(&self) -> &str {
        self.user.as_ref().map_or("", User::name)
    }

    /// The status of the answer, where there is one already.
    pub(crate) fn code(&self) -> Option<u32> {
        self.response_status?.code
    }

    /// The pod that it was about, with the container where the request target names one.
    pub(crate) fn pod(&self) -> Option<PodTarget> {
        if let Some(target) = endpoint_of(self.uri()).target() {
            return Some(target.clone());
        }
        let object = self.object_ref.as_ref().filter(|object| word(object.resource.as_ref()) == "pods")?;
        let (namespace, pod) = (word(object.namespace.as_ref()).to_owned(), word(object.name.as_ref()).to_owned());
        Some(PodTarget { namespace, pod, uid: None, container: None })
    }

    pub(super) fn source_ip(&self) -> &str {
        self.source_ips.as_ref().and_then(|ips| ips.iter().next()).unwrap_or_default()
    }

    /// When it was received; `None` if that cannot be read.
    pub(crate) fn received(&self) -> Option<Timestamp> {
        word(self.request_received_timestamp.as_ref()).parse().ok()
    }

    /// When it had come so far.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        word(self.stage_timestamp.as_ref()).parse().ok()
    }

    /// The label of its endpoint: what the agent wrote, or what the request target means where an older agent wrote none.
    pub(crate) fn endpoint(&self) -> &str {
        self.annotation(|annotations| annotations.endpoint.as_ref()).unwrap_or_else(|| endpoint_of(self.uri()).label())
    }

    /// The node: what the agent wrote, or the one that the request was about.
    pub(super) fn node(&self) -> Option<&str> {
        let about = || {
            let object = self.object_ref.as_ref().filter(|object| word(object.resource.as_ref()) == "nodes")?;
            Some(word(object.name.as_ref()))
        };
        self.annotation(|annotations| annotations.node.as_ref()).or_else(about).filter(|node| !node.is_empty())
    }

    /// The ids of its findings.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &str> {
        let ids = self.annotation(|annotations| annotations.findings.as_ref()).unwrap_or_default();
        ids.split(',').map(str::trim).filter(|id| !id.is_empty())
    }

    /// What let it in.
    pub(super) fn granted_by(&self) -> Option<&str> {
        self.annotation(|annotations| annotations.granted_by.as_ref())
    }

    /// Something of it was not seen.
    pub(crate) fn is_partial(&self) -> bool {
        self.annotation(|annotations| annotations.completeness.as_ref()).is_some()
    }

    /// Its agent leaves others out.
    pub(super) fn is_under_a_policy(&self) -> bool {
        self.annotation(|annotations| annotations.audit_policy.as_ref()).is_some()
    }

    /// In the API server's own log: a request that it passed on to a kubelet.
    pub(super) fn is_nodes_proxy(&self) -> bool {
        let is = |object: &ObjectRef| word(object.resource.as_ref()) == "nodes" && word(object.subresource.as_ref()) == "proxy";
        self.object_ref.as_ref().is_some_and(is)
    }

    fn annotation(&self, pick: impl for<'e> Fn(&'e Annotations<'a>) -> Option<&'e Word<'a>>) -> Option<&str> {
        pick(self.annotations.as_ref()?).map(|word| &*word.0)
    }
}

impl User<'_> {
    pub(super) fn name(&self) -> &str {
        word(self.username.as_ref())
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(Words::iter)
    }

    /// The groups as they are in JSON, where the line was plain.
    pub(super) fn groups_as_written(&self) -> Option<&str> {
        match self.groups {
            Some(Words::Plain(text)) => Some(text),
            _ => None,
        }
    }
}

impl Words<'_> {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let (plain, read) = match self {
            Self::Plain(text) => (*text, &[][..]),
            Self::Each(words) => ("", &words[..]),
        };
        // `["a","b"]`: what lies between the first and the second quotation mark, the third and the fourth, ….
        plain.split('"').skip(1).step_by(2).chain(read.iter().map(|word| &*word.0))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Words<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::Each)
    }
}

impl PartialEq for Words<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

fn word<'a>(word: Option<&'a Word<'_>>) -> &'a str {
    word.map_or("", |word| &*word.0)
}

/// The endpoint of a request target as sent: its path, decoded as Go does before it routes (`net/url`, `unescape`).
fn endpoint_of(uri: &str) -> Endpoint {
    if uri.is_empty() {
        return Endpoint::Unknown;
    }
    let target = uri.split('?').next().unwrap_or_default();
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("", |at| &rest[at..]),
        _ => target,
    };
    Endpoint::parse(&percent_decode_str(path).decode_utf8_lossy())
}
