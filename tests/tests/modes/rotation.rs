//! Certificates that change while the kubelet runs: what it shows, and whose it believes.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{agent::connect_in, call::Call, scenarios::Bed, scenarios::annotation};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::json;

use crate::{doctor, watched::Watched};

/// The kubelet watches its files, and looks at them once a minute besides.
const READ_WITHIN: Duration = Duration::from_secs(75);
const NEW_AUTHORITY: &str = "the next authority";

/// A connection that was opened before stays, and is told; so is everybody who comes with what was just put in place.
pub(crate) fn rotation(bed: &Bed) {
    bed.cluster.reconfigure_kubelet(&json!({}), &[]).unwrap();
    let token = bed.identity("steady", &["get"], &["nodes/proxy", "nodes/metrics"]);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    // One connection through all of it.
    let steady = Call::get("/healthz").token(&token).user_agent("steady").times(0).pause(Duration::from_millis(20));
    let steady = steady.start(&bed.cluster).unwrap();
    let next = Next::make(bed.cluster.address().into());
    let client = next.client("system:node-inspector", "inspectors");

    let (name, stranger) = (watched.name(), client.send(bed, "/pods", "stranger"));
    assert_eq!(stranger.as_ref().map(|answer| answer.status).ok(), Some(401), "nobody knows the next authority yet: {stranger:?} {name}");
    let event = watched.end_of("stranger");
    assert_eq!(annotation(&event, "access"), "unauthenticated", "{event}");

    let (authority, serving) = (bed.cluster.ca(), bed.cluster.folder().join("pki/node.crt"));
    let (key, old) = (bed.cluster.folder().join("pki/node.key"), fs::read_to_string(&authority).unwrap());
    let old_serving = [&serving, &key].map(|file| fs::read_to_string(file).unwrap());
    replace(&authority, &(old.clone() + &next.authority.pem()));
    replace(&key, &next.serving.1);
    replace(&serving, &next.serving.0);

    let begun = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let name = format!("inspector/{attempts}");
        let answer = client.send(bed, "/pods", &name).unwrap();
        let event = watched.end_of(&name);
        match answer.status {
            // RBAC knows nobody of that name.
            403 => {
                assert_eq!(annotation(&event, "access"), "denied", "{event}");
                assert_eq!(event["user"]["username"], "system:node-inspector", "{event}");
                assert_eq!(event["user"]["groups"], json!(["inspectors", "system:authenticated"]), "{event}");
            }
            401 => assert_eq!(annotation(&event, "access"), "unauthenticated", "{event}"),
            status => panic!("{status}: {event}"),
        }
        if answer.status == 403 && answer.by_next {
            break;
        }
        assert!(begun.elapsed() < READ_WITHIN, "the kubelet did not read its certificates again");
        thread::sleep(Duration::from_millis(500));
    }
    eprintln!("both certificates were in force after {:.1} s", begun.elapsed().as_secs_f32());
    // What was open before goes on under what is new.
    thread::sleep(Duration::from_secs(1));
    let answers = steady.stop().unwrap();
    assert_eq!(answers.only(), Some(200), "{}", answers.problem);
    assert!(answers.answered() >= 10, "{answers:?}");
    let said_by_doctor = doctor::settings(bed.cluster.kubelet_pid().unwrap()).unwrap();
    assert!(said_by_doctor.values().all(|(_, advice)| !advice), "nothing is advised against: {said_by_doctor:?}");
    watched.close(
        "serving certificate and client CA replaced while it runs",
        "the new authority's users, and the connections that were there",
    );
    replace(&authority, &old);
    replace(&key, &old_serving[1]);
    replace(&serving, &old_serving[0]);
}

/// As whoever renews certificates does it: a new file in the place of the old one.
fn replace(file: &Path, pem: &str) {
    let new = file.with_extension("new");
    fs::write(&new, pem).unwrap();
    fs::rename(&new, file).unwrap();
}

/// Another authority, and what it has signed.
struct Next {
    authority: CertifiedIssuer<'static, KeyPair>,
    /// The certificate and the key of the kubelet.
    serving: (String, String),
}

impl Next {
    fn make(address: IpAddr) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.distinguished_name.push(DnType::CommonName, NEW_AUTHORITY);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let serving = signed(&authority, &[address.to_string()], "system:node:node1", "system:nodes");
        Self { authority, serving }
    }

    /// A client with a certificate of this authority, who believes it alone.
    fn client(&self, user: &str, group: &str) -> Client {
        let (certificate, key) = signed(&self.authority, &[], user, group);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let next = roots.clone();
        Client { certificate, key, next }
    }
}

fn signed(authority: &CertifiedIssuer<'static, KeyPair>, names: &[String], user: &str, group: &str) -> (String, String) {
    let mut party = CertificateParams::new(names.to_vec()).unwrap();
    party.distinguished_name = rcgen::DistinguishedName::new();
    party.distinguished_name.push(DnType::CommonName, user);
    party.distinguished_name.push(DnType::OrganizationName, group);
    party.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    party.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (party.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// Somebody with a certificate.
struct Client {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    next: RootCertStore,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    /// Whether the kubelet showed a certificate of the next authority.
    by_next: bool,
}

impl Client {
    /// Asks the kubelet, whichever of the two authorities signed its certificate.
    fn send(&self, bed: &Bed, path: &str, user_agent: &str) -> io::Result<Answer> {
        match self.ask(bed, &self.next, path, user_agent) {
            Ok(status) => Ok(Answer { status, by_next: true }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(bed.cluster.ca()).map_err(io::Error::other)? {
                    roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
                self.ask(bed, &roots, path, user_agent).map(|status| Answer { status, by_next: false })
            }
            Err(error) => Err(error),
        }
    }

    fn ask(&self, bed: &Bed, roots: &RootCertStore, path: &str, user_agent: &str) -> io::Result<u16> {
        let config = ClientConfig::builder().with_root_certificates(roots.clone());
        let config = config.with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key()).map_err(io::Error::other)?;
        let address = IpAddr::V4(bed.cluster.address());
        let tls = ClientConnection::new(Arc::new(config), ServerName::from(address)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, connect_in(&bed.cluster.network_namespace(), SocketAddr::new(address, 10250))?);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: kubelet\r\nUser-Agent: {user_agent}\r\nConnection: close\r\n\r\n")?;
        stream.flush()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        let status = std::str::from_utf8(&head[9..]).ok().and_then(|status| status.parse().ok());
        status.ok_or_else(|| io::Error::other("no status line"))
    }
}
