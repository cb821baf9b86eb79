//! What came of an exec, attach, run or portForward: the container runtime decides, not the status of the kubelet's response.

use crate::exchange::{Exchange, Gap};
use crate::kubelet::{Access, Endpoint, Transport, Why};
use crate::observation::Response;

/// What came of an exec-class request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It ran: the runtime answered 101 (exec, attach, portForward), or the kubelet 200 (run).
    Executed,
    /// Nobody let it in.
    Refused,
    /// It was let in, or needed not to be, and did not come to run.
    Failed,
    /// It was let in and is not over; whether it runs was not seen yet.
    Running,
    /// It cannot be told. Not a failure.
    Unknown,
}

pub(super) fn outcome(exchange: &Exchange, endpoint: &Endpoint, access: &Access, transport: Transport) -> Option<Outcome> {
    if !endpoint.is_exec_class() {
        // The record of its begin was lost, and its path with it. Only exec, attach and portForward are answered by the runtime.
        // One that had begun before the agent came, and was checked before, is not counted against somebody unknown.
        let lost = *endpoint == Endpoint::Unknown && (exchange.id.begin.is_some() || !exchange.checks.is_empty());
        return (lost && matches!(exchange.answer, Some((_, 101)))).then_some(Outcome::Executed);
    }
    Some(match access {
        Access::Denied | Access::Unauthenticated | Access::Unknown { why: Why::AuthorizerFailed } => Outcome::Refused,
        _ => match exchange.answer {
            Some((_, 101)) => Outcome::Executed,
            Some(_) => Outcome::Failed,
            None => unanswered(exchange, endpoint, transport),
        },
    })
}

fn unanswered(exchange: &Exchange, endpoint: &Endpoint, transport: Transport) -> Outcome {
    let Some(end) = exchange.end else {
        let over = [Gap::End, Gap::Evicted, Gap::KubeletGone].iter().any(|gap| exchange.gaps.contains(gap));
        return if over { Outcome::Unknown } else { Outcome::Running };
    };
    let Some(response) = end.response else { return Outcome::Unknown };
    if response.hijacked {
        // A WebSocket with protocol v5 goes through `StreamTranslatorHandler`, past the place where answers are seen. Everywhere else the
        // runtime answers before the connection is taken over: its answer was missed.
        let translated = matches!(endpoint, Endpoint::Exec(_) | Endpoint::Attach(_)) && transport == Transport::WebSocket;
        return if translated && !exchange.gaps.contains(&Gap::Lost) { Outcome::Executed } else { Outcome::Unknown };
    }
    match (endpoint, end.status()) {
        (Endpoint::Run(_), Some(200)) => Outcome::Executed,
        // `RunInContainer` returns an error for a command that ran and exited with another status than 0, and the kubelet makes 500 of it
        // (cri-client/pkg/remote_runtime.go, `ExecSync`), the same as for a container that does not exist.
        (Endpoint::Run(_), Some(500)) | (_, None) => Outcome::Unknown,
        _ => Outcome::Failed,
    }
}

/// The status that the caller got: after a hijack it is the runtime's, and what the handler left behind says nothing.
pub(super) fn status(exchange: &Exchange, outcome: Option<Outcome>) -> Option<u16> {
    let answer = exchange.answer.map(|(_, status)| status);
    match exchange.end {
        None => answer,
        Some(end) => match end.response {
            Some(Response { hijacked: true, .. }) => answer.or((outcome == Some(Outcome::Executed)).then_some(101)),
            _ => end.status(),
        },
    }
}
