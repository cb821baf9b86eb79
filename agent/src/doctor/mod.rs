//! What must be in place for each feature, whether it is, and what to do where it is not.
//!
//! `finding` and `text` are pure. What is looked at only where the agent can run is in `machine` and `outputs`, behind one function each;
//! [`cluster`] looks from any machine.

pub mod cluster;
mod finding;
#[cfg(target_os = "linux")]
pub mod gate;
#[cfg(target_os = "linux")]
mod kubelet;
#[cfg(target_os = "linux")]
pub mod machine;
#[cfg(target_os = "linux")]
pub mod outputs;
pub mod text;

pub use finding::{Finding, Fix, Group, State};
#[cfg(target_os = "linux")]
pub use kubelet::Kubelet;
