//! An HTTP/1.1 client that sends exactly what it is told to: other clients clean the request target, know which methods there are, and
//! never speak to a server that took the connection over.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use kubewitness_tests::agent::connect_in;
use kubewitness_tests::cluster::Cluster;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A kubelet, and how to speak to it.
#[derive(Clone)]
pub(crate) struct Kubelet {
    network: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
}

/// The beginning of a response, and of what came after it.
#[derive(Debug)]
pub(crate) struct Response {
    /// From the status line.
    pub(crate) status: u16,
    /// All bytes after the headers, as they were sent.
    pub(crate) rest: Vec<u8>,
}

/// What to do once the server has switched protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Close the connection.
    Leave,
    /// Read until the server closes it.
    Listen,
}

impl Kubelet {
    /// The cluster's kubelet, to a caller without a certificate.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let config = ClientConfig::builder().with_root_certificates(roots(cluster)).with_no_client_auth();
        Self::with(cluster, config)
    }

    /// The cluster's kubelet, to the API server.
    pub(crate) fn to_the_api_server(cluster: &Cluster) -> Self {
        let (certificate, key) = cluster.kubelet_client();
        let certificate = CertificateDer::from_pem_file(certificate).expect("the testbed writes a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("the testbed writes a key");
        let config = ClientConfig::builder().with_root_certificates(roots(cluster)).with_client_auth_cert(vec![certificate], key);
        Self::with(cluster, config.expect("the certificate and the key belong together"))
    }

    fn with(cluster: &Cluster, config: ClientConfig) -> Self {
        let address = SocketAddr::new(IpAddr::V4(cluster.address()), 10250);
        Self { network: cluster.network_namespace(), address, tls: Arc::new(config) }
    }

    /// A connection without TLS.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        connect_in(&self.network, self.address)
    }

    /// The name in the kubelet's certificate.
    pub(crate) fn name(&self) -> ServerName<'static> {
        ServerName::from(self.address.ip())
    }

    /// Sends these bytes over a new connection and reads the response, and what follows it until either end is tired.
    pub(crate) fn send(&self, request: &[u8], then: Then) -> io::Result<Response> {
        let tls = ClientConnection::new(Arc::clone(&self.tls), self.name()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, self.connect()?);
        stream.write_all(request)?;
        stream.flush()?;
        let mut received = Vec::new();
        let head = loop {
            if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if read_some(&mut stream, &mut received)? == 0 {
                return Err(io::Error::other(format!("the kubelet's response ends after {:?}", String::from_utf8_lossy(&received))));
            }
        };
        let status = status(&received[..head]).ok_or_else(|| io::Error::other("no status line"))?;
        if status != 101 || then == Then::Listen {
            while read_some(&mut stream, &mut received)? > 0 {}
        }
        Ok(Response { status, rest: received.split_off(head + 4) })
    }
}

fn roots(cluster: &Cluster) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(cluster.ca()).expect("the testbed writes a certificate");
    roots.add(authority).expect("the testbed's CA is a CA");
    roots
}

fn read_some(stream: &mut StreamOwned<ClientConnection, TcpStream>, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let count = match stream.read(&mut buffer) {
        Ok(count) => count,
        // A proxied stream is cut without TLS's own goodbye.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => 0,
        Err(error) => return Err(error),
    };
    into.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// `HTTP/1.1 200 OK`
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
}
