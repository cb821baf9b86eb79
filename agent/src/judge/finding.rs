//! What can be wrong with a request.

use super::{Backing, Entitlement, Judgement, Outcome, Policy, Stage, stolen};
use crate::exchange::Exchange;
use crate::kubelet::{Access, Endpoint, Grant, Verb};

/// One thing that is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// exec, attach, run or portForward executed by anyone but the API server: no audit log holds it. What was let in and cannot be told
    /// to have failed counts too, and so does a caller who was not seen: who makes records get lost must not gain silence by it.
    UnloggedExec,
    /// Such a call authorized as `get` for an identity that has no `create` on `nodes/proxy`, by RBAC objects that explain the `get`.
    VerbBypass,
    /// A token bound to a pod or node, used from another one.
    StolenToken,
    /// `system:anonymous` was allowed.
    AnonymousAccess,
    /// A container's memory was checkpointed by anyone but the API server.
    Checkpoint,
    /// The API server's identity from an address that is not one of its own. Only where its addresses are told ([`Policy::api_server_peers`]).
    ApiServerImpostor,
    /// Logs of a container or of the host were read by anyone but the API server.
    UnloggedLogRead,
    /// pprof or `/debug/flags/v` was used by anyone but the API server.
    DebugAccess,
    /// A request on the port without authentication.
    ReadOnlyPort,
    /// Allowed, and no RBAC rule explains it, as far as the RBAC objects are known.
    OutsideRbac,
    /// Many 401s and 403s from one identity or address in a short time.
    Probing,
    /// Allowed only because of the fallback.
    NodesProxyFallback,
    /// exec, attach, run or portForward by anyone but the API server that was refused or failed.
    ExecAttempt,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Finding {
    /// All of them, the worst first.
    pub const ALL: [Self; 13] = [
        Self::UnloggedExec,
        Self::VerbBypass,
        Self::StolenToken,
        Self::AnonymousAccess,
        Self::Checkpoint,
        Self::ApiServerImpostor,
        Self::UnloggedLogRead,
        Self::DebugAccess,
        Self::ReadOnlyPort,
        Self::OutsideRbac,
        Self::Probing,
        Self::NodesProxyFallback,
        Self::ExecAttempt,
    ];

    /// The finding of this id.
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.id() == id)
    }

    /// Its id.
    pub const fn id(self) -> &'static str {
        match self {
            Self::UnloggedExec => "unlogged-exec",
            Self::VerbBypass => "verb-bypass",
            Self::StolenToken => "stolen-token",
            Self::AnonymousAccess => "anonymous-access",
            Self::Checkpoint => "checkpoint",
            Self::ApiServerImpostor => "api-server-impostor",
            Self::UnloggedLogRead => "unlogged-log-read",
            Self::DebugAccess => "debug-access",
            Self::ReadOnlyPort => "read-only-port",
            Self::OutsideRbac => "outside-rbac",
            Self::Probing => "probing",
            Self::NodesProxyFallback => "nodes-proxy-fallback",
            Self::ExecAttempt => "exec-attempt",
        }
    }

    /// How bad it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::UnloggedExec | Self::VerbBypass | Self::StolenToken | Self::AnonymousAccess | Self::Checkpoint => Severity::Critical,
            Self::ApiServerImpostor
            | Self::UnloggedLogRead
            | Self::DebugAccess
            | Self::ReadOnlyPort
            | Self::OutsideRbac
            | Self::Probing => Severity::Warning,
            Self::NodesProxyFallback | Self::ExecAttempt => Severity::Info,
        }
    }

    /// When it is raised, for the reference. Markdown.
    pub const fn when(self) -> &'static str {
        match self {
            Self::UnloggedExec => {
                "exec, attach, run or portForward executed by anyone but the API server, a caller who was not seen included"
            }
            Self::VerbBypass => {
                "such a call authorized as `get` for an identity that by the RBAC objects has no `create` on `nodes/proxy`: it may read, and took a shell. Not raised where that is not known, or where another authorizer than RBAC let it in"
            }
            Self::StolenToken => {
                "from this node: a token bound to another pod than the caller's, to a pod but used outside of one, or to another node"
            }
            Self::AnonymousAccess => "`system:anonymous` was allowed",
            Self::Checkpoint => "a container was checkpointed by anyone but the API server",
            Self::ApiServerImpostor => {
                "the API server's identity from an address that is not one of `--apiserver-peer`. Without that flag it is never raised: nothing says where the API server calls from, and tunnels (konnectivity) end on other hosts"
            }
            Self::UnloggedLogRead => "`/containerLogs` or the host's `/logs/` was served to anyone but the API server",
            Self::DebugAccess => "pprof or `/debug/flags/v` was served to anyone but the API server",
            Self::ReadOnlyPort => "a request on the port without authentication",
            Self::OutsideRbac => {
                "allowed, and no RBAC rule explains it: the reason names no ClusterRoleBinding, or one that has not explained it for so long that the kubelet cannot remember its answer. Not for members of `system:masters` with an empty reason, nor where a rule would have allowed it too. While the RBAC objects are not known the reason alone counts"
            }
            Self::Probing => {
                "the 20th 401 or 403 within a minute of one user, or of one address where nobody was recognised; once a minute for each"
            }
            Self::NodesProxyFallback => "allowed only because of the fallback",
            Self::ExecAttempt => "exec, attach, run or portForward by anyone but the API server that was refused or failed",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A set of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Findings(u16);

impl Findings {
    /// Adds one.
    pub fn insert(&mut self, finding: Finding) {
        self.0 |= finding.bit();
    }

    /// Takes one out.
    pub fn remove(&mut self, finding: Finding) {
        self.0 &= !finding.bit();
    }

    /// Whether it is in the set.
    pub const fn contains(self, finding: Finding) -> bool {
        self.0 & finding.bit() != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Them, the worst first.
    pub fn iter(self) -> impl Iterator<Item = Finding> {
        Finding::ALL.into_iter().filter(move |finding| self.contains(*finding))
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        let mut set = Self::default();
        findings.into_iter().for_each(|finding| set.insert(finding));
        set
    }
}

/// The findings that one exchange shows by itself.
pub(super) fn findings(exchange: &Exchange, stage: Stage, policy: &Policy, judgement: &Judgement) -> Findings {
    let logged = policy.is_api_server(exchange);
    // The check may have been lost, and that it let the request in is known all the same.
    let allowed = judgement.access.grant().is_some() || exchange.is_let_in;
    let served = allowed && judgement.status.is_none_or(|status| status < 400);
    let last = exchange.checks.last();
    let executed = match judgement.outcome {
        Some(Outcome::Executed) => true,
        Some(Outcome::Unknown) => allowed,
        Some(Outcome::Running) => allowed && stage == Stage::Lasting,
        _ => false,
    };
    let ended = stage == Stage::Ended;
    let holds = |finding| match finding {
        Finding::UnloggedExec => !logged && executed,
        Finding::ExecAttempt => !logged && matches!(judgement.outcome, Some(Outcome::Refused | Outcome::Failed)),
        Finding::AnonymousAccess => allowed && last.is_some_and(|check| check.user.name.whole() == Some("system:anonymous")),
        Finding::Checkpoint => !logged && ended && served && matches!(judgement.endpoint, Endpoint::Checkpoint(_)),
        Finding::UnloggedLogRead => !logged && ended && served && matches!(judgement.endpoint, Endpoint::ContainerLogs(_) | Endpoint::Logs),
        Finding::DebugAccess => !logged && ended && served && matches!(judgement.endpoint, Endpoint::Pprof | Endpoint::DebugFlags),
        Finding::ReadOnlyPort => judgement.access == Access::Open,
        Finding::NodesProxyFallback => matches!(judgement.access, Access::Fallback { .. }),
        Finding::OutsideRbac => match &judgement.entitlement {
            Some(Entitlement { backing: Backing::Confirmed, .. }) => false,
            Some(Entitlement { backing: Backing::Contradicted, .. }) => true,
            _ => judgement.access.grant() == Some(&Grant::OutsideRbac),
        },
        Finding::VerbBypass => !logged && executed && judgement.verb == Verb::Get && lacks_create(judgement),
        Finding::StolenToken => last.is_some_and(|check| stolen::is_stolen(&check.user, &exchange.caller, &policy.node)),
        Finding::ApiServerImpostor => logged && policy.is_from_elsewhere(exchange),
        Finding::Probing => false,
    };
    Finding::ALL.into_iter().filter(|finding| holds(*finding)).collect()
}

/// Whether RBAC let the caller in, as it stands, and gives them no `create` on `nodes/proxy`. Another authorizer might, had it been asked.
fn lacks_create(judgement: &Judgement) -> bool {
    let by_rbac = matches!(judgement.access.grant(), Some(Grant::Rbac { .. }));
    by_rbac && judgement.entitlement.as_ref().is_some_and(|entitled| entitled.backing == Backing::Confirmed && entitled.lacks_create)
}
