//! What leaves the agent: audit events as JSON lines, metrics, and the HTTP server that shows them.

pub mod audit;
mod clock;
pub mod http;
pub mod metrics;
mod outputs;
mod recorder;
pub mod sink;
pub mod webhook;

pub use clock::Clock;
pub use outputs::Outputs;
pub use recorder::Recorder;
