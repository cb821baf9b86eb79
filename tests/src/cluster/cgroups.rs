//! The cgroup `kw-NAME` that a cluster's pods live under, in every mounted hierarchy: v1, v2 or both.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::process::Identity;
use super::{ClusterError, at};

/// Creates the group. A kubelet refuses a `cgroupRoot` that does not exist for each controller.
pub(super) fn create(label: &str) -> Result<(), ClusterError> {
    for root in hierarchies() {
        let group = root.join(label);
        fs::create_dir_all(&group).map_err(at(&group))?;
        for parent in [&root, &group] {
            enable_controllers(parent);
        }
    }
    Ok(())
}

/// Whether the group is there in some hierarchy.
pub(super) fn exists(label: &str) -> bool {
    hierarchies().iter().any(|root| root.join(label).exists())
}

/// Every process in the group or below it.
pub(super) fn processes(label: &str) -> Vec<Identity> {
    let lists = groups(label).into_iter().filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    let pids: Vec<u32> = lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    pids.into_iter().filter_map(Identity::of).collect()
}

/// The processes of a pod: the kubelet names its group after its UID (`pkg/kubelet/cm/pod_container_manager_linux.go`, with cgroupfs).
pub(super) fn processes_of_pod(label: &str, uid: &str) -> Vec<u32> {
    let own = format!("pod{uid}");
    let of_pod = |group: &PathBuf| group.iter().any(|part| part == own.as_str());
    let lists = groups(label).into_iter().filter(of_pod).filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    let mut pids: Vec<u32> = lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    // A process is in every hierarchy.
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Removes the group and all below it; gives those that are still there, because a process is in them.
pub(super) fn remove(label: &str) -> Vec<PathBuf> {
    groups(label).into_iter().filter(|group| fs::remove_dir(group).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)).collect()
}

/// The group and all below it in every hierarchy, children before their parents.
fn groups(label: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in hierarchies() {
        collect(&root.join(label), &mut found);
    }
    found
}

fn collect(group: &Path, found: &mut Vec<PathBuf>) {
    if !group.is_dir() {
        return;
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
    found.push(group.to_path_buf());
}

fn hierarchies() -> Vec<PathBuf> {
    parse_hierarchies(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// Mount points of the types `cgroup` and `cgroup2` in the text of `/proc/self/mounts`.
fn parse_hierarchies(mounts: &str) -> Vec<PathBuf> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (target, kind) = (fields.next()?, fields.next()?);
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(target))
    });
    mounted.collect()
}

/// Passes the controllers of a v2 group on to its children. A v1 group has no such file, and a controller that some other manager
/// holds cannot be passed on: the kubelet then says which one it misses.
fn enable_controllers(group: &Path) {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return };
    for controller in controllers.split_ascii_whitespace() {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchy_are_found_and_nothing_else() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /srv/cgroup ext4 rw 0 0\n\nbroken\n";
        assert_eq!(parse_hierarchies(mounts), ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"].map(PathBuf::from));
    }
}
