//! What leaves the agent: audit events as JSON lines, metrics, and the HTTP server that shows them.

pub mod audit;
pub(crate) mod bucket;
mod clock;
pub mod guard;
mod health;
pub mod http;
pub mod metrics;
mod notices;
mod outputs;
pub mod policy;
mod recorder;
mod restraint;
pub mod sink;
pub mod watchers;
pub mod webhook;
mod weight;

pub use clock::Clock;
pub use health::{Health, Readiness};
pub use notices::Notices;
pub use outputs::Outputs;
pub use recorder::{Ends, Recorder, Seen};
pub use restraint::Restraint;
pub use weight::Weight;
