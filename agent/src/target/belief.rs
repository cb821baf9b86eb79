//! Whose word counts: a process is taken for the node's kubelet if it could not have been started by somebody who may merely start a pod.
//!
//! A pod can run a copy of the kubelet, the node's own file, or any program with the same functions and types, and with `hostNetwork` it does so in the
//! node's network namespace. What it cannot do is leave the cgroup that the kubelet and the runtime put it in: for that it would have to be root on
//! the node. The real kubelet may be in a container (Talos, Rancher, kind), but never in a pod of its own.

use std::{
    collections::VecDeque,
    fmt, fs,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::place::pod_uid;

/// Why a process is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disbelief {
    /// It runs in the pod with this UID.
    Pod(String),
    /// It is not root, but this user.
    User(u32),
    /// It lives in this network namespace, which is not the node's.
    Network(u32),
    /// `/proc` does not tell anything about it, or not any more.
    Unseen,
}

impl Disbelief {
    /// The words for labels.
    pub const KINDS: [&str; 4] = ["pod", "user", "network", "unseen"];

    /// The word for a label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Pod(_) => "pod",
            Self::User(_) => "user",
            Self::Network(_) => "network",
            Self::Unseen => "unseen",
        }
    }
}

/// `runs in a pod (UID 0b5a8b6e-…)`
impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(uid) => write!(f, "runs in a pod (UID {uid})"),
            Self::User(user) => write!(f, "is not root, but user {user}"),
            Self::Network(netns) => write!(f, "lives in a network namespace that is not the node's ({netns})"),
            Self::Unseen => f.write_str("cannot be looked at in /proc, or is gone already"),
        }
    }
}

/// Whether a process of the node's network namespace may be its kubelet.
pub fn standing(pid: u32) -> Result<(), Disbelief> {
    let process = procfs::process::Process::new(pid.cast_signed()).map_err(|_| Disbelief::Unseen)?;
    let user = process.status().map_err(|_| Disbelief::Unseen)?.euid;
    let cgroups = cgroups(pid).ok_or(Disbelief::Unseen)?;
    if let Some(uid) = pod_of(&cgroups, &cgroups_of_node().unwrap_or_default()) {
        return Err(Disbelief::Pod(uid));
    }
    if user != 0 {
        return Err(Disbelief::User(user));
    }
    Ok(())
}

/// `/proc/PID/cgroup`; `None` if it is empty, as that of a process that has ended.
fn cgroups(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().filter(|text| !text.is_empty())
}

/// Where the node itself is: its first process.
fn cgroups_of_node() -> Option<String> {
    cgroups(1)
}

/// The pod in which a process is, by its cgroups and those of the node's first process. A node may itself run in a pod (kind in a pod): what both have
/// in common is above the node.
fn pod_of(process: &str, node: &str) -> Option<String> {
    process.lines().find_map(|line| {
        // Number, controllers, path.
        let mut fields = line.splitn(3, ':');
        let (hierarchy, _, path) = (fields.next()?, fields.next()?, fields.next()?);
        let above =
            node.lines().find_map(|line| line.strip_prefix(hierarchy)?.strip_prefix(':')?.split_once(':')).map_or("", |(_, path)| path);
        let mut above = above.split('/');
        let below = path.split('/').skip_while(|part| above.next() == Some(part));
        pod_uid(&below.collect::<Vec<_>>().join("/"))
    })
}

/// Processes that are not believed, as long as they live: the kernel programs leave them out.
#[derive(Debug, Default)]
pub struct Disbelieved(VecDeque<(u32, OwnedFd)>);

/// How many are remembered. One that is forgotten is looked at again when it does something.
const REMEMBERED: usize = 256;

impl Disbelieved {
    /// Remembers a process; gives the one that is forgotten for it. `Err` if the process is gone already.
    pub fn remember(&mut self, pid: u32) -> Result<Option<u32>, Disbelief> {
        let life = Pid::from_raw(pid.cast_signed()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).ok_or(Disbelief::Unseen)?;
        self.forget(pid);
        self.0.push_back((pid, life));
        Ok(if self.0.len() > REMEMBERED { self.0.pop_front().map(|(pid, _)| pid) } else { None })
    }

    /// Whether it is remembered.
    pub fn contains(&self, pid: u32) -> bool {
        self.0.iter().any(|(its, _)| *its == pid)
    }

    /// Forgets a process.
    pub fn forget(&mut self, pid: u32) {
        self.0.retain(|(its, _)| *its != pid);
    }

    /// Forgets those that have ended, and gives them: their ids may be others' soon.
    pub fn ended(&mut self) -> Vec<u32> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut fds: Vec<_> = self.0.iter().map(|(_, life)| PollFd::from_borrowed_fd(life.as_fd(), PollFlags::IN)).collect();
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_err() {
            return Vec::new();
        }
        let over: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let ended = self.0.iter().zip(&over).filter(|(_, over)| **over).map(|((pid, _), _)| *pid).collect();
        let mut over = over.into_iter();
        self.0.retain(|_| over.next() != Some(true));
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b5a8b6e-5f7a-4f0e-9a51-6a1d5c2c7a11";
    const OUTER: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn a_pod_is_one_of_this_node() {
        let nested = format!("0::/kubepods/pod{OUTER}/docker/ab/init.scope");
        let table = [
            // A service, a container of the node's own runtime, a login; v1 and v2.
            ("0::/system.slice/kubelet.service".to_owned(), "0::/init.scope", None),
            ("0::/docker/4711".to_owned(), "0::/", None),
            ("4:memory:/podruntime/kubelet\n0::/".to_owned(), "4:memory:/\n0::/", None),
            ("0::/user.slice/user-1000.slice/session-1.scope".to_owned(), "0::/init.scope", None),
            // A pod, by any hierarchy, with either driver, and as a container of its own cgroup namespace sees it.
            (format!("0::/kubepods/besteffort/pod{UID}/4711"), "0::/init.scope", Some(UID)),
            (format!("4:memory:/kubepods/pod{UID}/1\n0::/"), "4:memory:/\n0::/", Some(UID)),
            (
                format!("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/cri-1.scope", UID.replace('-', "_")),
                "0::/init.scope",
                Some(UID),
            ),
            (format!("0::/../../pod{UID}/1"), "0::/../../../../init.scope", Some(UID)),
            // The node is in a pod: its kubelet is not in one of its own.
            (format!("0::/kubepods/pod{OUTER}/docker/ab/kubelet.slice/kubelet.service"), nested.as_str(), None),
            (format!("0::/kubepods/pod{OUTER}/docker/ab/kubelet/kubepods/pod{UID}/1"), nested.as_str(), Some(UID)),
        ];
        for (process, node, expected) in table {
            assert_eq!(pod_of(&process, node).as_deref(), expected, "{process}");
        }
    }

    #[test]
    fn a_process_that_ended_is_forgotten() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut disbelieved = Disbelieved::default();
        assert_eq!(disbelieved.remember(child.id()), Ok(None));
        assert!(disbelieved.contains(child.id()) && disbelieved.ended().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(disbelieved.ended(), [child.id()]);
        assert!(!disbelieved.contains(child.id()));
        assert_eq!(disbelieved.remember(child.id()), Err(Disbelief::Unseen));
        assert_eq!(standing(child.id()), Err(Disbelief::Unseen));
    }
}
