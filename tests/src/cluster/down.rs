//! Removing a cluster, whole or half made: every process, mount, namespace, cgroup, socket and file of it.
//!
//! What is running is found by where it runs, not by what was recorded alone: a run that was killed between starting a program and
//! recording it leaves nothing behind either. Everything of a cluster runs in its network namespace or below its cgroup.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use serde_json::Value;

use super::layout::{Layout, PROGRAMS, state};
use super::process::Identity;
use super::{ClusterError, at, cgroups, network, process};

/// How long processes may take to die and cgroups to become empty.
const PATIENCE: Duration = Duration::from_secs(20);

/// Folders outside the cluster's own in which containerd keeps the sockets of shims. Removed when they are empty.
const SHIM_FOLDERS: [&str; 2] = ["/run/containerd/s", "/run/containerd"];

pub(super) fn down(layout: &Layout) -> Result<(), ClusterError> {
    if !layout.folder().exists() && !layout.network_namespace().exists() && !cgroups::exists(&layout.label()) {
        return Ok(());
    }
    let _lock = layout.claim()?;
    clear(layout)?;
    remove_folder(layout)
}

/// Removes everything but the folder itself, which carries the lock of the run that calls this.
pub(super) fn clear(layout: &Layout) -> Result<(), ClusterError> {
    remove(&layout.record())?;
    kill_all(layout)?;
    let sockets = shim_sockets(layout);
    unmount_all(layout)?;
    network::remove(layout)?;
    remove_cgroups(layout)?;
    for socket in sockets {
        remove(&socket)?;
    }
    for folder in SHIM_FOLDERS {
        // Another containerd may use it; then it is not empty and stays.
        let _ = fs::remove_dir(folder);
    }
    empty(layout.folder())
}

pub(super) fn remove_folder(layout: &Layout) -> Result<(), ClusterError> {
    fs::remove_dir(layout.folder()).map_err(at(layout.folder()))?;
    // The folder of all clusters goes with the last one.
    let _ = fs::remove_dir(state());
    Ok(())
}

/// Kills until nothing is left, because a process may fork while it is being found.
fn kill_all(layout: &Layout) -> Result<(), ClusterError> {
    let (begun, mut killed) = (Instant::now(), BTreeMap::new());
    loop {
        let victims = running(layout);
        if victims.is_empty() {
            break;
        }
        if begun.elapsed() > PATIENCE {
            let pids: Vec<_> = victims.iter().map(|victim| victim.pid().to_string()).collect();
            return Err(left(layout, format!("processes {}", pids.join(" "))));
        }
        for victim in victims {
            victim.signal(Signal::KILL);
            killed.insert(victim.pid(), victim);
        }
        sleep(Duration::from_millis(20));
    }
    killed.into_values().for_each(Identity::reap);
    Ok(())
}

fn running(layout: &Layout) -> Vec<Identity> {
    let recorded = PROGRAMS.iter().filter_map(|program| process::recorded(layout, program));
    let inside = network::inode(layout).map(process::in_namespace).unwrap_or_default();
    let own = std::process::id();
    recorded.chain(inside).chain(cgroups::processes(&layout.label())).filter(|victim| victim.pid() != own).collect()
}

/// Mounts below the cluster's folder: the pods' root file systems and volumes. Nothing is deleted while one is there.
fn unmount_all(layout: &Layout) -> Result<(), ClusterError> {
    for mount in mounts_below(layout.folder()).iter().rev() {
        // One that cannot be unmounted is seen right below.
        let _ = unmount(mount, UnmountFlags::DETACH);
    }
    match mounts_below(layout.folder()).first() {
        None => Ok(()),
        Some(mount) => Err(left(layout, format!("the mount {}", mount.display()))),
    }
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let targets = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    targets.filter(|target| target.starts_with(folder)).collect()
}

fn remove_cgroups(layout: &Layout) -> Result<(), ClusterError> {
    let begun = Instant::now();
    loop {
        let remaining = cgroups::remove(&layout.label());
        let Some(first) = remaining.first() else { return Ok(()) };
        if begun.elapsed() > PATIENCE {
            return Err(left(layout, format!("the cgroup {}", first.display())));
        }
        sleep(Duration::from_millis(20));
    }
}

/// The sockets of the cluster's shims. containerd 2.2 puts them into `/run/containerd/s` whatever its configuration says
/// (`pkg/shim/util_unix.go`), and writes the address into each container's `bootstrap.json`.
fn shim_sockets(layout: &Layout) -> Vec<PathBuf> {
    let bundles = layout.path("containerd/state/io.containerd.runtime.v2.task/k8s.io");
    let bundles = fs::read_dir(bundles).into_iter().flatten().flatten();
    let sockets = bundles.filter_map(|bundle| {
        let bootstrap: Value = serde_json::from_slice(&fs::read(bundle.path().join("bootstrap.json")).ok()?).ok()?;
        let socket = PathBuf::from(bootstrap["address"].as_str()?.strip_prefix("unix://")?);
        socket.starts_with(SHIM_FOLDERS[0]).then_some(socket)
    });
    sockets.collect()
}

/// Removes what is in a folder, and not the folder.
fn empty(folder: &Path) -> Result<(), ClusterError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let removed = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(at(&path))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), ClusterError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn left(layout: &Layout, what: String) -> ClusterError {
    ClusterError::Left { name: layout.name().to_owned(), left: what }
}
