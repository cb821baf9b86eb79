//! Who may do what on the subresources of `nodes`, by the RBAC objects alone. Pure but for the modules that talk to a cluster.
//!
//! The rules are those of `plugin/pkg/auth/authorizer/rbac` and `pkg/registry/rbac/validation` in Kubernetes 1.29 to 1.37. Only
//! `ClusterRole`s and `ClusterRoleBinding`s count: nodes are cluster-scoped. Of them only what concerns `nodes/*` is kept.

mod answer;
pub mod builtin;
pub mod cluster;
mod fuzz;
mod mirror;
mod object;
mod packed;
mod reach;
mod rule;
mod snapshot;
mod subject;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Evidence, Grounds, Obscure, Question, Who};
pub use fuzz::fuzz_entry;
pub use mirror::{Kind, Mirror, Update};
pub use object::{Malformed, Object};
pub use reach::{ByRule, Doubt, Holder, Reach};
pub use rule::{Role, Rule, SubresourceSet, VerbSet};
pub use snapshot::{Binding, Change, Snapshot};
pub use subject::{Subject, SubjectKind};
