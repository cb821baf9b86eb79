//! How the report came about, and what its words mean.

use maud::{Markup, html};

use super::explained;
use super::parts::shown;
use crate::kubelet::AccessKind;
use crate::report::Report;

pub(super) fn section(report: &Report) -> Markup {
    let coverage = &report.coverage;
    html! {
        section id="method" aria-labelledby="method-title" {
            h2 id="method-title" { "Appendix: the method" }
            h3 { "Where it is from" }
            p {
                "Read from " (shown(&coverage.source)) ". "
                @match &coverage.rbac {
                    Some(rbac) => { "RBAC objects from " (shown(rbac)) "." },
                    None => { "No RBAC objects were read." },
                }
            }
            p {
                "On each node an agent watches the kubelet’s own checks: who asked, which right was asked for, and what the answer was. It reads no token and no byte of \
                 what was transferred. A request counts when it is over, and once, however often its events arrive; its findings count once, whichever of its events \
                 shows them. Counts from Prometheus are differences of counters, restarts included."
            }
            h3 { "How a right is found" }
            p {
                "For each request that was let in, the kubelet’s source says which finer right lets the same request in, if there is one. These rights, and no others, are \
                 the new role. Refused requests are attempts and are not covered. Where the present rights are limited to nodes by name, so is the role. Then the steps are \
                 done on a copy of the RBAC objects, and these are asked by the rules of the API server’s own RBAC authorizer whether all that was seen is still allowed, \
                 and whether anything still gives nodes/proxy."
            }
            h3 { "How requests come in" }
            dl.words {
                @for access in AccessKind::ALL {
                    div { dt { span class={ "swatch c-" (explained::colour(access)) " d5" } {} code { (access.as_str()) } } dd { (explained::access(access)) } }
                }
            }
            h3 { "What it cannot see" }
            ul {
                li { "What did not happen in the window. A job that runs once a month is not in a week." }
                li { "What happened where no agent watched, and what an agent lost; the second section counts both." }
                li { "What other authorizers than RBAC allow: a webhook, a cloud’s IAM. Such requests are the finding " code { "outside-rbac" } "." }
                li { "Groups, verbs and single events where the source is Prometheus." }
                li { "Whether a feature gate is on. Versions are compared." }
            }
        }
    }
}
