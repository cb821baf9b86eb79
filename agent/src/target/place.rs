//! Where a process of this node runs: in which pod, or outside of all of them. Reads `/proc`, the cgroup tree and the pods' log directory.

use std::{
    fs,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{exchange::Place, observation::Process};

/// Directories that are looked at when a cgroup is searched by its id; a node has a few for each container.
const CGROUPS: usize = 20_000;

/// The tree is walked no more often: whoever connects and is gone again and again must not keep the agent busy.
const WALK_EVERY: Duration = Duration::from_millis(200);

/// Finds places.
#[derive(Debug)]
pub struct Places {
    pod_logs: PathBuf,
    cgroups: Option<PathBuf>,
    walked: Option<Instant>,
}

impl Places {
    /// `pod_logs` is the kubelet's `podLogsDir` (`/var/log/pods`): its entries are called `<namespace>_<name>_<uid>`.
    pub fn new(pod_logs: PathBuf) -> Self {
        let cgroups = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().map(PathBuf::from);
        let cgroups = cgroups.into_iter().find(|root| root.join("cgroup.procs").exists());
        Self { pod_logs, cgroups, walked: None }
    }

    /// The place of a process, by `/proc/PID/cgroup`, or by its cgroup's id where it is gone already.
    pub fn place(&mut self, process: &Process) -> Place {
        let paths = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).ok().filter(|text| !text.is_empty());
        let Some(paths) = paths.or_else(|| self.cgroup_path(process.cgroup)) else { return Place::Unknown };
        match pod_uid(&paths) {
            Some(uid) => Place::Pod { name: self.pod_name(&uid), uid },
            None => Place::Host,
        }
    }

    fn pod_name(&self, uid: &str) -> Option<(String, String)> {
        fs::read_dir(&self.pod_logs).ok()?.filter_map(Result::ok).find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (pod, its_uid) = name.rsplit_once('_')?;
            let (namespace, pod) = pod.split_once('_')?;
            (its_uid == uid).then(|| (namespace.to_owned(), pod.to_owned()))
        })
    }

    /// The id of a cgroup is the inode of its directory. The root says nothing: processes of a cgroup v1 node are all there.
    fn cgroup_path(&mut self, id: u64) -> Option<String> {
        let root = self.cgroups.as_deref().filter(|_| id > 1)?;
        if self.walked.is_some_and(|last| last.elapsed() < WALK_EVERY) {
            return None;
        }
        self.walked = Some(Instant::now());
        let mut left = vec![root.to_path_buf()];
        let mut seen = 0;
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(&directory).ok()?.filter_map(Result::ok) {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                seen += 1;
                if seen > CGROUPS {
                    return None;
                }
                if entry.ino() == id {
                    return Some(relative(root, &entry.path()));
                }
                left.push(entry.path());
            }
        }
        None
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// The UID in a cgroup path of the kubelet (`pkg/kubelet/cm/pod_container_manager_linux.go`): `…/pod<uid>/…` with the cgroupfs driver,
/// `…-pod<uid with _ for ->.slice/…` with systemd. A static pod's UID is a hash of 32 hexadecimal digits.
pub(super) fn pod_uid(paths: &str) -> Option<String> {
    let mut parts = paths.lines().flat_map(|line| line.split('/'));
    parts.find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let (before, uid) = part.rsplit_once("pod")?;
        if !(before.is_empty() || before.ends_with('-')) {
            return None;
        }
        let uid = uid.replace('_', "-");
        let digits = uid.chars().filter(char::is_ascii_hexdigit).count();
        let dashes = uid.chars().filter(|c| *c == '-').count();
        (digits == 32 && (dashes == 0 || dashes == 4) && digits + dashes == uid.len()).then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_known_by_its_cgroup() {
        let uid = "0b5a8b6e-5f7a-4f0e-9a51-6a1d5c2c7a11";
        let table = [
            (format!("0::/kubepods/besteffort/pod{uid}/4711"), Some(uid)),
            (format!("11:memory:/user.slice\n0::/kw-x/kubepods/pod{uid}/4711"), Some(uid)),
            (
                format!("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/cri-1.scope", uid.replace('-', "_")),
                Some(uid),
            ),
            ("0::/kubepods/burstable/podd41d8cd98f00b204e9800998ecf8427e/1".to_owned(), Some("d41d8cd98f00b204e9800998ecf8427e")),
            (format!("0::/../../pod{uid}/1"), Some(uid)),
            ("0::/system.slice/podman.service".to_owned(), None),
            ("0::/user.slice/tripod0b5a8b6e".to_owned(), None),
            (format!("0::/system.slice/notapod{uid}"), None),
            ("0::/".to_owned(), None),
        ];
        for (path, expected) in table {
            assert_eq!(pod_uid(&path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_pod_has_the_name_of_its_log_directory() {
        let logs = std::env::temp_dir().join(format!("kubewitness-place-{}", std::process::id()));
        let uid = "0b5a8b6e-5f7a-4f0e-9a51-6a1d5c2c7a11";
        fs::create_dir_all(logs.join(format!("default_web_{uid}"))).unwrap();
        let name = Places::new(logs.clone()).pod_name(uid);
        fs::remove_dir_all(&logs).unwrap();
        assert_eq!(name, Some(("default".to_owned(), "web".to_owned())));
    }
}
