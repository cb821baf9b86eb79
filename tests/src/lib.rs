//! The testbed: Go programs built once from pinned modules, and a real one-node cluster that is made of them.
//!
//! [`build`] makes programs and caches them, [`host`] finds what must come from the distribution, [`cluster`] runs them, [`agent`] runs
//! kubewitness beside them, [`chart`] installs it on them, [`prometheus`] a real Prometheus, [`alertmanager`] a real Alertmanager, [`call`]
//! sends requests to the kubelet, [`scenarios`] plays several tests on one cluster, [`figures`] puts what was measured into `docs`,
//! [`form`] is the short or the long form of a test that measures. Nothing is mocked: the kubelet, the API server, etcd and
//! containerd are the real ones, each cluster in its own network namespace.

use std::fmt::Write as _;

pub mod agent;
pub mod alertmanager;
pub mod books;
pub mod build;
pub mod call;
pub mod chart;
pub mod cluster;
pub mod copy;
pub mod figures;
pub mod flood;
pub mod form;
pub mod held;
pub mod host;
pub mod nested;
pub mod prometheus;
pub mod random;
pub mod scenarios;
pub mod vm;

/// Bytes as lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
