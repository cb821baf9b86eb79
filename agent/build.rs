//! Hands the kernel programs to the agent's crate as `$OUT_DIR/kubewitness.bpf.o`.
//!
//! They are built for another target with other flags, by `cargo xtask build`; this script only takes its result, so that a plain
//! `cargo test` or an editor never waits for a kernel build. `KUBEWITNESS_EBPF` names another object file than that one.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where `cargo xtask build` leaves the object for the machine that the agent is built for, from the workspace's root.
fn built() -> &'static str {
    match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => "target/bpf-arm64/bpfel-unknown-none/release/kubewitness",
        _ => "target/bpf/bpfel-unknown-none/release/kubewitness",
    }
}

fn main() {
    // Elsewhere there is no kubelet to watch.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        kernel_programs();
    }
}

fn kernel_programs() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the agent is a folder of the workspace");
    let object = env::var_os("KUBEWITNESS_EBPF").map_or_else(|| workspace.join(built()), PathBuf::from);
    let copy = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("kubewitness.bpf.o");
    println!("cargo::rerun-if-env-changed=KUBEWITNESS_EBPF");
    println!("cargo::rerun-if-changed={}", object.display());
    if let Err(error) = fs::copy(&object, copy) {
        println!("cargo::error=the kernel programs cannot be read from {} ({error}): run `cargo xtask build`", object.display());
    }
}
