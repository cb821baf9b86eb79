//! A struct of the kubelet's, read at once: its fields are then at hand without a helper's call for each.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_user};
use core::ptr::read_volatile;
use kubewitness_wire::{Span, limit};

use crate::scratch::{Slot, append};

const MASK: u32 = limit::STRUCT - 1;
/// A slot's room: a string's two words at any masked position are inside.
pub const ROOM: usize = limit::STRUCT as usize + 16;

/// Reads the beginning of a struct, up to the end of the word before `end`; false if it cannot be read.
#[inline(always)]
pub fn load(slot: *mut Slot, address: u64, end: u32) -> bool {
    let size = if end > limit::STRUCT { limit::STRUCT } else { end };
    // SAFETY: the slot is ours, and its room is larger than what is read.
    unsafe { bpf_probe_read_user((&raw mut (*slot).object).cast::<c_void>(), size, address as *const c_void) == 0 }
}

/// The word at an offset.
#[inline(always)]
pub fn word(slot: *mut Slot, offset: u32) -> u64 {
    // SAFETY: a masked position and a word behind it are inside of the slot's room.
    unsafe { read_volatile((&raw const (*slot).object).cast::<u8>().add((offset & MASK) as usize).cast::<u64>()) }
}

/// A Go string or slice header at an offset: address and length.
#[inline(always)]
pub fn header(slot: *mut Slot, offset: u32) -> [u64; 2] {
    let place = (offset & MASK) as usize;
    // SAFETY: a masked position and two words behind it are inside of the slot's room.
    unsafe {
        let first = (&raw const (*slot).object).cast::<u8>().add(place).cast::<u64>();
        [read_volatile(first), read_volatile(first.add(1))]
    }
}

/// Appends the string at an offset; `there` is what [`load`] said.
#[inline(always)]
pub fn append_field<const MAX: usize>(slot: *mut Slot, there: bool, offset: u32) -> Span {
    if !there {
        return Span::UNREADABLE;
    }
    let [address, length] = header(slot, offset);
    append::<MAX>(slot, address, length)
}

/// The larger one.
#[inline(always)]
pub fn later(one: u32, other: u32) -> u32 {
    if one > other { one } else { other }
}
