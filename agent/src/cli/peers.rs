//! The flag that says where the API server calls from.

use std::net::IpAddr;

use clap::Parser;
use ipnet::IpNet;

/// Where the API server calls from.
#[derive(Debug, Parser)]
pub(super) struct ApiServerPeerArgs {
    /// An address or network that the API server calls from
    ///
    /// Such as 10.0.0.0/28, or that of the tunnel's end on this side; repeatable. With it, the API server's name from elsewhere is the
    /// finding api-server-impostor.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_APISERVER_PEER", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub(super) apiserver_peer: Vec<IpNet>,
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or_else(|| "use an address or a network, such as 10.0.0.5 or 10.0.0.0/28".to_owned())
}
