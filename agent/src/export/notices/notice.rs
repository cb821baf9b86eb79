//! What becomes a Kubernetes Event: a finding that somebody should see, on the pod concerned or on the node, in one sentence. Pure.
//!
//! Whoever may read Events of a namespace may read this, the role `view` included: no word of a command is in it, whatever `--commands` says.

use std::net::IpAddr;

use crate::export::audit::{caller, granted_by};
use crate::inert::Inert;
use crate::judge::{Finding, Severity, Verdict};
use crate::kubelet::{Endpoint, PodTarget};
use crate::observation::Lookup;

/// The longest message, in bytes: what `events.k8s.io` takes (`NoteLengthLimit`, `pkg/apis/core/validation/events.go`).
const MESSAGE: usize = 1024;
/// The longest piece of a message that a caller chose, in bytes.
const PIECE: usize = 256;

/// One finding of one request, for people who look at their cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) finding: Finding,
    pub(super) object: Object,
    /// Who: the user name, or the address of those who have none.
    pub(super) identity: String,
    pub(super) message: String,
    /// When.
    pub(super) at: jiff::Timestamp,
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Object {
    /// A pod that the caller named. It may be none.
    Pod {
        /// A DNS label.
        namespace: String,
        /// A DNS subdomain.
        name: String,
    },
    /// This node.
    Node,
}

impl Notice {
    /// Those of a verdict: one for each finding of severity warning or above that it raises.
    pub(super) fn all(verdict: &Verdict, at: jiff::Timestamp) -> impl Iterator<Item = Self> {
        let grave = verdict.raised.iter().filter(|finding| finding.severity() >= Severity::Warning);
        grave.map(move |finding| Self {
            finding,
            object: Object::of(&verdict.judgement.endpoint),
            identity: identity(verdict),
            message: message(finding, verdict),
            at,
        })
    }
}

impl Object {
    /// The pod that a path names, if a pod can have that name.
    fn of(endpoint: &Endpoint) -> Self {
        let named = |target: &&PodTarget| is_label(&target.namespace) && is_subdomain(&target.pod);
        endpoint
            .target()
            .filter(named)
            .map_or(Self::Node, |target| Self::Pod { namespace: target.namespace.clone(), name: target.pod.clone() })
    }
}

/// RFC 1123, as `apimachinery/pkg/util/validation` has it.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_word(text)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_word)
}

fn is_word(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain) && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
}

/// The reason of an Event: `unlogged-exec` is `UnloggedExec`.
pub(super) fn reason(finding: Finding) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    finding.id().split('-').map(capital).collect()
}

fn identity(verdict: &Verdict) -> String {
    let name = verdict.exchange.checks.last().and_then(|check| check.user.name.known());
    let peer = || peer(verdict).map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
    name.map_or_else(peer, |name| cut(&Inert(name).to_string(), PIECE).to_owned())
}

fn peer(verdict: &Verdict) -> Option<IpAddr> {
    let remote = verdict.exchange.request.as_ref()?.remote?;
    Some(remote.ip().to_canonical())
}

/// What is wrong: what, by whom, from where, by which binding.
fn message(finding: Finding, verdict: &Verdict) -> String {
    let judgement = &verdict.judgement;
    let user = verdict.exchange.checks.last().and_then(|check| check.user.name.known());
    let who = user.map_or_else(|| "somebody without a name".to_owned(), piece);
    let parts = [
        Some(format!("{}: {} by {who}", wrong(finding), what(&judgement.endpoint))),
        peer(verdict).map(|peer| format!(" from {peer}")),
        caller(&verdict.exchange.caller).map(|caller| format!(" ({})", piece(&caller))),
        granted_by(judgement).map(|grant| format!(", allowed by {}", piece(&grant))),
        bound_to(verdict).filter(|_| finding == Finding::StolenToken),
    ];
    let text: String = parts.into_iter().flatten().collect();
    cut(&text, MESSAGE).to_owned()
}

const fn wrong(finding: Finding) -> &'static str {
    match finding {
        Finding::UnloggedExec => "Went past the API server, whose audit log does not hold it",
        Finding::VerbBypass => "Ran for the verb get, for an identity that may not create nodes/proxy",
        Finding::StolenToken => "A token was used from elsewhere than the pod or node that it is bound to",
        Finding::AnonymousAccess => "Allowed without any authentication",
        Finding::Checkpoint => "The memory of a container was written to disk past the API server",
        Finding::ApiServerImpostor => "The API server's identity came from an address that is not the API server's",
        Finding::UnloggedLogRead => "Logs were read past the API server",
        Finding::DebugAccess => "The kubelet was debugged past the API server",
        Finding::ReadOnlyPort => "The read-only port, which asks nobody who they are, was used",
        Finding::OutsideRbac => "Allowed, and no RBAC rule explains it",
        Finding::Probing => "Refused many times in a short time, the last time",
        Finding::NodesProxyFallback => "Allowed by nodes/proxy alone",
        Finding::ExecAttempt => "Refused or failed",
    }
}

/// `exec in container main of pod default/web`, or the kubelet's endpoint.
fn what(endpoint: &Endpoint) -> String {
    let Some(target) = endpoint.target() else {
        return match endpoint {
            Endpoint::Unknown => "something that was not seen".to_owned(),
            _ => format!("{} of the kubelet", endpoint.label()),
        };
    };
    let container = target.container.as_deref().map_or_else(String::new, |container| format!("container {} of ", piece(container)));
    let pod = format!("pod {}/{}", piece(&target.namespace), piece(&target.pod));
    format!("{} to {container}{pod}", endpoint.label())
}

fn bound_to(verdict: &Verdict) -> Option<String> {
    let user = &verdict.exchange.checks.last()?.user;
    let bound = |what, name: &Lookup| name.known().map(|name| format!("{what} {}", piece(name)));
    let bound: Vec<_> = [bound("pod", &user.pod_name), bound("node", &user.node_name)].into_iter().flatten().collect();
    (!bound.is_empty()).then(|| format!("; the token is bound to {}", bound.join(" on ")))
}

/// What a caller chose: harmless, and not so long that it pushes out the rest.
fn piece(text: &str) -> String {
    let inert = Inert(text).to_string();
    let start = cut(&inert, PIECE);
    if start.len() < inert.len() { format!("{start}…") } else { inert }
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
