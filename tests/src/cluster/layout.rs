//! Where everything of one cluster is, from its name alone.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{ClusterError, at};

/// The programs of every cluster, in the order in which they are started.
pub(super) const PROGRAMS: [&str; 4] = ["etcd", "containerd", "kube-apiserver", "kubelet"];

/// What a cluster with controllers runs besides.
pub(super) const CONTROLLERS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kube-proxy"];

/// All programs that a cluster may have.
pub(super) fn all_programs() -> impl Iterator<Item = &'static str> {
    PROGRAMS.into_iter().chain(CONTROLLERS)
}

/// The paths of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    name: String,
    folder: PathBuf,
}

/// Names of all clusters that have a folder, up or interrupted, sorted.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(state()).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_name(name)).collect();
    names.sort();
    names
}

/// The folder of all clusters: `$KUBEWITNESS_STATE`, or `/var/lib/kubewitness-testbed`.
pub(super) fn state() -> PathBuf {
    std::env::var_os("KUBEWITNESS_STATE").map_or_else(|| PathBuf::from("/var/lib/kubewitness-testbed"), PathBuf::from)
}

/// Names become part of socket paths, of which Linux allows 107 bytes, and of cgroup names.
fn is_name(name: &str) -> bool {
    (1..=20).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) && !name.starts_with('-')
}

impl Layout {
    pub(super) fn new(name: &str) -> Result<Self, ClusterError> {
        if !is_name(name) {
            return Err(ClusterError::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), folder: state().join(name) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file or folder below the cluster's.
    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.folder.join(below)
    }

    /// Name of the network namespace and of the pods' cgroup.
    pub(super) fn label(&self) -> String {
        format!("kw-{}", self.name)
    }

    pub(super) fn network_namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(self.label())
    }

    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.folder.join(format!("pki/{name}.crt"))
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("pki/{name}.key"))
    }

    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("pki/{user}.kubeconfig"))
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.folder.join(format!("log/{program}.log"))
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.path("audit.log")
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd/containerd.sock")
    }

    /// The record that is written last by `up` and removed first by `down`: where it is, the cluster is whole.
    pub(super) fn record(&self) -> PathBuf {
        self.path("cluster.json")
    }

    /// Creates the folder and takes its lock, which ends with the returned file or with the process. The folder may have been
    /// removed by the run that was waited for; then it is created again.
    pub(super) fn claim(&self) -> Result<File, ClusterError> {
        loop {
            fs::create_dir_all(&self.folder).map_err(at(&self.folder))?;
            let file = File::open(&self.folder).map_err(at(&self.folder))?;
            if file.try_lock().is_err() {
                eprintln!("waiting for another run that works on the cluster {} …", self.name);
                file.lock().map_err(at(&self.folder))?;
            }
            let claimed = file.metadata().map_err(at(&self.folder))?.ino();
            if fs::metadata(&self.folder).is_ok_and(|current| current.ino() == claimed) {
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_folder_or_overflow_a_socket_path_are_refused() {
        for name in ["demo", "a", "e2e-1-36", "12345678901234567890"] {
            assert!(Layout::new(name).is_ok(), "{name:?}");
        }
        for name in ["", "..", "a/b", "A", "-x", "ä", "a b", "123456789012345678901"] {
            assert!(matches!(Layout::new(name), Err(ClusterError::Name(_))), "{name:?}");
        }
    }
}
