//! The maps, all of fixed size.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use kubewitness_wire::{self as wire, Counter, Gathered, Kernel, Owner, PidNamespace, SITES as SITE_COUNT, Site};

use crate::{flight, known, scratch::Slot, socket::Connecting};

/// What the agent tells about the running kernel.
#[unsafe(no_mangle)]
pub static KERNEL: Global<Kernel> = Global::new(Kernel {
    task_nsproxy: 0,
    nsproxy_net: 0,
    net_inum: 0,
    sock_net: 0,
    sock_family: 0,
    sock_sport: 0,
    sock_dport: 0,
    sock_saddr: 0,
    sock_daddr: 0,
    sock_saddr6: 0,
    sock_daddr6: 0,
    sock_protocol: 0,
    ports: [0; 4],
});

/// Whose ids the agent knows processes by.
#[unsafe(no_mangle)]
pub static PID_NAMESPACE: Global<PidNamespace> = Global::new(PidNamespace { device: 0, inode: 0 });

#[map]
pub static SITES: Array<Site> = Array::with_max_entries(SITE_COUNT, 0);

/// Always empty, see `stack.rs`.
#[map]
pub static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Who speaks for a process, by its id.
#[map]
pub static OWNERS: LruHashMap<u32, Owner> = LruHashMap::with_max_entries(1024, 0);

/// Network namespaces by their inodes, and what of them is believed: see `kubewitness_wire::belief`.
#[map]
pub static BELIEVED_NETNS: HashMap<u32, u8> = HashMap::with_max_entries(64, 0);

/// Processes that are believed wherever they are.
#[map]
pub static BELIEVED_PIDS: HashMap<u32, u8> = HashMap::with_max_entries(64, 0);

/// Processes that are not, although they live in a believed network namespace. The agent keeps fewer.
#[map]
pub static DISBELIEVED_PIDS: HashMap<u32, u8> = HashMap::with_max_entries(512, 0);

/// Bytes of the ring of routine requests.
pub const ROUTINE_BYTES: u32 = 2 << 20;

#[map]
pub static ROUTINE: RingBuf = RingBuf::with_byte_size(ROUTINE_BYTES, 0);

#[map]
pub static PRIORITY: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

#[map]
pub static SOCKETS: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

/// Requests in flight, by goroutine, those of the exec class too until they are let in. Where there are more than can be, the oldest give way.
#[map]
pub static ROUTINE_FLIGHTS: LruHashMap<flight::Key, flight::Flight> = LruHashMap::with_max_entries(16_384, 0);

/// Those of the exec class that were let in, apart: nobody can push one out who is not let in to do the same.
#[map]
pub static PRIORITY_FLIGHTS: LruHashMap<flight::Key, flight::Flight> = LruHashMap::with_max_entries(16_384, 0);

/// Routine requests in flight whose records are kept until they are over, which most are. Those above are the others.
#[map]
pub static GATHERED: Array<Gathered> = Array::with_max_entries(wire::GATHERED, 0);

/// Sockets of this node that are connecting to a watched port, by their address in the kernel.
#[map]
pub static CONNECTING: LruHashMap<u64, Connecting> = LruHashMap::with_max_entries(4096, 0);

/// Users who were told over the routine ring. The agent remembers four times as many.
#[map]
pub static KNOWN: LruHashMap<known::User, known::Told> = LruHashMap::with_max_entries(1024, 0);

#[map]
pub static SCRATCH: PerCpuArray<Slot> = PerCpuArray::with_max_entries(crate::scratch::SLOTS, 0);

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the pointer is this CPU's own element of the map.
        unsafe { *value = (*value).wrapping_add(1) };
    }
}
