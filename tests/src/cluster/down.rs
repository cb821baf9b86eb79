//! Removing a cluster, whole or half made: every process, mount, namespace, cgroup, socket and file of it.
//!
//! What is running is found by where it runs, not by what was recorded alone: a run that was killed between starting a program and
//! recording it leaves nothing behind either. Everything of a cluster runs in its network namespace or below its cgroup.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use super::layout::{Layout, all_programs, state};
use super::process::Identity;
use super::{ClusterError, at, cgroups, network, process, residue};

/// How long processes may take to die and cgroups to become empty.
const PATIENCE: Duration = Duration::from_secs(20);

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
    residue::remove_file(&layout.record())?;
    kill_all(layout)?;
    let outside = residue::files(layout);
    unmount_all(layout)?;
    network::remove(layout)?;
    remove_cgroups(layout)?;
    residue::remove(&outside)?;
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
    let recorded = all_programs().filter_map(|program| process::recorded(layout, program));
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

/// Removes what is in a folder, and not the folder.
fn empty(folder: &Path) -> Result<(), ClusterError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let removed = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(at(&path))?;
    }
    Ok(())
}

fn left(layout: &Layout, what: String) -> ClusterError {
    ClusterError::Left { name: layout.name().to_owned(), left: what }
}
