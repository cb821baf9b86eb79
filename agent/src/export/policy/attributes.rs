//! What a policy asks of a request.

use crate::export::audit::AuditEvent;
use crate::judge::{Severity, Verdict};
use crate::kubelet::{AccessKind, Endpoint};

/// Groups that kubewitness adds to those of the user, so that a policy can name what the API server's format has no word for. What begins so
/// and came with the user is left out.
pub const GROUP_PREFIX: &str = "kubewitness.dev:";

/// What a policy asks of a request (`authorizer.Attributes` of the API server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// The user's name; `None` where the caller was not recognised or not asked.
    pub user: Option<&'a str>,
    /// The user's groups, and those of [`GROUP_PREFIX`].
    pub groups: Vec<&'a str>,
    /// The verb, such as `get`.
    pub verb: &'a str,
    /// What was asked for.
    pub target: Target<'a>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A resource.
    Resource {
        /// Its API group; `""` is the core group, which nodes and pods are in.
        group: &'a str,
        /// Such as `nodes`.
        resource: &'a str,
        /// Such as `metrics`; empty for the resource itself.
        subresource: &'a str,
        /// Empty for what is in none.
        namespace: &'a str,
        /// The object's name.
        name: &'a str,
    },
    /// A path that stands for no resource.
    Path(&'a str),
}

impl<'a> Attributes<'a> {
    /// Those of an event: what its `objectRef` says, but for paths that no kubelet serves, which are paths.
    pub(in crate::export) fn of(event: &'a AuditEvent<'_>, verdict: &'a Verdict) -> Self {
        let user = verdict.exchange.checks.last().map(|check| &check.user);
        let groups = user.into_iter().flat_map(|user| &user.groups).map(|group| group.known().unwrap_or_default());
        let own = groups.filter(|group| !group.starts_with(GROUP_PREFIX));
        let path = verdict.exchange.request.as_ref().and_then(|request| request.path.known());
        let object = &event.object_ref;
        let target = match (&verdict.judgement.endpoint, path) {
            (Endpoint::Other, Some(path)) => Target::Path(path),
            _ => Target::Resource {
                group: "",
                resource: object.resource,
                subresource: object.subresource,
                namespace: object.namespace,
                name: object.name,
            },
        };
        Self {
            user: user.map(|user| user.name.known().unwrap_or_default()),
            groups: own.chain(added(event, verdict)).collect(),
            verb: event.verb,
            target,
        }
    }
}

/// The groups of [`GROUP_PREFIX`].
fn added<'a>(event: &AuditEvent<'_>, verdict: &Verdict) -> impl Iterator<Item = &'a str> + use<'a> {
    let judgement = &verdict.judgement;
    let of = |severity| judgement.findings.iter().any(|finding| finding.severity() == severity);
    [
        (matches!(judgement.access.kind(), AccessKind::Denied | AccessKind::Unauthenticated), "kubewitness.dev:refused"),
        (of(Severity::Critical), "kubewitness.dev:critical"),
        (of(Severity::Warning), "kubewitness.dev:warning"),
        (of(Severity::Info), "kubewitness.dev:info"),
        (event.is_partial() || judgement.access.kind() == AccessKind::Unknown, "kubewitness.dev:partial"),
    ]
    .into_iter()
    .filter_map(|(holds, group)| holds.then_some(group))
}

/// Whether a `nonResourceURL` is the path of a resource to a kubelet.
pub(super) fn is_a_resource_here(url: &str) -> bool {
    Endpoint::parse(url.trim_end_matches('*')) != Endpoint::Other
}
