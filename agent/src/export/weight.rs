//! How much an event is wanted when room is short.

use crate::{
    judge::{Severity, Verdict},
    kubelet::{Access, Endpoint},
};

/// How much an event is wanted when room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It tells what happened.
    Usual,
    /// It tells of somebody who was let into a pod, or that something else is wrong: nobody who floods a node with requests pushes it out.
    Alarm,
}

impl Weight {
    /// The weight of the event that a verdict becomes.
    pub fn of(verdict: &Verdict) -> Self {
        let judgement = &verdict.judgement;
        let guarded = judgement.endpoint.is_exec_class() || matches!(judgement.endpoint, Endpoint::Checkpoint(_));
        let wrong = judgement.findings.iter().any(|finding| finding.severity() != Severity::Info);
        if wrong || (guarded && !is_refused(&judgement.access)) { Self::Alarm } else { Self::Usual }
    }
}

/// Whether nobody was let in: such requests anybody can make who reaches the port, and as many as they like.
pub(super) const fn is_refused(access: &Access) -> bool {
    matches!(access, Access::Denied | Access::Unauthenticated | Access::Unchecked)
}
