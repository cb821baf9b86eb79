//! Where a record is put together before it goes into a ring with its true length.
//!
//! A uprobe's program can be preempted by another one on the same CPU, so a CPU has several slots and a program claims one.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    cty::c_void,
    helpers::generated,
    maps::RingBuf,
};
use core::{
    intrinsics::{AtomicOrdering, atomic_xchg},
    ptr::{read_volatile, write_volatile},
};
use kubewitness_wire::{Class, Header, LONGEST_PART, PADDING, Span, limit, padded};

use crate::{
    check,
    flight::Flight,
    go_map::{Found, Walk},
    known,
    maps::{PRIORITY, ROUTINE, ROUTINE_BYTES, SCRATCH},
    object, user,
};

/// Slots of a CPU: how deep programs may preempt each other before one gives up and counts a loss.
pub const SLOTS: u32 = 4;

/// Bytes in the routine ring that wake the agent.
const ROUTINE_MARK: u64 = 128 << 10;
/// A masked position plus the longest text stays inside `record`, which is what the verifier wants to see.
const MARGIN: usize = limit::URI;
const MASK: u32 = limit::RECORD as u32 - 1;

#[repr(C)]
pub struct Slot {
    busy: u64,
    /// Address of the first byte behind what is there, from the record's begin.
    position: u32,
    /// See [`unbounded`].
    length: u32,
    pub walk: Walk,
    pub found: [Found; Found::COUNT],
    pub key: [u64; 8],
    pub group: [u8; 1024],
    pub object: [u8; object::ROOM],
    pub asked: check::Asked,
    pub flight: Flight,
    pub user: known::User,
    pub told: known::Told,
    record: [u8; limit::RECORD + MARGIN],
}

/// Claims a slot, hands it to `body`, and frees it. `None` where there is none, or `body` says so.
#[inline(always)]
pub fn with_slot(body: impl FnOnce(*mut Slot) -> Option<()>) -> Option<()> {
    let slot = claim()?;
    let done = body(slot);
    // SAFETY: the slot was claimed above, and its memory lives as long as the map.
    unsafe { write_volatile(&raw mut (*slot).busy, 0) };
    done
}

#[inline(always)]
fn claim() -> Option<*mut Slot> {
    for index in 0..SLOTS {
        let slot = SCRATCH.get_ptr_mut(index)?;
        // The core library has no exchanging atomics for this target, though the instruction set has them.
        // SAFETY: the pointer is an element of the map; `busy` is aligned and only touched here and in `with_slot`.
        if unsafe { atomic_xchg::<u64, { AtomicOrdering::Relaxed }>(&raw mut (*slot).busy, 1) } == 0 {
            return Some(slot);
        }
    }
    None
}

/// Starts a record of type `T`: zeroes it, so that no stale byte leaves, and places the texts behind it.
#[inline(always)]
pub fn start<T>(slot: *mut Slot) -> *mut T {
    // SAFETY: `record` is larger than every `T` and aligned to 8 within `Slot`; the slot is ours.
    unsafe {
        let record = (&raw mut (*slot).record).cast::<u64>();
        let mut word = 0;
        while word < size_of::<T>().div_ceil(8) {
            write_volatile(record.add(word), 0);
            word += 1;
        }
        write_volatile(&raw mut (*slot).position, size_of::<T>() as u32);
        record.cast()
    }
}

/// Appends `length` bytes at a user address, at most `MAX` of them.
#[inline(always)]
pub fn append<const MAX: usize>(slot: *mut Slot, address: u64, length: u64) -> Span {
    // SAFETY: the slot is ours; `position` is masked and `record` has room for `MAX` behind every masked position.
    unsafe {
        let position = read_volatile(&raw const (*slot).position);
        if position as usize > limit::RECORD - MAX {
            return Span::UNREADABLE;
        }
        let stored = if length > MAX as u64 { MAX as u32 } else { length as u32 };
        if stored == 0 {
            return Span { stored: 0, full: 0 };
        }
        // Read once more: the compiler would leave the mask out, as it knows the bound of the first value, and Linux 6.1 forgets that bound where
        // the value was on the stack meanwhile.
        let position = read_volatile(&raw const (*slot).position) & MASK;
        let target = (&raw mut (*slot).record).cast::<u8>().add(position as usize);
        if generated::bpf_probe_read_user(target.cast::<c_void>(), stored, address as *const c_void) != 0 {
            return Span::UNREADABLE;
        }
        write_volatile(&raw mut (*slot).position, position + stored);
        let full = if length > u64::from(Span::LONGEST) { Span::LONGEST } else { length as u16 };
        Span { stored: stored as u16, full }
    }
}

/// Bytes of texts that are copied from a record to another.
pub const SHORT: u64 = 128;

/// Appends texts of at most [`SHORT`] bytes in all that are there already. More are copied, and overwritten.
///
/// # Safety
/// There are [`SHORT`] bytes at `texts`.
#[inline(always)]
pub unsafe fn put(slot: *mut Slot, texts: *const u8, length: u64) {
    // SAFETY: the slot is ours, and has room behind a position that is masked; the rest is the caller's promise.
    unsafe {
        let position = read_volatile(&raw const (*slot).position);
        let target = (&raw mut (*slot).record).cast::<u8>().add((position & MASK) as usize);
        for word in 0..SHORT as usize / 8 {
            write_volatile(target.add(8 * word).cast::<u64>(), read_volatile(texts.add(8 * word).cast::<u64>()));
        }
        write_volatile(&raw mut (*slot).position, position + length as u32);
    }
}

/// A length of whose bounds the compiler knows nothing: it leaves no bound out that the verifier wants to see.
#[inline(always)]
pub fn unbounded(slot: *mut Slot, length: u64) -> u64 {
    // SAFETY: the slot is ours.
    unsafe {
        write_volatile(&raw mut (*slot).length, length as u32);
        u64::from(read_volatile(&raw const (*slot).length))
    }
}

/// Appends the Go string whose header is at a user address.
#[inline(always)]
pub fn append_string<const MAX: usize>(slot: *mut Slot, header: u64) -> Span {
    match user::header(header) {
        Some([address, length]) => append::<MAX>(slot, address, length),
        None => Span::UNREADABLE,
    }
}

/// The head of the record of a slot.
#[inline(always)]
pub fn header(slot: *mut Slot) -> *mut Header {
    // SAFETY: no access, only the address of a field.
    unsafe { (&raw mut (*slot).record).cast() }
}

/// Two words of the record of a slot.
#[inline(always)]
pub fn two_words(slot: *mut Slot, place: u64) -> [u64; 2] {
    // SAFETY: the slot is ours, and has room behind a position that is masked.
    unsafe {
        let first = (&raw const (*slot).record).cast::<u8>().add((place & u64::from(MASK)) as usize).cast::<u64>();
        [read_volatile(first), read_volatile(first.add(1))]
    }
}

/// Makes the record of a slot ready to be kept: its length is known, and as many zeros follow as its padding wants. The length with the padding, of
/// a record that may be kept.
#[inline(always)]
pub fn pad(slot: *mut Slot) -> Option<u32> {
    // SAFETY: the slot is ours, and has room behind a position that is masked.
    unsafe {
        let length = read_volatile(&raw const (*slot).position);
        if length > LONGEST_PART as u32 {
            return None;
        }
        let end = (&raw mut (*slot).record).cast::<u8>().add((length & MASK) as usize);
        for word in 0..PADDING as usize / 8 {
            write_volatile(end.add(8 * word).cast::<u64>(), 0);
        }
        (*header(slot)).len = length;
        Some(padded(length))
    }
}

/// The length of a record that may be kept, so that the verifier sees the bound.
#[inline(always)]
pub fn bounded(slot: *mut Slot, length: u32) -> u32 {
    let length = unbounded(slot, u64::from(length)) as u32;
    if length > LONGEST_PART as u32 { LONGEST_PART as u32 } else { length }
}

/// Sends the record of a slot through the ring of its class; `None` where that has no room. What was lost of the request before goes along.
#[inline(always)]
pub fn send(slot: *mut Slot, flight: Option<*mut Flight>) -> Option<()> {
    let record = header(slot);
    // SAFETY: the slot is ours and holds a record; `flight` is an element of a map.
    unsafe {
        let position = read_volatile(&raw const (*slot).position);
        let len = if position > limit::RECORD as u32 { limit::RECORD as u32 } else { position };
        (*record).len = len;
        if let Some(flight) = flight {
            let lost = (*flight).lost;
            (*record).lost = saturated(lost);
        }
        let priority = (*record).class == Class::Priority as u8;
        let (ring, wakeup) = if priority { (&PRIORITY, BPF_RB_FORCE_WAKEUP) } else { (&ROUTINE, routine_wakeup(waiting())) };
        output(ring, record.cast(), len, wakeup)?;
        if let Some(flight) = flight {
            (*flight).sent += 1;
        }
    }
    Some(())
}

/// Lost records, as a header has them.
#[inline(always)]
pub fn saturated(lost: u32) -> u8 {
    if lost > u32::from(u8::MAX) { u8::MAX } else { lost as u8 }
}

/// Sends what was kept of a request; false if the ring takes no more requests.
///
/// # Safety
/// `record` has `length` bytes.
#[inline(always)]
pub unsafe fn send_routine(record: *mut c_void, length: u32) -> bool {
    let waiting = waiting();
    // SAFETY: the caller's promise.
    waiting < FULL && unsafe { output(&ROUTINE, record, length, routine_wakeup(waiting)) }.is_some()
}

/// # Safety
/// `record` has `length` bytes.
#[inline(always)]
unsafe fn output(ring: &'static RingBuf, record: *mut c_void, length: u32, wakeup: u32) -> Option<()> {
    // SAFETY: the caller's promise, and the ring is a map.
    let failed =
        unsafe { generated::bpf_ringbuf_output((&raw const *ring).cast_mut().cast(), record, u64::from(length), u64::from(wakeup)) };
    (failed == 0).then_some(())
}

/// The routine ring takes no more requests when there is so much in it: the last eighth is for the rest of those that it took. So under a flood
/// requests are lost whole, and counted, and not in parts.
const FULL: u64 = ROUTINE_BYTES as u64 - ROUTINE_BYTES as u64 / 8;

/// Whether the routine ring takes one more request.
#[inline(always)]
pub fn has_room() -> bool {
    waiting() < FULL
}

/// Bytes in the routine ring.
#[inline(always)]
fn waiting() -> u64 {
    ROUTINE.query(u64::from(BPF_RB_AVAIL_DATA))
}

/// Routine records wait for the agent's timer. One that takes the ring past its mark wakes the agent, once while it is at it.
#[inline(always)]
fn routine_wakeup(waiting: u64) -> u32 {
    if waiting >= ROUTINE_MARK && waiting < ROUTINE_MARK + limit::RECORD as u64 { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }
}
