//! kubewitness: who did what on the kubelet's port 10250, and which permission let them.
//!
//! One way through the house, and the modules in its order:
//! `kernel record → Observation → Exchange → Judgement → AuditEvent → sinks`. ARCHITECTURE.md follows a request along it.
//!
//! What watches a kubelet is for Linux. The rest, which is what `rbac` and `report` do, is for every system.

#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, unused_imports, reason = "what only the commands for Linux use of the other modules")
)]

pub mod gobin;
pub mod target;
#[cfg(target_os = "linux")]
pub mod probe;
pub mod observation;
pub mod kubelet;
pub mod exchange;
pub mod rbac;
pub mod manifest;
pub mod judge;
pub mod check;
#[cfg(target_os = "linux")]
pub mod witness;
pub mod selfcheck;
#[cfg(target_os = "linux")]
pub mod export;
pub mod report;
#[cfg(target_os = "linux")]
pub mod watch;
#[cfg(target_os = "linux")]
pub mod daemon;
pub mod doctor;
pub mod cli;
pub mod causes;
pub mod when;
mod inert;
