//! From an exchange to a verdict: how it was let in, what came of it, what is wrong with it. Pure: values in, values out.

mod access;
mod finding;
mod outcome;
mod probing;
mod rights;
mod stages;
mod stolen;
#[cfg(test)]
pub(crate) mod testing;

pub use finding::{Finding, Findings, Severity};
pub use outcome::Outcome;
pub use probing::{Prober, Probing, REFUSALS, WINDOW};
pub use rights::{Backing, Entitlement, REMEMBERED, Rights, WhatIf};
pub use stages::{GRACE, Judge, Stage, Verdict};

use std::net::IpAddr;

use ipnet::IpNet;

use crate::exchange::Exchange;
use crate::kubelet::{Access, Endpoint, Transport, Verb};
use crate::observation::Timestamp;

/// What the node's owner says about their cluster.
#[derive(Clone, Debug)]
pub struct Policy {
    /// User names of the API server: what they do is in the API server's own audit log.
    pub api_server_users: Vec<String>,
    /// Addresses that the API server's requests come from, as far as a node sees them; empty if nothing is said about that.
    pub api_server_peers: Vec<IpNet>,
    /// The name of this node.
    pub node: String,
    /// Whether the RBAC objects are followed; where they are not, nothing is concluded from their absence.
    pub rbac: bool,
}

impl Policy {
    /// The names that distributions give to the API server's kubelet client certificate: kubeadm, k3s, `OpenShift` and Charmed, kops,
    /// others.
    pub const API_SERVER_USERS: [&str; 5] =
        ["kube-apiserver-kubelet-client", "system:apiserver", "system:kube-apiserver", "kubelet-api", "kube-apiserver"];

    /// The default policy for the node of this name, without RBAC objects.
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            api_server_users: Self::API_SERVER_USERS.map(str::to_owned).to_vec(),
            api_server_peers: Vec::new(),
            node: node.into(),
            rbac: false,
        }
    }

    /// Whether the exchange is known to be the API server's. A user who was not seen is not.
    pub fn is_api_server(&self, exchange: &Exchange) -> bool {
        let name = exchange.checks.last().and_then(|check| check.user.name.whole());
        name.is_some_and(|name| self.api_server_users.iter().any(|user| user == name))
    }

    /// Whether it is known not to come from the API server's addresses. One whose address was not seen is not.
    fn is_from_elsewhere(&self, exchange: &Exchange) -> bool {
        let remote = exchange.request.as_ref().and_then(|request| request.remote);
        let known = |address: IpAddr| self.api_server_peers.iter().any(|network| network.contains(&address));
        !self.api_server_peers.is_empty() && remote.is_some_and(|remote| !known(remote.ip().to_canonical()))
    }
}

/// What an exchange amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What was asked for.
    pub endpoint: Endpoint,
    /// The verb that was authorized, or would have been.
    pub verb: Verb,
    /// How it was let in, or why not.
    pub access: Access,
    /// What came of an exec, attach, run or portForward; `None` for the other endpoints.
    pub outcome: Option<Outcome>,
    /// How its streams travel.
    pub transport: Transport,
    /// The HTTP status that the caller got; `None` while there is none, and where it is not known.
    pub status: Option<u16>,
    /// What the RBAC objects say about it; `None` where no right let it in, and where they are not followed.
    pub entitlement: Option<Entitlement>,
    /// What is wrong with it.
    pub findings: Findings,
}

impl Judgement {
    /// Whether the same is judged the same whenever it happens, as long as the RBAC objects are the same. Refusals are counted, and what the
    /// objects do not explain grows old.
    fn is_timeless(&self) -> bool {
        let is_refused = matches!(self.access, Access::Denied | Access::Unauthenticated);
        let is_unexplained = |entitlement: &Entitlement| matches!(entitlement.backing, Backing::Stale | Backing::Contradicted);
        !is_refused && !self.entitlement.as_ref().is_some_and(is_unexplained)
    }
}

/// Judges what is known of one exchange at one stage. [`Finding::Probing`] takes more than one exchange to see: [`Judge`] adds it.
#[derive(Debug)]
struct Court {
    policy: Policy,
    rights: Option<Rights>,
}

impl Court {
    fn new(policy: Policy) -> Self {
        let rights = policy.rbac.then(Rights::default);
        Self { policy, rights }
    }

    /// `entitlement` is what an earlier stage concluded from the RBAC objects: the objects of that time are those that count.
    fn judge(&mut self, exchange: &Exchange, stage: Stage, at: Timestamp, entitlement: Option<Entitlement>) -> Judgement {
        let endpoint = exchange.endpoint();
        let transport = exchange.request.as_ref().map_or(Transport::Unknown, |request| Transport::of(&request.upgrade));
        let access = access::access(exchange, &endpoint);
        let outcome = outcome::outcome(exchange, &endpoint, &access, transport);
        let mut judgement = Judgement {
            verb: verb(exchange),
            status: outcome::status(exchange, outcome),
            endpoint,
            access,
            outcome,
            transport,
            entitlement,
            findings: Findings::default(),
        };
        if judgement.entitlement.is_none() {
            judgement.entitlement = self.rights.as_mut().and_then(|rights| rights.entitlement(exchange, &judgement, at));
        }
        judgement.findings = finding::findings(exchange, stage, &self.policy, &judgement);
        judgement
    }
}

fn verb(exchange: &Exchange) -> Verb {
    if let Some(check) = exchange.checks.last() {
        return check.verb.whole().map_or(Verb::Unknown, Verb::parse);
    }
    let method = exchange.request.as_ref().and_then(|request| request.method.whole());
    method.map_or(Verb::Unknown, Verb::of_method)
}

#[cfg(test)]
mod tests;
