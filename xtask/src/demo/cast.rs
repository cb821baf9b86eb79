//! The identities of the demo, their rights and their tokens.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::cluster::Cluster;

/// `ServiceAccounts` and the resources that they may `get`, nothing else.
const CAST: [(&str, &[&str]); 5] = [
    ("scraper", &["nodes/metrics"]),
    ("modern-agent", &["nodes/pods"]),
    ("legacy-agent", &["nodes/proxy"]),
    ("intruder", &["nodes/proxy"]),
    ("nobody", &[]),
];

/// Makes the identities, each with its token in a file of the folder that is returned. A grant is not over when it is written but
/// when the API server's authorizer knows it: the kubelet would remember an earlier "no" for half a minute.
pub(super) fn cast(cluster: &Cluster) -> Result<PathBuf> {
    let tokens = cluster.audit_log().with_file_name("tokens");
    fs::create_dir_all(&tokens).with_context(|| format!("cannot make the folder {}", tokens.display()))?;
    for (name, resources) in CAST {
        cluster.service_account(name)?;
        if !resources.is_empty() {
            cluster.grant(name, &["get"], resources)?;
        }
        write_secret(&tokens.join(name), cluster.token(name, None)?.expose())?;
    }
    write_secret(&tokens.join("bad-token"), "not-a-token")?;
    for (name, resources) in CAST {
        for resource in resources {
            until_granted(cluster, name, resource)?;
        }
    }
    Ok(tokens)
}

fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(secret.as_bytes())).with_context(|| format!("cannot write {}", path.display()))
}

/// Waits until the API server's authorizer knows of a right to `get`.
pub(super) fn until_granted(cluster: &Cluster, name: &str, resource: &str) -> Result<()> {
    let (resource, subresource) = resource.split_once('/').context("a resource of a node has a slash")?;
    let identity = format!("--as=system:serviceaccount:default:{name}");
    let begun = Instant::now();
    loop {
        let mut ask = cluster.kubectl(["auth", "can-i", "get", resource, "--subresource", subresource, &identity]);
        if ask.output().context("kubectl cannot be started")?.status.success() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "the API server did not learn within 20 s that {name} may get {resource}/{subresource}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}
