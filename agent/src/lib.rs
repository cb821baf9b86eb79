//! kubewitness: who did what on the kubelet's port 10250, and which permission let them.
//!
//! One way through the house, and the modules in its order:
//! `kernel record → Observation → Exchange → Judgement → AuditEvent → sinks`. ARCHITECTURE.md follows a request along it.

pub mod gobin;
pub mod target;
pub mod probe;
pub mod observation;
pub mod kubelet;
pub mod exchange;
pub mod rbac;
pub mod manifest;
pub mod judge;
pub mod check;
pub mod witness;
pub mod selfcheck;
pub mod export;
pub mod report;
pub mod watch;
pub mod daemon;
pub mod cli;
pub mod causes;
mod inert;
