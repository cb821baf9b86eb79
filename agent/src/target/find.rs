//! Finding processes that may be kubelets: those that listen on its ports in a network namespace that is believed.

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use procfs::{
    net::TcpState,
    process::{FDTarget, Process, all_processes},
};

/// The executable of a process, also if its path is in another mount namespace or was deleted.
pub fn executable(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// Inode of a process's network namespace.
pub fn netns(pid: u32) -> io::Result<u32> {
    let inode = fs::metadata(format!("/proc/{pid}/ns/net"))?.ino();
    u32::try_from(inode).map_err(|_| io::Error::other(format!("network namespace {inode} has no 32-bit inode")))
}

/// Inode of the agent's own network namespace.
pub fn own_netns() -> io::Result<u32> {
    netns(std::process::id())
}

/// Why the kubelets of this node cannot be found, if that is so: they are looked for in the network namespace of process 1.
pub fn blindness() -> Option<String> {
    if std::process::id() == 1 {
        let blind = "this is process 1 of a PID namespace of its own, where no kubelet is; set hostPID: true, or run outside of containers";
        return Some(blind.to_owned());
    }
    let error = netns(1).err()?;
    Some(format!(
        "the network namespace of process 1 cannot be read: {error}; the agent needs CAP_SYS_PTRACE to find the kubelet in it, and no AppArmor or \
         SELinux label that keeps it from looking at other processes"
    ))
}

/// Processes that listen on one of `ports` in one of the network namespaces `believed`.
pub fn listeners(ports: &[u16], believed: &BTreeSet<u32>) -> BTreeSet<u32> {
    let Ok(processes) = all_processes() else { return BTreeSet::new() };
    let mut read = BTreeSet::new();
    let mut sockets = HashSet::new();
    let members: Vec<Process> = processes
        .filter_map(Result::ok)
        .filter(|process| {
            let pid = process.pid.cast_unsigned();
            let Ok(inode) = netns(pid) else { return false };
            if believed.contains(&inode) && !read.contains(&inode) {
                sockets.extend(listening(process, ports));
                // A process that has ended meanwhile shows no sockets, and the next one of the namespace is asked.
                if netns(pid).is_ok() {
                    read.insert(inode);
                }
            }
            believed.contains(&inode)
        })
        .collect();
    if sockets.is_empty() {
        return BTreeSet::new();
    }
    members.iter().filter(|process| holds(process, &sockets)).map(|process| process.pid.cast_unsigned()).collect()
}

fn listening(process: &Process, ports: &[u16]) -> Vec<u64> {
    let tables = [process.tcp(), process.tcp6()];
    let entries = tables.into_iter().filter_map(Result::ok).flatten();
    entries
        .filter(|entry| entry.state == TcpState::Listen && ports.contains(&entry.local_address.port()))
        .map(|entry| entry.inode)
        .collect()
}

fn holds(process: &Process, sockets: &HashSet<u64>) -> bool {
    let Ok(fds) = process.fd() else { return false };
    fds.filter_map(Result::ok).any(|fd| matches!(fd.target, FDTarget::Socket(inode) if sockets.contains(&inode)))
}
