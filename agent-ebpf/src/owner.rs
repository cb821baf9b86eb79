//! Which attachment speaks for a process.
//!
//! Two files can be one to the kernel: each container that runs an image has an overlay of its own, and all of them lie on the same file below,
//! on which the probes are. The programs of every such attachment then run one after the other for one hit, and only one of them may tell.

use aya_ebpf::bindings::BPF_NOEXIST;
use kubewitness_wire::Owner;

use crate::{belief::Believed, maps::OWNERS};

/// Attachments are numbered from 1 on.
pub const NOBODY: Owner = Owner { attachment: 0, netns: 0 };

/// Who was assigned to a process, by the agent, or here.
#[inline(always)]
pub fn of(tgid: u32) -> Owner {
    // SAFETY: the value is two numbers that are replaced as a whole.
    match unsafe { OWNERS.get(&tgid) } {
        Some(owner) => *owner,
        None => NOBODY,
    }
}

/// Whether this attachment speaks for a process: the one that was assigned, and until then the one whose program came first.
#[inline(always)]
pub fn speaks(process: &Believed, attachment: u32) -> bool {
    if process.speaker != 0 {
        return process.speaker == attachment;
    }
    // Another CPU may be faster; then that one has it.
    let _taken = OWNERS.insert(&process.tgid, &Owner { attachment, netns: 0 }, u64::from(BPF_NOEXIST));
    let owner = of(process.tgid).attachment;
    owner == 0 || owner == attachment
}
