//! What the programs of a cluster write outside its folder, because the place is a constant in their source.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;

use super::layout::{Layout, names, state};
use super::{ClusterError, at, controllers};

/// Where every containerd 2.2 has the sockets of its shims, whatever its configuration says (`pkg/shim/util_unix.go`).
const SHIM_SOCKETS: &str = "/run/containerd/s";

/// Where every kubelet links the logs of its containers (`pkg/kubelet/kubelet.go`, `DefaultContainerLogsDir`).
const LOG_LINKS: &str = "/var/log/containers";

/// Where every kubelet has the socket for device plugins (`deviceplugin/v1beta1/constants.go`).
const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";

/// The files in that folder that a kubelet makes by itself.
const DEVICE_PLUGIN_FILES: [&str; 3] = ["kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"];

/// Folders that were made for the above, children first. Each is removed only when it is empty: others may use it.
const FOLDERS: [&str; 5] = [SHIM_SOCKETS, "/run/containerd", LOG_LINKS, "/var/lib/cni/results", "/var/lib/cni"];

/// Remembers, before a kubelet starts, whether this machine has a kubelet's folder of its own, which must stay.
pub(super) fn expect_kubelet_folder() -> Result<(), ClusterError> {
    if Path::new(DEVICE_PLUGINS).exists() {
        return Ok(());
    }
    fs::write(kubelet_folder_mark(), "").map_err(at(&kubelet_folder_mark()))
}

/// The files outside the folder that belong to this cluster; to be asked for while the folder is there, which names them.
pub(super) fn files(layout: &Layout) -> Vec<PathBuf> {
    let sockets = entries(&layout.path("containerd/state/io.containerd.runtime.v2.task/k8s.io")).filter_map(|bundle| shim_socket(&bundle));
    let links = entries(Path::new(LOG_LINKS)).filter(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(layout.folder())));
    let mut files: Vec<_> = sockets.chain(links).chain(controllers::remembered(layout)).collect();
    let alone = names().iter().all(|name| name == layout.name());
    if alone && kubelet_folder_mark().exists() {
        files.extend(DEVICE_PLUGIN_FILES.map(|file| Path::new(DEVICE_PLUGINS).join(file)));
        files.push(kubelet_folder_mark());
    }
    files
}

/// Removes these files, and the folders around them that have become empty.
pub(super) fn remove(files: &[PathBuf]) -> Result<(), ClusterError> {
    for file in files {
        remove_file(file)?;
    }
    let of_kubelet = if files.contains(&kubelet_folder_mark()) { [DEVICE_PLUGINS, "/var/lib/kubelet"].as_slice() } else { &[] };
    for folder in FOLDERS.iter().chain(of_kubelet) {
        // Not empty, or not there: either is well.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &Path) -> Result<(), ClusterError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// The socket of the shim of one container, which containerd writes into the container's `bootstrap.json`.
fn shim_socket(bundle: &Path) -> Option<PathBuf> {
    let bootstrap: Value = serde_json::from_slice(&fs::read(bundle.join("bootstrap.json")).ok()?).ok()?;
    let socket = PathBuf::from(bootstrap["address"].as_str()?.strip_prefix("unix://")?);
    (socket.parent().map(Path::as_os_str) == Some(OsStr::new(SHIM_SOCKETS))).then_some(socket)
}

/// Is there from the `up` that found no kubelet's folder on the machine to the `down` of the last cluster.
fn kubelet_folder_mark() -> PathBuf {
    state().join(".kubelet-folder-is-ours")
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
