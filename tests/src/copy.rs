//! The cluster's kubelet from a copy of its executable: the same program, and to the kernel another file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use crate::cluster::Cluster;

/// A kubelet that runs from a copy; when it is dropped it is killed, and the copy removed. [`Cluster::restart_kubelet`] brings the
/// cluster's own back.
#[derive(Debug)]
pub struct KubeletCopy {
    child: Child,
    file: PathBuf,
}

impl KubeletCopy {
    /// Ends the cluster's kubelet, and starts the copy `file` with the same arguments; does not wait until it listens.
    pub fn replace(cluster: &Cluster, file: &Path) -> io::Result<Self> {
        let pid = cluster.kubelet_pid().ok_or_else(|| io::Error::other("the cluster has no kubelet"))?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        cluster.end_kubelet().map_err(io::Error::other)?;
        fs::copy(cluster.kubelet_binary(), file)?;
        let log = fs::File::options().append(true).open(cluster.log("kubelet"))?;
        let mut command = cluster.command(file);
        command.args(line.split_terminator('\0').skip(1)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Self { child: command.spawn()?, file: file.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for KubeletCopy {
    fn drop(&mut self) {
        // Nothing is left to do about either where it fails; `Cluster::down` ends every process in the cluster's namespace.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        let _gone = fs::remove_file(&self.file);
    }
}
