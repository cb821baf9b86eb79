//! Keeps a program on the stack of the task that it runs in.
//!
//! Since Linux 6.13 the kernel may give a uprobe's program a stack of the CPU's instead, one for all runs of the program. But a uprobe's
//! program can be preempted, and when another thread of the kubelet on that CPU hits the same instruction meanwhile, the two write over each
//! other's words: a pointer of the one becomes a number of the other. On Linux 7.2 with preemption that was an oops in the kubelet's thread.
//! The kernel leaves programs alone that have a tail call (`check_max_stack_depth`, `kernel/bpf/verifier.c`), so each has one, to nowhere.

use aya_ebpf::programs::ProbeContext;

use crate::maps::NOWHERE;

/// Does nothing, and must be in every program of a uprobe.
#[inline(always)]
pub fn of_the_task(ctx: &ProbeContext) {
    // SAFETY: the map is empty, so the call returns.
    unsafe { NOWHERE.tail_call(ctx, 0) };
}
