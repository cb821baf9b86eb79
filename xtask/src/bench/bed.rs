//! The cluster that is measured on, and who asks.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::cluster::{CONTAINER, Cluster, NODE, Options, POD, Token};
use serde_json::json;

use crate::{build, project};

/// A cluster of its own; it goes away when this is dropped.
pub(super) struct Bed {
    pub(super) cluster: Cluster,
    /// May `get`, `create` and `update` `nodes/proxy`, and `nodes/metrics`, which `/metrics` wants (`pkg/kubelet/server/auth.go`): each of its other
    /// requests is checked twice.
    pub(super) token: Token,
    /// Its header in a file, for programs that would otherwise show it in their command lines.
    pub(super) header: PathBuf,
    /// For what is written while it is measured.
    pub(super) folder: PathBuf,
    /// The programs that the agent's are compared with: the object, and who attaches it.
    pub(super) object: PathBuf,
    pub(super) attacher: PathBuf,
    /// The agent, as a container runtime puts it on a node: see [`unpack`].
    pub(super) agent: PathBuf,
}

const NAME: &str = "kw-bench";
/// Pods that the kubelet lists, beside the one that runs.
const PODS: u32 = 100;
/// Lines of the log that is read, of 1,000 bytes each.
const LOG_LINES: u32 = 60_000;

impl Bed {
    pub(super) fn up() -> Result<Self> {
        let (object, examples) = build::comparison()?;
        let folder = project::root().join("target/bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Cluster::down(NAME)?;
        let mut options = Options::named(NAME);
        // The log that is read is one file; and a kubelet asks the API server 50 times a second at most, which a thousand identities need for longer
        // than its answers last.
        options.kubelet_config = json!({ "containerLogMaxSize": "200Mi", "kubeAPIQPS": 5000, "kubeAPIBurst": 5000 });
        let cluster = Cluster::up(&options)?;
        cluster.service_account("bench")?;
        cluster.grant("bench", &["get", "create", "update"], &["nodes/proxy", "nodes/metrics"])?;
        let token = cluster.token("bench", None)?;
        let header = folder.join("header");
        write_private(&header, &format!("Authorization: Bearer {}\n", token.expose()))?;
        let agent = folder.join("kubewitness");
        unpack(&project::root().join("target/release/kubewitness"), &agent)?;
        Ok(Self { cluster, token, header, folder, object, attacher: examples.join("bench_probes"), agent })
    }

    /// Pods that the kubelet does not admit: they are listed like others, and take nothing.
    pub(super) fn list_pods(&self) -> Result<()> {
        let pod = |number: u32| {
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("listed-{number}"), "labels": { "app": "listed" } },
                "spec": { "nodeName": NODE, "nodeSelector": { "there": "is-none" }, "containers": [{ "name": CONTAINER, "image": "none:1" }] } })
        };
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": (0..PODS).map(pod).collect::<Vec<_>>() });
        self.cluster.apply(&list.to_string())?;
        Ok(())
    }

    /// A pod that has written a long log, and rests.
    pub(super) fn talker(&self) -> Result<()> {
        let script = format!("yes $(head -c 999 /dev/zero | tr '\\0' a) | head -n {LOG_LINES}; sleep 100000");
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "talker" },
            "spec": { "nodeName": NODE, "hostNetwork": true, "terminationGracePeriodSeconds": 0, "containers": [{ "name": CONTAINER,
                "image": kubewitness_tests::cluster::IMAGE, "command": ["sh", "-c", script] }] } });
        self.cluster.apply(&pod.to_string())?;
        let begun = Instant::now();
        while self.log_bytes() < u64::from(LOG_LINES) * 1000 {
            ensure!(
                begun.elapsed() < Duration::from_secs(120),
                "the pod that writes a log does not: see `cargo xtask cluster --name {NAME} status`"
            );
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        let mut folders = vec![self.cluster.pod_logs()];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                    Ok(meta) if entry.path().to_string_lossy().contains("talker") => bytes += meta.len(),
                    _ => {}
                }
            }
        }
        bytes
    }

    pub(super) fn kubelet(&self) -> Result<u32> {
        self.cluster.kubelet_pid().context("the kubelet of the bench does not run")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Writes an executable in pieces of 32 KiB, as containerd does when it unpacks a layer (`pkg/archive/tar.go`). The page cache keeps a file in
/// pieces as it was written, and Linux 6.18 maps the whole piece that a byte of code is in: one that was written at once takes twice the memory.
fn unpack(from: &Path, to: &Path) -> Result<()> {
    let wrong = || format!("{} cannot be copied to {}", from.display(), to.display());
    let content = fs::read(from).with_context(wrong)?;
    let _absent = fs::remove_file(to);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(to).with_context(wrong)?;
    content.chunks(32 << 10).try_for_each(|piece| file.write_all(piece)).with_context(wrong)
}

/// Writes what nobody else may read.
pub(super) fn write_private(file: &Path, text: &str) -> Result<()> {
    let mut opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    opened.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}

/// The target of an exec in the pod that is always there.
pub(super) fn exec(command: &[&str]) -> String {
    let words: Vec<String> = command.iter().map(|word| format!("command={word}")).collect();
    format!("/exec/default/{POD}/{CONTAINER}?{}&output=1", words.join("&"))
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(NAME) {
            crate::progress::error(&format!("the cluster of the bench is still there: {error}"));
        }
    }
}
