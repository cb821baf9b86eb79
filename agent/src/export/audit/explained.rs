//! What the page on events says of each annotation.

use super::annotations::{AUDIT_POLICY, COMPLETENESS, REFUSED_EVENTS};

/// Keys and what is in them, in the order of the page. Markdown.
pub const ANNOTATIONS: [(&str, &str); 14] = [
    ("authorization.k8s.io/decision", "of the last check: `allow` or `forbid`; absent if the authorizer failed"),
    ("authorization.k8s.io/reason", "of the last check, verbatim"),
    (
        "kubewitness.dev/access",
        "`fine-grained`: a finer right than `nodes/proxy` was enough. `fallback`: it was refused, `nodes/proxy` let the request in. `proxy-only`: nothing else was asked for. `single`: the endpoint's own right, the only one. `denied`. `unauthenticated`: 401. `unchecked`: answered before any check (unknown path, redirect). `open`: the read-only port. `unknown`: it cannot be told, which is not a denial",
    ),
    ("kubewitness.dev/endpoint", "what was asked for, as in the metrics: `exec`, `pods`, `metrics/cadvisor`, … ([the list](metrics.md))"),
    ("kubewitness.dev/node", "the name of the node that the agent watches (`--node-name`)"),
    (
        "kubewitness.dev/checks",
        "each question and its answer: `get nodes/pods=no-opinion get nodes/proxy=allow`; `?` for what could not be read",
    ),
    (
        "kubewitness.dev/granted-by",
        "`ClusterRoleBinding/x ClusterRole/y`; `system:masters`; `outside-rbac`. ` (stale)` behind it: the RBAC objects do not explain it, or not any more ([below](#what-the-rbac-objects-say)). Absent where nothing was granted or the reason could not be read",
    ),
    (
        "kubewitness.dev/without-nodes-proxy",
        "of a request that `nodes/proxy` let in, what the RBAC objects would make of it without that right: `allowed ClusterRoleBinding/x ClusterRole/y` or `allowed system:masters`; `denied`; `unknown: ` and why. Absent for others, and with `--rbac off`",
    ),
    ("kubewitness.dev/transport", "by the `Upgrade` header: `plain`, `websocket`, `spdy`, `unknown`"),
    ("kubewitness.dev/findings", "ids, comma separated, the worst first; absent if there are none"),
    (
        "kubewitness.dev/caller",
        "a caller of this node: `pod namespace/name uid` or `process pid comm` (`process ? comm` if it is in another PID namespace than the agent and in no pod); absent for others and where it is not known",
    ),
    (
        AUDIT_POLICY,
        "`applied`: the agent leaves events out by its `--audit-policy` ([sinks.md](sinks.md#which-requests-become-events)); absent where none are",
    ),
    (
        REFUSED_EVENTS,
        "`withheld`: the last refused request of its caller that is written in this minute ([below](#how-many-refused-requests-become-events)); absent otherwise",
    ),
    (
        COMPLETENESS,
        "`partial: ` and what is missing: `begin-not-seen`, `end-not-seen`, `kubelet-gone`, `evicted`, `records-lost`, `text-cut`, `text-unreadable`; absent if nothing is",
    ),
];
