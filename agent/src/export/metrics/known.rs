//! The series that can be known: there from the start at 0, so that `increase()` sees the first request.
//!
//! Not the cross product, which would be thousands, but what a node sees of each endpoint in its normal life and in an attack: how it can be
//! let in, with the status that follows. Anything else appears when it happens.

use super::{LostRecords, Metrics, SilentConnection, exec_outcome};
use crate::exchange::Gap;
use crate::export::audit::AuditStage;
use crate::judge::Finding;
use crate::kubelet::{AccessKind, Endpoint, Subresource, Transport, Verb};
use crate::selfcheck::Check;
use crate::target::Disbelief;

/// The ports that a kubelet serves its API on by default.
const PORTS: [&str; 2] = ["10250", "10255"];

pub(super) fn create(metrics: &Metrics) {
    for endpoint in Endpoint::ALL {
        requests(metrics, &endpoint);
        for verb in [Verb::Get, Verb::Create].into_iter().filter(|_| endpoint.is_exec_class()) {
            for outcome in Finding::ALL.into_iter().filter_map(exec_outcome) {
                metrics.unlogged_exec.with_label_values(&[endpoint.label(), verb.label(), outcome]);
            }
        }
    }
    for finding in Finding::ALL {
        metrics.findings.with_label_values(&[finding.id(), finding.severity().as_str()]);
    }
    for port in PORTS {
        metrics.connections_opened.with_label_values(&[port]);
        metrics.connections_open.with_label_values(&[port]);
    }
    for class in LostRecords::ALL {
        metrics.records_lost.with_label_values(&[class.as_str()]);
    }
    for check in Check::ALL {
        metrics.self_check_failed.with_label_values(&[check.as_str()]);
        metrics.self_check_mended.with_label_values(&[check.as_str()]);
    }
    for class in LostRecords::RINGS {
        metrics.unseen.with_label_values(&[class.as_str()]);
    }
    for gap in Gap::ALL {
        metrics.incomplete.with_label_values(&[gap.as_str()]);
    }
    for stage in AuditStage::WRITTEN {
        metrics.events.omitted.with_label_values(&[stage.as_str()]);
    }
    for why in Disbelief::KINDS {
        metrics.disbelieved.with_label_values(&[why]);
    }
    metrics.disbelieved_hits.with_label_values(&[] as &[&str]);
    for access in [AccessKind::Denied, AccessKind::Unauthenticated, AccessKind::Unchecked] {
        metrics.events.withheld.with_label_values(&[access.as_str()]);
    }
    for why in SilentConnection::ALL {
        metrics.silent_connections.with_label_values(&[why.as_str()]);
    }
}

fn requests(metrics: &Metrics, endpoint: &Endpoint) {
    let create = |access: AccessKind, transport: Transport, code: &str| {
        metrics.requests.with_label_values(&[endpoint.label(), access.as_str(), transport.as_str(), code]);
    };
    match endpoint {
        Endpoint::Unknown => return,
        Endpoint::Other => {
            create(AccessKind::Unchecked, Transport::Plain, "307");
            create(AccessKind::Unchecked, Transport::Plain, "404");
            return;
        }
        Endpoint::Exec(_) | Endpoint::Attach(_) | Endpoint::PortForward(_) => {
            for transport in [Transport::WebSocket, Transport::Spdy] {
                create(AccessKind::ProxyOnly, transport, "101");
                create(AccessKind::Denied, transport, "403");
                create(AccessKind::Unauthenticated, transport, "401");
            }
            create(AccessKind::ProxyOnly, Transport::Plain, "400");
        }
        _ => create(alone(endpoint), Transport::Plain, "200"),
    }
    if endpoint.finer().is_some() {
        create(AccessKind::FineGrained, Transport::Plain, "200");
        create(AccessKind::Fallback, Transport::Plain, "200");
    }
    if matches!(endpoint, Endpoint::Pods | Endpoint::Stats | Endpoint::Metrics(_) | Endpoint::Healthz) {
        create(AccessKind::Open, Transport::Plain, "200");
    }
    create(AccessKind::Denied, Transport::Plain, "403");
    create(AccessKind::Unauthenticated, Transport::Plain, "401");
}

/// The access of an endpoint whose one question was enough.
fn alone(endpoint: &Endpoint) -> AccessKind {
    if endpoint.required() == Some(Subresource::Proxy) { AccessKind::ProxyOnly } else { AccessKind::Single }
}
