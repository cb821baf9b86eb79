//! How a request was let in: from the checks that were seen, never from what a release is thought to do.

use crate::exchange::{Exchange, Gap};
use crate::kubelet::{Access, Endpoint, Grant, Subresource, Why};
use crate::observation::{Check, Decision, Text};

/// What can hide that there is another check, before or after those that were seen.
const BEFORE: [Gap; 2] = [Gap::Begin, Gap::Lost];
const AFTER: [Gap; 4] = [Gap::Lost, Gap::Evicted, Gap::KubeletGone, Gap::End];

pub(super) fn access(exchange: &Exchange, endpoint: &Endpoint) -> Access {
    if exchange.request.as_ref().is_some_and(|request| request.read_only) {
        return Access::Open;
    }
    match exchange.checks.split_last() {
        Some((last, earlier)) => match last.decision {
            Decision::Allow => allowed(exchange, endpoint, last, earlier),
            Decision::Error => unknown(Why::AuthorizerFailed),
            Decision::Deny | Decision::NoOpinion => refused(exchange, endpoint, last),
        },
        None => unchecked(exchange),
    }
}

fn allowed(exchange: &Exchange, endpoint: &Endpoint, last: &Check, earlier: &[Check]) -> Access {
    let by = match subresource(&last.subresource) {
        Ok(by) => by,
        Err(why) => return unknown(why),
    };
    let grant = Grant::parse(&last.reason, &last.user);
    match (by, earlier) {
        (Subresource::Proxy, []) => match hidden(exchange, &BEFORE) {
            Some(gap) if endpoint.finer().is_some() || *endpoint == Endpoint::Unknown => unknown(Why::Missing(gap)),
            _ => Access::ProxyOnly { grant },
        },
        (Subresource::Proxy, [.., before]) => match subresource(&before.subresource) {
            Ok(denied) => Access::Fallback { denied, grant },
            Err(why) => unknown(why),
        },
        (by, []) if endpoint.finer() == Some(by) => Access::FineGrained { by, grant },
        (by, []) if endpoint.required() == Some(by) => Access::Single { by, grant },
        (by, []) if *endpoint == Endpoint::Unknown => match by {
            Subresource::Pods | Subresource::Healthz => Access::FineGrained { by, grant },
            // `/configz` asks for it first, `/flagz` asks for nothing else.
            Subresource::Configz => unknown(Why::Missing(hidden(exchange, &BEFORE).unwrap_or(Gap::Unreadable))),
            _ => Access::Single { by, grant },
        },
        _ => unknown(Why::UnexpectedCheck),
    }
}

fn refused(exchange: &Exchange, endpoint: &Endpoint, last: &Check) -> Access {
    let by = subresource(&last.subresource).ok();
    let was_the_last_question = by == Some(Subresource::Proxy) || (by.is_some() && by == endpoint.required());
    if !was_the_last_question && let Some(gap) = hidden(exchange, &AFTER) {
        return unknown(Why::Missing(gap));
    }
    let response = exchange.end.and_then(|end| end.response);
    match response {
        Some(response) if response.hijacked || !matches!(response.status, 0 | 403) => {
            unknown(hidden(exchange, &[Gap::Lost]).map_or(Why::Contradiction, Why::Missing))
        }
        _ => Access::Denied,
    }
}

/// No check was seen: the caller was not recognised, or the router had no use for the path, or the checks were missed.
fn unchecked(exchange: &Exchange) -> Access {
    if let Some(gap) = hidden(exchange, &BEFORE).or_else(|| hidden(exchange, &AFTER)) {
        return unknown(Why::Missing(gap));
    }
    match exchange.end.and_then(|end| end.response) {
        None => unknown(Why::Missing(Gap::Unreadable)),
        Some(response) if response.hijacked => unknown(Why::Contradiction),
        Some(response) => match response.status {
            401 => Access::Unauthenticated,
            300..=399 | 400 | 404 => Access::Unchecked,
            _ => unknown(Why::Contradiction),
        },
    }
}

fn unknown(why: Why) -> Access {
    Access::Unknown { why }
}

fn subresource(text: &Text) -> Result<Subresource, Why> {
    match text {
        Text::Whole(name) => Subresource::parse(name.as_str()).ok_or(Why::UnexpectedCheck),
        Text::Cut(..) => Err(Why::Missing(Gap::Cut)),
        Text::Unreadable => Err(Why::Missing(Gap::Unreadable)),
    }
}

/// The first of these gaps that the exchange has, by what its parts show too.
fn hidden(exchange: &Exchange, gaps: &[Gap]) -> Option<Gap> {
    gaps.iter().copied().find(|gap| {
        exchange.gaps.contains(gap)
            || match gap {
                Gap::Begin => exchange.request.is_none(),
                Gap::End => exchange.end.is_none(),
                _ => false,
            }
    })
}
