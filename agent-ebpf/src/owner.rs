//! Which attachment speaks for a process.
//!
//! Two files can be one to the kernel: each container that runs an image has an overlay of its own, and all of them lie on the same file below,
//! on which the probes are. The programs of every such attachment then run one after the other for one hit, and only one of them may tell.

use aya_ebpf::bindings::BPF_NOEXIST;

use crate::{belief::Believed, maps::OWNERS};

/// Whether this attachment speaks for a process: the one that the agent assigned, and until then the one whose program came first.
#[inline(always)]
pub fn speaks(process: &Believed, attachment: u32) -> bool {
    // SAFETY: the value is a number that is replaced as a whole.
    if let Some(owner) = unsafe { OWNERS.get(&process.tgid) } {
        return *owner == attachment;
    }
    // Another CPU may be faster; then that one has it.
    let _taken = OWNERS.insert(&process.tgid, &attachment, u64::from(BPF_NOEXIST));
    // SAFETY: as above.
    unsafe { OWNERS.get(&process.tgid) }.is_none_or(|owner| *owner == attachment)
}
