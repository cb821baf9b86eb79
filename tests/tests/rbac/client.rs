//! The way into a cluster's network namespace, and to its API server as the administrator.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::thread;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kubewitness::rbac::cluster::{ConnectOptions, Connection};
use kubewitness_tests::cluster::Cluster;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs work in the cluster's network namespace.
pub(crate) fn inside<T: Send, F: Future<Output = T>>(cluster: &Cluster, work: impl FnOnce() -> F + Send) -> T {
    let namespace = File::open(cluster.network_namespace()).expect("the cluster has a network namespace");
    let work = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
        runtime.block_on(work())
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// The way of kubewitness to the API server.
pub(crate) async fn connection(cluster: &Cluster) -> Connection {
    let options = ConnectOptions { kubeconfig: Some(cluster.kubeconfig()), context: None };
    Connection::open(options).await.expect("the testbed writes a kubeconfig")
}

/// A client for whatever else there is to ask.
pub(crate) async fn client(cluster: &Cluster) -> Client {
    // It puts the provider for TLS in place.
    connection(cluster).await;
    let content = Kubeconfig::read_from(cluster.kubeconfig()).expect("the testbed writes a kubeconfig");
    let config = Config::from_custom_kubeconfig(content, &KubeConfigOptions::default()).await.expect("it is whole");
    Client::try_from(config).expect("it can be used")
}
