//! Reads from the kubelet's memory. Every failed read is `None`, which the caller turns into *unknown*.

use aya_ebpf::helpers::{bpf_probe_read_kernel, bpf_probe_read_user};

/// A word or a small integer at a user address.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on one that is not the process's own and resident.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// The same for the kernel's own memory.
#[inline(always)]
pub fn read_kernel<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address and fails on one that faults.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// A Go string or slice header: address and length.
#[inline(always)]
pub fn header(address: u64) -> Option<[u64; 2]> {
    read(address)
}
