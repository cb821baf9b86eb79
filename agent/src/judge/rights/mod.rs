//! What the RBAC objects say about a request: whether they explain why it was let in, and whether it needs `nodes/proxy`. No object is
//! waited for: what is not known yet is unknown.

mod answers;
mod asker;
mod contradictions;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use answers::Answers;
use asker::Asker;
use contradictions::Contradictions;

use super::Judgement;
use crate::exchange::Exchange;
use crate::kubelet::{Access, Endpoint, Grant, Subresource, Verb};
use crate::observation::Timestamp;
use crate::rbac::{Answer, Evidence, Mirror, Obscure, Question, Update};

/// How long the kubelet may go on with a yes that the objects do not give any more: it remembers one for 5 minutes (`authorization.webhook.
/// cacheAuthorizedTTL`, `pkg/kubelet/apis/config/v1beta1/defaults.go`), and the objects may come 30 seconds late.
pub const REMEMBERED: Duration = Duration::from_secs(330);

/// What the RBAC objects say about a request that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Whether they explain that it was.
    pub backing: Backing,
    /// Whether it would have been without `nodes/proxy`; `None` if `nodes/proxy` had no part in it.
    pub without_nodes_proxy: Option<WhatIf>,
    /// They give the caller no `create` on `nodes/proxy`. False also where that is not known.
    pub lacks_create: bool,
}

/// Whether the RBAC objects explain that a request was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// They do: by the binding and the role that the kubelet was told of; or, where another authorizer let it in, by any rule.
    Confirmed,
    /// Not by that binding and role, but they changed a moment ago, or another rule allows it.
    Stale,
    /// No rule does, and the kubelet cannot have remembered it from before either.
    Contradicted,
    /// It cannot be told.
    Unknown,
}

/// What would come of a request if nobody had `nodes/proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// It would be let in all the same, by this.
    Allowed(Evidence),
    /// It would be refused: there is no finer right for it, or the caller does not have it.
    Denied,
    /// It cannot be told from the objects.
    Unknown(Obscure),
    /// The finer right was not asked for, RBAC does not give it, and RBAC is not what let the request in.
    OtherAuthorizer,
}

/// The RBAC objects, and what was concluded from them.
#[derive(Debug, Default)]
pub struct Rights {
    mirror: Mirror,
    answers: Answers,
    contradictions: Contradictions,
}

impl Rights {
    /// Takes an update of the objects.
    pub fn take(&mut self, update: Update) {
        self.contradictions.take(&update);
        self.mirror.take(update);
    }

    /// Another number after each change of the objects.
    pub const fn generation(&self) -> u64 {
        self.mirror.generation()
    }

    /// Whether all objects are known.
    pub fn is_synced(&self) -> bool {
        self.mirror.snapshot().is_some()
    }

    /// What they say about an exchange at this time; `None` if it is not known to have been let in by a right.
    pub(super) fn entitlement(&mut self, exchange: &Exchange, judgement: &Judgement, at: Timestamp) -> Option<Entitlement> {
        let asker = Asker::of(exchange.checks.last()?);
        let access = &judgement.access;
        let (grant, right) = (access.grant()?, access.right()?);
        Some(Entitlement {
            backing: self.backing(&asker, grant, right, at),
            without_nodes_proxy: self.without_nodes_proxy(&asker, access, &judgement.endpoint, grant),
            lacks_create: right == Subresource::Proxy && self.may(&asker, Verb::Create, right) == Answer::NoRule,
        })
    }

    fn backing(&mut self, asker: &Asker<'_>, grant: &Grant, right: Subresource, at: Timestamp) -> Backing {
        match grant {
            Grant::Masters => Backing::Confirmed,
            Grant::Unknown => Backing::Unknown,
            Grant::OutsideRbac => match self.may(asker, asker.verb, right) {
                Answer::Allowed(_) => Backing::Confirmed,
                Answer::NoRule => Backing::Contradicted,
                Answer::Unknown(_) => Backing::Unknown,
            },
            Grant::Rbac { binding, role } => self.backing_of(asker, (binding, role), right, at),
        }
    }

    fn backing_of(&mut self, asker: &Asker<'_>, (binding, role): (&str, &str), right: Subresource, at: Timestamp) -> Backing {
        // The names are as Go quotes them. One that it had to escape is not that of the object.
        let Some(snapshot) = self.mirror.snapshot().filter(|_| !binding.contains('\\') && !role.contains('\\')) else {
            return Backing::Unknown;
        };
        let question = Question { verb: asker.verb, subresource: right, node: asker.node.unwrap_or_default() };
        if snapshot.explains(&asker.who(&asker.groups()), question, binding, role) {
            self.contradictions.resolved(binding, role, asker.name());
            return Backing::Confirmed;
        }
        match self.may(asker, asker.verb, right) {
            Answer::Unknown(_) => Backing::Unknown,
            Answer::Allowed(_) => Backing::Stale,
            Answer::NoRule => {
                // The check may be much older than what is known now, so its own time counts.
                let first = self.contradictions.seen(binding, role, asker.name(), at);
                let age = Duration::from_nanos(asker.time.0.saturating_sub(first.0));
                if age < REMEMBERED { Backing::Stale } else { Backing::Contradicted }
            }
        }
    }

    fn without_nodes_proxy(&mut self, asker: &Asker<'_>, access: &Access, endpoint: &Endpoint, grant: &Grant) -> Option<WhatIf> {
        let (finer, was_asked) = match access {
            Access::Fallback { denied, .. } => (Some(*denied), true),
            Access::ProxyOnly { .. } => (endpoint.finer().or(endpoint.required()).filter(|right| *right != Subresource::Proxy), false),
            _ => return None,
        };
        if *grant == Grant::Masters || asker.is_master() {
            return Some(WhatIf::Allowed(Evidence::Masters));
        }
        Some(match finer {
            None if *endpoint == Endpoint::Unknown => WhatIf::Unknown(Obscure::Request),
            // They may be members of `system:masters`.
            None if *grant == Grant::Unknown && !asker.user.all_groups_known() => WhatIf::Unknown(Obscure::Groups),
            None => WhatIf::Denied,
            Some(finer) => match self.may(asker, asker.verb, finer) {
                Answer::Allowed(evidence) => WhatIf::Allowed(evidence),
                Answer::NoRule if !was_asked && !matches!(grant, Grant::Rbac { .. }) => WhatIf::OtherAuthorizer,
                Answer::NoRule => WhatIf::Denied,
                Answer::Unknown(why) => WhatIf::Unknown(why),
            },
        })
    }

    fn may(&mut self, asker: &Asker<'_>, verb: Verb, subresource: Subresource) -> Answer {
        let Some(snapshot) = self.mirror.snapshot() else { return Answer::Unknown(Obscure::NotSynced) };
        self.answers.of(asker, verb, subresource, self.mirror.generation(), |question| snapshot.may(&asker.who(&asker.groups()), question))
    }
}

/// `allowed ClusterRoleBinding/x ClusterRole/y`, `denied`, or `unknown: ` and why
impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(evidence) => write!(f, "allowed {evidence}"),
            Self::Denied => f.write_str("denied"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
            Self::OtherAuthorizer => f.write_str("unknown: another authorizer than RBAC may allow it"),
        }
    }
}
