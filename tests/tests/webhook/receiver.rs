//! `auditreceiver` of `tests/go`, with keys and certificates of its own, and the kubeconfig that leads to it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use kubewitness_tests::{build::OwnProgram, cluster::Cluster};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

/// Where it listens, inside the cluster's network namespace.
const ADDRESS: &str = "127.0.0.1:9876";

/// A receiver, whether it runs or not; it is killed when it is dropped.
pub(crate) struct Receiver {
    folder: PathBuf,
    child: Option<Child>,
}

impl Receiver {
    /// Its files are in `folder`. It does not run yet.
    pub(crate) fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
        for (name, names, usage) in [
            ("server", vec!["127.0.0.1".to_owned()], ExtendedKeyUsagePurpose::ServerAuth),
            ("client", vec![], ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let mut party = CertificateParams::new(names).unwrap();
            party.distinguished_name.push(DnType::CommonName, name);
            party.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            fs::write(folder.join(format!("{name}.crt")), party.signed_by(&key, &authority).unwrap().pem()).unwrap();
            fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        let user = json!({"client-certificate": "client.crt", "client-key": "client.key"});
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "receiver",
            "clusters": [{"name": "receiver", "cluster": {"server": format!("https://{ADDRESS}/audit"), "certificate-authority": "ca.crt"}}],
            "users": [{"name": "agent", "user": user}],
            "contexts": [{"name": "receiver", "context": {"cluster": "receiver", "user": "agent"}}],
        });
        fs::write(folder.join("kubeconfig"), kubeconfig.to_string()).unwrap();
        Self { folder: folder.to_owned(), child: None }
    }

    pub(crate) fn kubeconfig(&self) -> String {
        self.folder.join("kubeconfig").display().to_string()
    }

    /// Starts it in the cluster's network namespace, and returns when it listens.
    pub(crate) fn start(&mut self, cluster: &Cluster) {
        let file = |name: &str| self.folder.join(name);
        let mut command = cluster.command(OwnProgram::AuditReceiver.recipe().build().unwrap());
        command.args(["--listen", ADDRESS, "--certificate"]).arg(file("server.crt")).arg("--key").arg(file("server.key"));
        command.arg("--client-ca").arg(file("ca.crt")).arg("--out").arg(file("events")).arg("--mood").arg(file("mood"));
        let log = fs::File::options().append(true).create(true).open(file("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.child = Some(child);
        assert!(line.starts_with("listening "), "{line}{}", self.log());
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What it does with lists from now on; see `auditreceiver`.
    pub(crate) fn behave(&self, mood: &str) {
        let (new, file) = (self.folder.join("mood.new"), self.folder.join("mood"));
        fs::write(&new, mood).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// What it took, in the order in which it came.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("events")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What it complained of.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}
