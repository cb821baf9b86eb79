//! What would let a use of the kubelet's API in without `nodes/proxy`.

use super::Use;
use crate::kubelet::{Endpoint, Subresource, Verb};

/// What to do about one use that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// A finer right lets it in.
    Right(Right),
    /// No right but `nodes/proxy` lets it in.
    Instead(Instead),
    /// It was not seen what was asked for.
    Unseen,
}

/// A right on a subresource of nodes; never `nodes/proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The subresource.
    pub subresource: Subresource,
    /// The verb; [`Verb::None`] stands for a request that only `*` satisfies.
    pub verb: Verb,
}

/// What does the same as an endpoint that only `nodes/proxy` lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the pod's subresources")]
pub enum Instead {
    PodsExec,
    PodsAttach,
    PodsPortForward,
    PodsLog,
    /// Debugging: nothing does the same.
    Debug,
    /// A path that no release up to 1.37 serves.
    Nothing,
    /// Requests that go through the API server's `nodes/proxy`.
    Directly,
}

/// What to do about a use; `None` if no right let it in.
pub fn advice(seen: &Use) -> Option<Advice> {
    seen.access.is_allowed().then(|| match (right_of(&seen.endpoint), instead(&seen.endpoint)) {
        (Some(subresource), _) => Advice::Right(Right { subresource, verb: verb(seen) }),
        (None, Some(instead)) => Advice::Instead(instead),
        (None, None) => Advice::Unseen,
    })
}

/// Whether the verb of a use was not told and [`advice`] assumes one.
pub(super) const fn verb_is_assumed(seen: &Use) -> bool {
    matches!(seen.verb, Verb::Unknown)
}

/// The endpoint's own subresource, whether it is asked for first or alone.
fn right_of(endpoint: &Endpoint) -> Option<Subresource> {
    endpoint.finer().or_else(|| endpoint.required().filter(|subresource| *subresource != Subresource::Proxy))
}

const fn instead(endpoint: &Endpoint) -> Option<Instead> {
    match endpoint {
        Endpoint::Exec(_) | Endpoint::Run(_) => Some(Instead::PodsExec),
        Endpoint::Attach(_) => Some(Instead::PodsAttach),
        Endpoint::PortForward(_) => Some(Instead::PodsPortForward),
        Endpoint::ContainerLogs(_) => Some(Instead::PodsLog),
        Endpoint::Pprof | Endpoint::DebugFlags => Some(Instead::Debug),
        Endpoint::Other => Some(Instead::Nothing),
        _ => None,
    }
}

/// Prometheus does not tell verbs. Then it is the one of the method that the endpoint serves: POST for checkpoint, GET for the others.
const fn verb(seen: &Use) -> Verb {
    match (seen.verb, &seen.endpoint) {
        (Verb::Unknown, Endpoint::Checkpoint(_)) => Verb::Create,
        (Verb::Unknown, _) => Verb::Get,
        (verb, _) => verb,
    }
}

impl Right {
    /// The verb as a rule has it.
    pub const fn word(self) -> &'static str {
        match self.verb {
            Verb::None => "*",
            verb => verb.as_str(),
        }
    }
}

impl Instead {
    /// A word for programs.
    pub const fn id(self) -> &'static str {
        match self {
            Self::PodsExec => "pods/exec",
            Self::PodsAttach => "pods/attach",
            Self::PodsPortForward => "pods/portforward",
            Self::PodsLog => "pods/log",
            Self::Debug => "debug",
            Self::Nothing => "nothing",
            Self::Directly => "directly",
        }
    }

    /// What to do, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::PodsExec => "exec through the API server: create on pods/exec, in the namespaces that need it",
            Self::PodsAttach => "attach through the API server: create on pods/attach, in the namespaces that need it",
            Self::PodsPortForward => "forward ports through the API server: create on pods/portforward, in the namespaces that need it",
            Self::PodsLog => "read logs through the API server: get on pods/log, in the namespaces that need it",
            Self::Debug => "nothing else gives it: grant nodes/proxy for the time of the debugging only",
            Self::Directly => "ask the kubelet itself, where finer rights count; through the API server only nodes/proxy does",
            Self::Nothing => "no kubelet up to 1.37 serves such a path: the client can do without it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::{AccessKind, MetricsPage};
    use crate::report::Who;

    fn of(endpoint: Endpoint, access: AccessKind, verb: Verb) -> Option<Advice> {
        advice(&Use { who: Who::User("u".into()), endpoint, access, verb })
    }

    #[test]
    fn each_endpoint_has_its_advice() {
        let right = |subresource| Some(Advice::Right(Right { subresource, verb: Verb::Get }));
        let instead = |instead| Some(Advice::Instead(instead));
        let table = [
            (Endpoint::Exec(None), instead(Instead::PodsExec)),
            (Endpoint::Attach(None), instead(Instead::PodsAttach)),
            (Endpoint::Run(None), instead(Instead::PodsExec)),
            (Endpoint::PortForward(None), instead(Instead::PodsPortForward)),
            (Endpoint::ContainerLogs(None), instead(Instead::PodsLog)),
            (Endpoint::Checkpoint(None), right(Subresource::Checkpoint)),
            (Endpoint::AllocatedPods(None), right(Subresource::Pods)),
            (Endpoint::Pods, right(Subresource::Pods)),
            (Endpoint::RunningPods, right(Subresource::Pods)),
            (Endpoint::Stats, right(Subresource::Stats)),
            (Endpoint::Metrics(MetricsPage::Kubelet), right(Subresource::Metrics)),
            (Endpoint::Metrics(MetricsPage::Cadvisor), right(Subresource::Metrics)),
            (Endpoint::Metrics(MetricsPage::Resource), right(Subresource::Metrics)),
            (Endpoint::Metrics(MetricsPage::Probes), right(Subresource::Metrics)),
            (Endpoint::Metrics(MetricsPage::Slis), right(Subresource::Metrics)),
            (Endpoint::Logs, right(Subresource::Log)),
            (Endpoint::Healthz, right(Subresource::Healthz)),
            (Endpoint::Configz, right(Subresource::Configz)),
            (Endpoint::Statusz, right(Subresource::Statusz)),
            (Endpoint::Flagz, right(Subresource::Configz)),
            (Endpoint::Pprof, instead(Instead::Debug)),
            (Endpoint::DebugFlags, instead(Instead::Debug)),
            (Endpoint::Other, instead(Instead::Nothing)),
            (Endpoint::Unknown, Some(Advice::Unseen)),
        ];
        assert!(Endpoint::ALL.iter().eq(table.iter().map(|(endpoint, _)| endpoint)), "each endpoint is in the table");
        for (endpoint, expected) in table {
            for access in [AccessKind::FineGrained, AccessKind::Fallback, AccessKind::ProxyOnly, AccessKind::Single] {
                assert_eq!(of(endpoint.clone(), access, Verb::Get), expected, "{endpoint:?} {access:?}");
            }
        }
    }

    #[test]
    fn an_attempt_is_no_use() {
        for access in AccessKind::ALL.into_iter().filter(|access| !access.is_allowed()) {
            assert_eq!(of(Endpoint::Pods, access, Verb::Get), None, "{access:?}");
        }
    }

    #[test]
    fn verbs() {
        for (endpoint, seen, word) in [
            (Endpoint::Pods, Verb::Get, "get"),
            (Endpoint::Pods, Verb::None, "*"),
            (Endpoint::Pods, Verb::Unknown, "get"),
            (Endpoint::Stats, Verb::Create, "create"),
            (Endpoint::Stats, Verb::Unknown, "get"),
            (Endpoint::Checkpoint(None), Verb::Create, "create"),
            (Endpoint::Checkpoint(None), Verb::Unknown, "create"),
            (Endpoint::Checkpoint(None), Verb::Get, "get"),
            (Endpoint::Metrics(MetricsPage::Kubelet), Verb::Delete, "delete"),
        ] {
            let Some(Advice::Right(right)) = of(endpoint.clone(), AccessKind::Single, seen) else { panic!("{endpoint:?} has a right") };
            assert_eq!(right.word(), word, "{endpoint:?} {seen:?}");
        }
    }
}
