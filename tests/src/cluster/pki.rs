//! The keys and certificates of a cluster: one CA, ECDSA P-256, made anew for each `up`.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use super::layout::Layout;
use super::{ClusterError, NODE, at};

/// Writes `pki/NAME.crt` and `pki/NAME.key` for every party, and the key pair that signs `ServiceAccount` tokens as
/// `pki/service-accounts.key` and `.pub`.
pub(super) fn create(layout: &Layout, address: Ipv4Addr) -> Result<(), ClusterError> {
    let key = KeyPair::generate()?;
    write(&layout.key("ca"), &key.serialize_pem())?;
    let authority = authority(key)?;
    write(&layout.certificate("ca"), &authority.pem())?;

    let (node, node_user) = (address.to_string(), format!("system:node:{NODE}"));
    let parties: [(&str, &str, Option<&str>, &[&str]); 7] = [
        ("apiserver", "kube-apiserver", None, &[&node, "127.0.0.1", "10.96.0.1", "localhost", "kubernetes.default.svc"]),
        // With the group that kubeadm gave it until 1.29 it is allowed everything without a binding.
        ("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters"), &[]),
        ("admin", "kubernetes-admin", Some("system:masters"), &[]),
        ("node", &node_user, Some("system:nodes"), &[&node, NODE]),
        // RBAC has bindings for these three names from the start.
        ("controller-manager", "system:kube-controller-manager", None, &[]),
        ("scheduler", "system:kube-scheduler", None, &[]),
        ("proxy", "system:kube-proxy", None, &[]),
    ];
    for (file, user, group, names) in parties {
        let mut party = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        party.distinguished_name = rcgen::DistinguishedName::new();
        party.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            party.distinguished_name.push(DnType::OrganizationName, group);
        }
        party.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        party.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        write(&layout.certificate(file), &party.signed_by(&key, &authority)?.pem())?;
        write(&layout.key(file), &key.serialize_pem())?;
    }
    let tokens = KeyPair::generate()?;
    write(&layout.key("service-accounts"), &tokens.serialize_pem())?;
    write(&layout.path("pki/service-accounts.pub"), &tokens.public_key_pem())
}

/// The cluster's CA. Made twice of the same key it is the same to whoever verifies.
fn authority(key: KeyPair) -> Result<CertifiedIssuer<'static, KeyPair>, ClusterError> {
    let mut authority = CertificateParams::new([])?;
    authority.distinguished_name.push(DnType::CommonName, "kubewitness testbed");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(authority, key)?)
}

/// The certificate and the key of a client, as PEM. The names may be anything.
pub(super) fn client(layout: &Layout, user: &str, groups: &[&str]) -> Result<(String, String), ClusterError> {
    let path = layout.key("ca");
    let authority = authority(KeyPair::from_pem(&fs::read_to_string(&path).map_err(at(&path))?)?)?;
    let mut client = CertificateParams::new([])?;
    client.distinguished_name = rcgen::DistinguishedName::new();
    client.distinguished_name.push(DnType::CommonName, user);
    for group in groups {
        client.distinguished_name.push(DnType::OrganizationName, *group);
    }
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok((client.signed_by(&key, &authority)?.pem(), key.serialize_pem()))
}

/// Readable by root alone, like any key.
fn write(path: &Path, pem: &str) -> Result<(), ClusterError> {
    let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(pem.as_bytes())).map_err(at(path))
}
