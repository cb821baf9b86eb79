//! What the words of the report mean.

use crate::judge::Finding;
use crate::kubelet::AccessKind;
use crate::report::Verdict;

/// Each verdict: a short word, and what the identities do that have it.
pub(super) const VERDICTS: [(Verdict, &str, &str); 6] = [
    (Verdict::Replace, "Can be replaced", "rest on nodes/proxy; finer rights cover all that was seen, so it can go"),
    (Verdict::UpgradeFirst, "After an upgrade", "rest on nodes/proxy; finer rights cover all that was seen, once the kubelets honour them"),
    (Verdict::Keep, "Not yet", "were seen to do what only nodes/proxy lets in"),
    (Verdict::Unused, "Unused", "hold nodes/proxy and were not seen to use it"),
    (Verdict::Undecided, "Undecided", "were let in, and it was not seen to what"),
    (Verdict::Masters, "system:masters", "are let in before RBAC is asked; no role changes that"),
];

/// The short word for a verdict.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    VERDICTS.into_iter().find(|(kind, _, _)| *kind == verdict).map_or("", |(_, word, _)| word)
}

/// What a finding says.
pub(super) const fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::UnloggedExec => {
            "exec, attach, run or portForward went straight to a kubelet, past the API server: no audit log holds what was done."
        }
        Finding::VerbBypass => {
            "Such a call was authorized as get, by WebSocket, for an identity that may not create nodes/proxy: a right to read became a shell."
        }
        Finding::StolenToken => "A token that is bound to a pod or a node was used from another one.",
        Finding::AnonymousAccess => "system:anonymous was let in.",
        Finding::Checkpoint => "The memory of a container was written to disk, past the API server.",
        Finding::ApiServerImpostor => "The API server’s identity came from an address that is not the API server’s.",
        Finding::UnloggedLogRead => "Logs of a container or of the host were read past the API server.",
        Finding::DebugAccess => "pprof or /debug/flags/v was used by somebody else than the API server.",
        Finding::ReadOnlyPort => "The port that asks nobody who they are was used.",
        Finding::OutsideRbac => "Allowed, and no RBAC rule explains it.",
        Finding::Probing => "Many refusals (401 and 403) of one identity or one address within a minute.",
        Finding::NodesProxyFallback => "Let in only because the kubelet fell back to nodes/proxy: a finer right would do.",
        Finding::ExecAttempt => "exec, attach, run or portForward, past the API server, that was refused or failed.",
    }
}

/// What is said of how a request came in.
pub(super) const fn access(access: AccessKind) -> &'static str {
    match access {
        AccessKind::FineGrained => "A finer right than nodes/proxy was asked for first, and was enough.",
        AccessKind::Fallback => "The finer right was refused; nodes/proxy let the request in.",
        AccessKind::ProxyOnly => "The kubelet asks for nodes/proxy and nothing else: no finer right exists.",
        AccessKind::Single => "The endpoint’s own right, such as nodes/metrics; the only one that is asked for.",
        AccessKind::Denied => "Refused with 403: an attempt.",
        AccessKind::Unauthenticated => "Refused with 401: nobody was recognised.",
        AccessKind::Unchecked => "Answered before any check, as unknown paths and redirects are.",
        AccessKind::Open => "Let in on the read-only port, which checks nothing.",
        AccessKind::Unknown => "It could not be seen. This is not a refusal.",
    }
}

/// The part of a class name that colours it.
pub(super) const fn colour(access: AccessKind) -> &'static str {
    match access {
        AccessKind::ProxyOnly | AccessKind::Open => "proxy",
        AccessKind::Fallback => "fallback",
        AccessKind::FineGrained | AccessKind::Single => "finer",
        AccessKind::Denied | AccessKind::Unauthenticated | AccessKind::Unchecked | AccessKind::Unknown => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_its_word() {
        for kind in [Verdict::Replace, Verdict::UpgradeFirst, Verdict::Keep, Verdict::Unused, Verdict::Undecided, Verdict::Masters] {
            assert!(!verdict(kind).is_empty(), "{kind:?}");
        }
    }
}
