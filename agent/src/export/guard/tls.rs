//! The certificate that the pages are served with: from files that may be replaced at any time, or made at the start.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// A client that has not shaken hands by then is cut off.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the files were replaced.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first byte of a TLS record that begins a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What Go's server says to the same mistake (`net/http`, `conn.serve`).
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis is an HTTPS server: ask with https://.\n";

/// Whence the certificate comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// PEM files, read again when they are replaced.
    Files {
        /// The certificate, those that lead to its CA after it.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Made now, for a server of this name, and kept in memory alone. Nobody can verify it.
    SelfSigned(String),
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read, or holds something else.
    #[error("{path}: {problem}; name PEM files of a certificate and its key with --metrics-tls-cert-file and --metrics-tls-key-file")]
    File {
        /// Which.
        path: String,
        /// Why.
        problem: String,
    },
    /// The key is another certificate's, or of a kind that is not known.
    #[error("{certificate} and {key} do not belong together, or cannot be used: {source}")]
    Pair {
        /// The certificate's file.
        certificate: String,
        /// The key's.
        key: String,
        /// Why.
        source: rustls::Error,
    },
    /// None could be made.
    #[error("no certificate can be made: {0}; name one with --metrics-tls-cert-file and --metrics-tls-key-file")]
    SelfSigned(#[from] rcgen::Error),
    /// The key that was made cannot be used, or no version of TLS can.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The server's side of TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// What became of a connection.
pub enum Handshake {
    /// They speak TLS.
    Done(Box<TlsStream<TcpStream>>),
    /// They do not, have been told so where that can help, and are gone.
    Failed,
}

impl Tls {
    /// Reads or makes the certificate.
    pub fn new(certificate: Certificate) -> Result<Self, CertificateError> {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let resolver: Arc<dyn ResolvesServerCert> = match certificate {
            Certificate::Files { certificate, key } => Arc::new(Replaceable::open(Files { certificate, key, provider })?),
            Certificate::SelfSigned(name) => Arc::new(rustls::sign::SingleCertAndKey::from(self_signed(&name, &provider)?)),
        };
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands; whoever speaks plain HTTP is told that it is HTTPS here.
    pub async fn accept(&self, mut stream: TcpStream) -> Handshake {
        let shake = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
                stream.write_all(NOT_TLS).await?;
                // What the client sent is read: a close with unread bytes would be a reset, and the answer lost.
                let _read = stream.try_read(&mut [0; 4096]);
                stream.shutdown().await?;
                return Ok(Handshake::Failed);
            }
            self.0.accept(stream).await.map(|stream| Handshake::Done(Box::new(stream)))
        };
        match timeout(HANDSHAKE_WITHIN, shake).await {
            Ok(Ok::<_, io::Error>(handshake)) => handshake,
            Ok(Err(_)) | Err(_) => Handshake::Failed,
        }
    }
}

fn self_signed(name: &str, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, format!("kubewitness on {name}"));
    let certificate = parameters.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::from_der(vec![certificate.der().clone()], key, provider)?)
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// What is seen of two files when they are replaced: modification times, sizes and inodes. A Secret's files are links to others, and the
/// link is what changes.
type Stamp = [(i64, i64, u64, u64); 2];

impl Files {
    fn stamp(&self) -> io::Result<Stamp> {
        let of = |file: &Metadata| (file.mtime(), file.mtime_nsec(), file.size(), file.ino());
        Ok([of(&fs::metadata(&self.certificate)?), of(&fs::metadata(&self.key)?)])
    }

    fn read(&self) -> Result<CertifiedKey, CertificateError> {
        let (certificate, key) = (self.certificate.display().to_string(), self.key.display().to_string());
        let failed = |path: &str| {
            let path = path.to_owned();
            move |error: pem::Error| CertificateError::File { path, problem: of_pem(&error) }
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(failed(&certificate))?;
        if chain.is_empty() {
            return Err(CertificateError::File { path: certificate, problem: "there is no certificate in it".to_owned() });
        }
        let secret = PrivateKeyDer::from_pem_file(&self.key).map_err(failed(&key))?;
        CertifiedKey::from_der(chain, secret, &self.provider).map_err(|source| CertificateError::Pair { certificate, key, source })
    }
}

/// What is wrong with a PEM file.
fn of_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is nothing of that kind in it".to_owned(),
        other => other.to_string(),
    }
}

/// A certificate that is read again when its files were replaced. A new pair that cannot be used is told of, and the old one goes on: one
/// file may be there before the other.
struct Replaceable {
    files: Files,
    current: Mutex<Current>,
}

struct Current {
    pair: Arc<CertifiedKey>,
    stamp: Option<Stamp>,
    looked: Instant,
    /// The problem that the log tells of.
    told: Option<String>,
}

impl Replaceable {
    fn open(files: Files) -> Result<Self, CertificateError> {
        // Looked at before they are read: what is replaced in between is seen as new.
        let stamp = files.stamp().ok();
        let pair = Arc::new(files.read()?);
        Ok(Self { files, current: Mutex::new(Current { pair, stamp, looked: Instant::now(), told: None }) })
    }

    fn pair(&self, now: Instant) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(current.looked) >= LOOK_EVERY {
            current.looked = now;
            current.look(&self.files);
        }
        Arc::clone(&current.pair)
    }
}

impl Current {
    fn look(&mut self, files: &Files) {
        let stamp = files.stamp().ok();
        if stamp == self.stamp && self.told.is_none() {
            return;
        }
        match files.read() {
            Ok(pair) => {
                (self.pair, self.stamp, self.told) = (Arc::new(pair), stamp, None);
                info!("the certificate for the metrics was replaced: the new one is used");
            }
            Err(error) => {
                let problem = error.to_string();
                if self.told.as_ref() != Some(&problem) {
                    warn!("the certificate for the metrics was replaced, and the old one stays in use: {problem}");
                    self.told = Some(problem);
                }
            }
        }
    }
}

impl ResolvesServerCert for Replaceable {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair(Instant::now()))
    }
}

impl std::fmt::Debug for Replaceable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replaceable").field("certificate", &self.files.certificate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_replaced_pair_is_taken_when_it_is_whole() {
        let folder = std::env::temp_dir().join(format!("kubewitness-tls-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let files =
            || Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key"), provider: Arc::new(ring::default_provider()) };
        let (first, second) = (pair("first"), pair("second"));
        assert!(matches!(files().read(), Err(CertificateError::File { .. })));
        fs::write(folder.join("tls.crt"), &first.0).unwrap();
        fs::write(folder.join("tls.key"), &second.1).unwrap();
        assert!(matches!(files().read(), Err(CertificateError::Pair { .. })));
        fs::write(folder.join("tls.key"), &first.1).unwrap();

        let replaceable = Replaceable::open(files()).unwrap();
        let start = Instant::now();
        let served = |seconds| replaceable.pair(start + Duration::from_secs(seconds)).cert[0].clone();
        let before = served(0);
        assert_eq!(before, served(2));
        fs::write(folder.join("tls.crt"), &second.0).unwrap();
        assert_eq!(served(4), before, "the key has not come yet");
        fs::write(folder.join("tls.key"), &second.1).unwrap();
        assert_eq!(served(4), before, "it is not looked so often");
        let after = served(6);
        assert_ne!(after, before);
        fs::write(folder.join("tls.crt"), "no certificate").unwrap();
        assert_eq!(served(8), after);
        fs::remove_file(folder.join("tls.key")).unwrap();
        assert_eq!(served(10), after);
        fs::remove_dir_all(&folder).unwrap();
    }
}
