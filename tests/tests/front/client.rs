//! Asks the agent's pages over TLS, whoever signed its certificate, and tells which certificate it was.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use kubewitness_tests::agent::{METRICS, connect_in};
use kubewitness_tests::cluster::{Cluster, Token};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// An agent's pages.
pub(crate) struct Client {
    network: PathBuf,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// The pages of an agent in the cluster's network namespace, on the usual port or another.
    pub(crate) fn of(cluster: &Cluster, port: u16) -> Self {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let mut tls = config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth();
        // A resumed session shows the certificate that it began with.
        tls.resumption = Resumption::disabled();
        Self { network: cluster.network_namespace(), address: SocketAddr::new(METRICS.ip(), port), tls: Arc::new(tls) }
    }

    /// The status and the body.
    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> io::Result<(u16, String)> {
        self.ask(path, token).map(|(status, body, _)| (status, body))
    }

    /// The status and the body for a token.
    pub(crate) fn metrics(&self, token: &Token) -> (u16, String) {
        self.get("/metrics", Some(token.expose())).unwrap()
    }

    /// The certificate that is served.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.ask("/healthz", None).unwrap().2
    }

    /// What plain HTTP gets.
    pub(crate) fn plain(&self) -> io::Result<String> {
        let mut stream = connect_in(&self.network, self.address)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: agent\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    }

    fn ask(&self, path: &str, token: Option<&str>) -> io::Result<(u16, String, CertificateDer<'static>)> {
        let server = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.tls), server).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, connect_in(&self.network, self.address)?);
        let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\n{authorization}\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let (head, body) = response.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no headers"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let certificate = stream.conn.peer_certificates().and_then(|chain| chain.first()).cloned();
        let status = status.ok_or_else(|| io::Error::other("no status"))?;
        Ok((status, body.to_owned(), certificate.ok_or_else(|| io::Error::other("no certificate"))?))
    }
}

/// Believes everybody, as `insecure_skip_verify` does.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
