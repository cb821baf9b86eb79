//! The kubelets of this node: what they are, and where probes stand in them.

pub mod plan;
