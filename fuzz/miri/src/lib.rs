//! The agent's modules that read bytes, by their paths: executables, and records from the wire to a request with its checks.

#[path = "../../../agent/src/exchange/mod.rs"]
pub mod exchange;
#[path = "../../../agent/src/gobin/mod.rs"]
pub mod gobin;
#[path = "../../../agent/src/kubelet/mod.rs"]
pub mod kubelet;
#[path = "../../../agent/src/observation.rs"]
pub mod observation;

pub mod probe;
