//! Whose word counts. Probes sit on a file, and any pod can run a file, so a hit counts only when the process lives in a believed network
//! namespace, and the agent has not found it to be somebody else's, or when it was named by its id.

use aya_ebpf::{helpers::bpf_get_current_task, programs::ProbeContext};
use aya_log_ebpf::debug;
use kubewitness_wire::{Counter, Kernel, belief};

use crate::{
    maps::{BELIEVED_NETNS, BELIEVED_PIDS, DISBELIEVED_PIDS, KERNEL, count},
    owner::{self, NOBODY},
    process,
    user::read_kernel,
};

/// A process that is believed, by the id that the agent knows it by.
#[derive(Clone, Copy)]
pub struct Believed {
    pub tgid: u32,
    pub netns: u32,
    /// The attachment that speaks for it; 0 if that is not decided.
    pub speaker: u32,
}

/// The current process, if it is believed; counts it if not.
#[inline(always)]
pub fn current(ctx: &ProbeContext) -> Option<Believed> {
    let named = process::id();
    let owner = if named == 0 { NOBODY } else { owner::of(named) };
    // The agent has looked at it, and says where it lives.
    if owner.netns != 0 {
        return Some(Believed { tgid: named, netns: owner.netns, speaker: owner.attachment });
    }
    let netns = current_netns(&KERNEL.load())?;
    // SAFETY: the value is a byte that the agent sets once.
    let in_netns = unsafe { BELIEVED_NETNS.get(&netns) }.is_some_and(|how| *how == belief::PROCESSES);
    // A process that the agent cannot name it cannot look at either: it is in another PID namespace, as a pod is.
    if named != 0 && ((in_netns && DISBELIEVED_PIDS.get_ptr(&named).is_none()) || BELIEVED_PIDS.get_ptr(&named).is_some()) {
        return Some(Believed { tgid: named, netns, speaker: owner.attachment });
    }
    count(Counter::Disbelieved);
    debug!(ctx, "process {} in network namespace {} is not believed", process::global_id(), netns);
    None
}

#[inline(always)]
fn current_netns(kernel: &Kernel) -> Option<u32> {
    // SAFETY: the helper takes nothing and returns the current task.
    let task = unsafe { bpf_get_current_task() };
    let nsproxy: u64 = read_kernel(task + u64::from(kernel.task_nsproxy))?;
    let net: u64 = read_kernel(nsproxy + u64::from(kernel.nsproxy_net))?;
    read_kernel(net + u64::from(kernel.net_inum))
}
