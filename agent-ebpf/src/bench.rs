//! Programs that `cargo xtask bench` compares the agent's with: the least that any program costs, the least that a sniffer of TLS does, and two
//! ways to hand a record on.
//! They are an object of their own, and no part of the agent.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    cty::c_void,
    helpers::generated::bpf_probe_read_user,
    macros::{map, uprobe},
    maps::{PerCpuArray, RingBuf},
    programs::ProbeContext,
};

/// What a sniffer copies of one read or write, at most.
const MOST: usize = 4096;

/// Decrypted bytes.
#[repr(C)]
struct Copied {
    length: u64,
    bytes: [u8; MOST],
}

#[map]
static COPIES: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Hits, and bytes that were copied.
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// As long as the agent's records are on the average, in words.
const RECORD: usize = 32;
/// Records of each processor that may wait in [`SLOTS`]: as many bytes as [`RECORDS`] has.
const WAITING: u32 = 8192;

/// Where the agent assembles a record, for its length is known at the end.
#[map]
static SCRATCH: PerCpuArray<[u64; RECORD]> = PerCpuArray::with_max_entries(1, 0);

#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(2 << 20, 0);

#[map]
static SLOTS: PerCpuArray<[u64; RECORD]> = PerCpuArray::with_max_entries(WAITING, 0);

/// Does nothing.
#[uprobe(multi)]
fn floor(_ctx: ProbeContext) -> u32 {
    0
}

/// At a return of `crypto/tls.(*Conn).Read` or `Write`: copies what was read or written, looks at nothing and wakes nobody.
#[uprobe(multi)]
fn sniffer(ctx: ProbeContext) -> u32 {
    copy(&ctx).map_or(1, |()| 0)
}

/// The number of bytes is the first result, in RAX; the slice's address is where Go's ABIInternal keeps the second argument's first word,
/// above the return address.
#[inline(always)]
fn copy(ctx: &ProbeContext) -> Option<()> {
    add(0, 1);
    // SAFETY: the context's registers are those of the probed thread.
    let (length, stack) = unsafe { ((*ctx.regs).rax, (*ctx.regs).rsp) };
    if length as i64 <= 0 {
        return None;
    }
    // SAFETY: the helper checks the address.
    let bytes: u64 = unsafe { aya_ebpf::helpers::bpf_probe_read_user((stack + 16) as *const u64) }.ok()?;
    let length = if length > MOST as u64 { MOST as u32 } else { length as u32 };
    let mut copied = COPIES.reserve::<Copied>(0)?;
    let entry = copied.as_mut_ptr();
    // SAFETY: the entry has room for `MOST` bytes.
    let failed = unsafe {
        (*entry).length = u64::from(length);
        bpf_probe_read_user((&raw mut (*entry).bytes).cast::<c_void>(), length, bytes as *const c_void)
    };
    if failed != 0 {
        copied.discard(0);
        return None;
    }
    copied.submit(u64::from(BPF_RB_NO_WAKEUP));
    add(1, u64::from(length));
    Some(())
}

/// Hands a record on through a ring, and wakes nobody.
#[uprobe(multi)]
fn ring(_ctx: ProbeContext) -> u32 {
    let Some(record) = SCRATCH.get_ptr_mut(0) else { return 1 };
    add(0, 1);
    // SAFETY: the pointer is this CPU's own element of the map.
    let record = unsafe {
        fill(record);
        &*record
    };
    u32::from(RECORDS.output(record, u64::from(BPF_RB_NO_WAKEUP)).is_err())
}

/// Leaves a record in the next slot of this CPU's array.
#[uprobe(multi)]
fn array(_ctx: ProbeContext) -> u32 {
    let Some(next) = COUNTS.get(0).map(|count| *count as u32 % WAITING) else { return 1 };
    let Some(record) = SLOTS.get_ptr_mut(next) else { return 1 };
    // SAFETY: the pointer is this CPU's own element of the map.
    unsafe { fill(record) };
    add(0, 1);
    0
}

/// # Safety
/// The record is this CPU's own.
#[inline(always)]
unsafe fn fill(record: *mut [u64; RECORD]) {
    for word in 0..RECORD {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::write_volatile((&raw mut (*record)[word]).cast::<u64>(), word as u64 + 1) };
    }
}

#[inline(always)]
fn add(index: u32, more: u64) {
    if let Some(count) = COUNTS.get_ptr_mut(index) {
        // SAFETY: the pointer is this CPU's own element of the map.
        unsafe { *count += more };
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
