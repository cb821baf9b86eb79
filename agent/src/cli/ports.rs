//! The flags that name the kubelet's ports.

use clap::Parser;

/// The kubelet's ports.
#[derive(Clone, Copy, Debug, Parser)]
pub(super) struct Ports {
    /// The kubelet's port
    #[arg(long, env = "KUBEWITNESS_KUBELET_PORT", default_value_t = 10250, value_name = "PORT")]
    pub(super) kubelet_port: u16,
    /// The kubelet's read-only port, where one is open
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_READ_ONLY_PORT", default_value_t = 10255, value_name = "PORT")]
    pub(super) read_only_port: u16,
}

impl Ports {
    pub(super) fn watched(self) -> [u16; 2] {
        [self.kubelet_port, self.read_only_port]
    }
}
