//! Requests byte by byte, over TLS with a client certificate: what no HTTP library would send.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use kubewitness_tests::{agent::connect_in, cluster::Cluster};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

/// A client of the cluster's kubelet with a certificate of its own.
pub(crate) struct Client<'a> {
    cluster: &'a Cluster,
    config: Arc<ClientConfig>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(cluster: &'a Cluster, user: &str, groups: &[&str]) -> Self {
        let (certificate, key) = cluster.client_certificate(user, groups).unwrap();
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(cluster.ca()).unwrap() {
            roots.add(root.unwrap()).unwrap();
        }
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_client_auth_cert(vec![certificate], key).unwrap();
        Self { cluster, config: Arc::new(config) }
    }

    /// Sends bytes and gives the status of the answer; 0 where there was none.
    pub(crate) fn send(&self, request: &[u8]) -> u16 {
        let mut stream = self.connect().unwrap();
        // A server that has seen enough does not read the rest.
        let _broken = stream.write_all(request).and_then(|()| stream.flush());
        let mut answer = [0; 64];
        let len = stream.read(&mut answer).unwrap_or(0);
        let head = String::from_utf8_lossy(&answer[..len]);
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn connect(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let address = self.cluster.address();
        let tcp = connect_in(&self.cluster.network_namespace(), SocketAddr::from((address, 10250)))?;
        let name = ServerName::try_from(address.to_string()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, tcp))
    }
}
