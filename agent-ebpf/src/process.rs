//! The current process, by the id that the agent knows it by.

use aya_ebpf::{
    bindings::bpf_pidns_info,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_ns_current_pid_tgid},
};

use crate::maps::PID_NAMESPACE;

/// Its id in the agent's PID namespace. 0 if it is in another one: it has no such id, or one that means nothing here.
#[inline(always)]
pub fn id() -> u32 {
    let namespace = PID_NAMESPACE.load();
    if namespace.device == 0 {
        return global_id();
    }
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: the helper fills the struct, whose size it is told.
    let found = unsafe { bpf_get_ns_current_pid_tgid(namespace.device, namespace.inode, &raw mut ids, size_of::<bpf_pidns_info>() as u32) };
    if found == 0 { ids.tgid } else { 0 }
}

/// Its id in the initial PID namespace, which every process has.
#[inline(always)]
pub fn global_id() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}
