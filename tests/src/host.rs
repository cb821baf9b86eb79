//! What the testbed takes from the machine: root, `ip`, `nsenter`, and the distribution's runc and static busybox; for `kube-proxy` also `nft`.
//!
//! A runc built from its Go module has no seccomp, and then every pod fails; so the distribution's is taken, and installed with
//! `apt-get` where that exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine's programs, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The container runtime.
    pub runc: PathBuf,
    /// A busybox without shared libraries: it is the whole content of the test images.
    pub busybox: PathBuf,
}

/// Something that the testbed needs is missing.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Not root.
    #[error("a cluster needs root (network namespaces, mounts, cgroups): run the command with sudo")]
    NotRoot,
    /// The kernel cannot do something.
    #[error("this kernel has no {what}: use one built with {option}, or where this is a container, one that may use them")]
    Kernel {
        /// What is missing.
        what: &'static str,
        /// The kernel's build options for it.
        option: &'static str,
    },
    /// A program is not there and could not be installed.
    #[error("{what} is missing: install the package {package} of your distribution")]
    Missing {
        /// The program.
        what: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// `apt-get` failed.
    #[error("`apt-get install {packages}` failed: install that by hand, then run the command again")]
    Install {
        /// What was to be installed.
        packages: String,
    },
}

/// Finds what is needed, and installs runc and busybox where they are missing and `apt-get` exists; says so on stderr.
pub fn prepare() -> Result<Host, HostError> {
    if !rustix::process::geteuid().is_root() {
        return Err(HostError::NotRoot);
    }
    for (path, what, option) in
        [("/proc/self/ns/net", "network namespaces", "CONFIG_NET_NS"), ("/proc/self/cgroup", "cgroups", "CONFIG_CGROUPS")]
    {
        Path::new(path).exists().then_some(()).ok_or(HostError::Kernel { what, option })?;
    }
    for (what, package) in [("ip", "iproute2"), ("nsenter", "util-linux")] {
        on_path(what).ok_or(HostError::Missing { what, package })?;
    }
    let mut wanted = Vec::new();
    if on_path("runc").is_none() {
        wanted.push("runc");
    }
    if static_busybox().is_none() {
        wanted.push("busybox-static");
    }
    if !wanted.is_empty() && on_path("apt-get").is_some() {
        install(&wanted)?;
    }
    Ok(Host {
        runc: on_path("runc").ok_or(HostError::Missing { what: "runc", package: "runc" })?,
        busybox: static_busybox().ok_or(HostError::Missing { what: "a static busybox", package: "busybox-static" })?,
    })
}

/// logrotate, which is installed where it is missing and `apt-get` exists.
pub fn logrotate() -> Result<PathBuf, HostError> {
    program("logrotate", "logrotate")
}

/// `nft`, with which `kube-proxy` writes its rules; installed in the same way.
pub fn nft() -> Result<PathBuf, HostError> {
    program("nft", "nftables")
}

fn program(what: &'static str, package: &'static str) -> Result<PathBuf, HostError> {
    if on_path(what).is_none() && on_path("apt-get").is_some() {
        install(&[package])?;
    }
    on_path(what).ok_or(HostError::Missing { what, package })
}

/// Installs packages; where that fails, the lists of a fresh machine may be empty, so they are fetched and it is tried again.
fn install(packages: &[&str]) -> Result<(), HostError> {
    eprintln!("installing {} with apt-get …", packages.join(" and "));
    let apt = |arguments: &[&str]| {
        let output = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output();
        output.is_ok_and(|output| output.status.success())
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    if apt(&install) || apt(&["update"]) && apt(&install) {
        return Ok(());
    }
    Err(HostError::Install { packages: packages.join(" ") })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not everybody's PATH has the folders for root's programs.
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn static_busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"].map(PathBuf::from).into_iter().find(|path| is_static(path))
}

/// Whether an executable names no dynamic loader. Linkers put the name right after the program headers.
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else { return false };
    let head = &bytes[..bytes.len().min(4096)];
    head.starts_with(b"\x7fELF") && !head.windows(4).any(|window| window == b"/ld-")
}
