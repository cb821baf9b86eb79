//! The kubelet's API as data: what a path means, which questions it leads to, how a request can be let in. Pure.
//!
//! Every fact here is from `k8s.io/kubernetes/pkg/kubelet/server` (`server.go`, `auth.go`), releases 1.29 to 1.37.

mod access;
mod counters;
mod endpoint;
mod fuzz;
mod query;
mod subresource;
mod transport;
mod verb;

pub use access::{Access, AccessKind, Grant, Why};
pub use counters::Counters;
pub use endpoint::{Endpoint, MetricsPage, PodTarget};
pub use fuzz::fuzz_entry;
pub use query::{Query, redact_commands};
pub use subresource::Subresource;
pub use transport::Transport;
pub use verb::Verb;
