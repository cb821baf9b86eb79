//! The network namespace of a cluster: one address on `lo`, so all traffic stays inside and every cluster has the same ports.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};

use super::layout::{Layout, names, state};
use super::{ClusterError, at, residue, run};

/// A command in the namespace. Not `ip netns exec`: that mounts another /sys and hides the cgroups.
pub(super) fn inside(layout: &Layout, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", layout.network_namespace().display())).arg("--").arg(program);
    command
}

/// Creates the namespace. The node's address must not be a loopback one; on `lo` it needs no second interface, and the
/// default route makes the API server's advertised address valid.
pub(super) fn create(layout: &Layout, address: Ipv4Addr) -> Result<(), ClusterError> {
    run(Command::new("ip").args(["netns", "add", &layout.label()]))?;
    let node = format!("{address}/24");
    for arguments in
        [["link", "set", "lo", "up"].as_slice(), &["address", "add", &node, "dev", "lo"], &["route", "add", "default", "dev", "lo"]]
    {
        run(inside(layout, Path::new("ip")).args(arguments))?;
    }
    Ok(())
}

/// Removes the namespace, if there is one. It lives on while a process is in it.
pub(super) fn remove(layout: &Layout) -> Result<(), ClusterError> {
    let path = layout.network_namespace();
    // An interrupted `ip netns add` leaves the file without the mount.
    let _ = unmount(&path, UnmountFlags::DETACH);
    residue::remove_file(&path)
}

/// The inode that `/proc/PID/ns/net` shows for processes in the namespace; `None` where there is no namespace. A file that is
/// there without a mount, as a crash of `ip netns add` leaves it, has an inode of another file system and is nobody's.
pub(super) fn inode(layout: &Layout) -> Option<u64> {
    let namespace = fs::metadata(layout.network_namespace()).ok()?;
    let own = fs::metadata("/proc/self/ns/net").ok()?;
    (namespace.dev() == own.dev() && namespace.ino() != own.ino()).then_some(namespace.ino())
}

/// Gives a cluster an address that no other cluster has, and records it in the cluster's folder.
pub(super) fn reserve_address(layout: &Layout) -> Result<Ipv4Addr, ClusterError> {
    let folder = state();
    let lock = File::open(&folder).map_err(at(&folder))?;
    lock.lock().map_err(at(&folder))?;
    let others = names().into_iter().filter(|name| name != layout.name());
    let taken: Vec<_> = others.filter_map(|name| fs::read_to_string(folder.join(name).join("address")).ok()?.parse().ok()).collect();
    let address = choose_address(layout.name(), &taken).ok_or_else(|| ClusterError::NoAddress(folder.clone()))?;
    let record = layout.path("address");
    fs::write(&record, address.to_string()).map_err(at(&record))?;
    Ok(address)
}

/// 192.168.x.1 with x from 1 to 254: the same for the same name as long as no other cluster has it, otherwise the next free one.
fn choose_address(name: &str, taken: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    // FNV-1a, 32 bits: stable over releases of Rust, unlike the standard library's hasher.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..254).map(|step| Ipv4Addr::from(0xc0a8_0001 | ((hash % 254 + step) % 254 + 1) << 8)).find(|address| !taken.contains(address))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_address_is_stable_private_and_never_one_that_is_taken() {
        assert_eq!(choose_address("demo", &[]), choose_address("demo", &[]));
        let mut taken = Vec::new();
        for _ in 0..254 {
            let address = choose_address("demo", &taken).unwrap();
            let [a, b, x, d] = address.octets();
            assert_eq!((a, b, d), (192, 168, 1));
            assert!((1..=254).contains(&x));
            taken.push(address);
        }
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 254);
        assert_eq!(choose_address("demo", &taken), None);
    }

    #[test]
    fn usual_names_get_different_addresses_by_themselves() {
        let names = ["demo", "default", "e2e", "e2e-1-30", "e2e-1-36", "e2e-1-37", "bench"];
        let addresses: HashSet<_> = names.iter().map(|name| choose_address(name, &[])).collect();
        assert_eq!(addresses.len(), names.len());
    }
}
