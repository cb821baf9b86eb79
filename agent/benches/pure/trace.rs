//! The recorded trace that `tests/trace.rs` plays, and a request of it to make others of.

use std::sync::Arc;

use bytes::Bytes;
use kubewitness::{
    exchange::{Exchange, Place},
    judge::{Policy, Verdict},
    kubelet::Access,
    observation::User,
    witness::{Outcome, Witness},
};

/// Requests and connections that are remembered.
pub(crate) const LIMIT: usize = 1000;
pub(crate) const PORTS: (u16, u16) = (10250, 10255);

/// Its records: each tells its length in the second word of its header.
pub(crate) fn records() -> Vec<Bytes> {
    let mut rest = Bytes::from_static(include_bytes!("../../tests/fixtures/trace-1.36.3.bin"));
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest[4..8].try_into().expect("four bytes"));
        records.push(rest.split_to(usize::try_from(length).expect("a length")));
    }
    records
}

pub(crate) fn witness() -> Witness {
    Witness::new(Policy::new("node1"), LIMIT, PORTS.0, PORTS.1)
}

/// What a record led to.
pub(crate) fn verdicts(witness: &mut Witness, record: &Bytes) -> impl Iterator<Item = Verdict> {
    let outcomes = witness.take(record, |_| Place::Host).expect("a record");
    outcomes
        .into_iter()
        .filter_map(|outcome| if let Outcome::Verdict(verdict) = outcome { Some(Arc::unwrap_or_clone(verdict)) } else { None })
}

/// `GET /pods` of a service account that has no right but `get nodes/proxy`: a question about `nodes/pods`, and one about `nodes/proxy`.
pub(crate) fn fallback() -> Exchange {
    let mut witness = witness();
    let mut verdicts = records().into_iter().flat_map(|record| verdicts(&mut witness, &record).collect::<Vec<_>>());
    let found = verdicts.find(|verdict| matches!(verdict.judgement.access, Access::Fallback { .. }));
    *found.expect("the trace has one").exchange
}

/// The same request of another service account.
pub(crate) fn of(exchange: &Exchange, namespace: &str, name: &str) -> Exchange {
    let mut exchange = exchange.clone();
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
    let name = format!("system:serviceaccount:{namespace}:{name}");
    let [first, others @ ..] = &mut exchange.checks[..] else { panic!("a request without a check is nobody's") };
    first.user = Arc::new(User { name: name.as_str().into(), groups: groups.map(Into::into).to_vec(), ..User::clone(&first.user) });
    for check in others {
        check.user = Arc::clone(&first.user);
    }
    exchange
}
