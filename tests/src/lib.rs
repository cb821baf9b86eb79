//! The testbed: Go programs built once from pinned modules, and a real one-node cluster that is made of them.
//!
//! [`build`] makes programs and caches them, [`host`] finds what must come from the distribution, [`cluster`] runs them, [`agent`] runs
//! kubewitness beside them.
//! Nothing is mocked: the kubelet, the API server, etcd and containerd are the real ones, each cluster in its own network
//! namespace.

use std::fmt::Write as _;

pub mod agent;
pub mod build;
pub mod cluster;
pub mod host;

/// Bytes as lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
