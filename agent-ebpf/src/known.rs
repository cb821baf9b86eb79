//! Users who were told a moment ago, so that the next request of the same user need not tell them again.
//!
//! The kubelet keeps the user of a token that it has reviewed (`k8s.io/apiserver/pkg/authentication/token/cache`), and gives the same object to
//! each request. An object is taken for the same if it lies at the same address, and its name, UID, groups and extras do. The ends of name and UID
//! are read and compared as well, by sums: that the garbage collector has put another user in the same place is seen. What the groups and
//! the extras hold is not compared; for what is left there, the time is short: `TOLD_AGAIN`.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_user};
use core::ptr::{read_volatile, write_volatile};
use kubewitness_wire::{Layout, TOLD_AGAIN};

use crate::{maps::KNOWN, object, scratch::Slot};

/// What makes out a user.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct User {
    address: u64,
    name: [u64; 2],
    uid: [u64; 2],
    groups: [u64; 2],
    extra: u64,
    /// Sums over the ends of name and UID, which are what differs.
    sums: [u64; 2],
    tgid: u64,
}

/// How a user was told.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Told {
    /// The name of the record.
    pub record: u64,
    /// When.
    pub time: u64,
}

/// Of Knuth's MMIX generator: odd, and its bits look like chance.
pub const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

/// Bytes of a text that are compared: the last ones.
const END: u64 = 64;
const WORDS: usize = END as usize / 8;

/// Nobody is noted in the slot.
#[inline(always)]
pub fn forget(slot: *mut Slot) {
    // SAFETY: the slot is ours.
    unsafe { write_volatile(&raw mut (*slot).user.address, 0) };
}

/// Notes in the slot who the user is whose object was loaded there; false if that cannot be told.
#[inline(always)]
pub fn note(slot: *mut Slot, address: u64, tgid: u32, layout: &Layout) -> bool {
    // Field by field: the stack has no room for it.
    // SAFETY: the slot is ours.
    unsafe {
        let user = &raw mut (*slot).user;
        (*user).name = object::header(slot, layout.user_name);
        (*user).uid = object::header(slot, layout.user_uid);
        (*user).groups = object::header(slot, layout.user_groups);
        (*user).extra = object::word(slot, layout.user_extra);
        (*user).tgid = u64::from(tgid);
        let Some(of_name) = sum(slot, &raw const (*user).name) else { return false };
        (*user).sums[0] = of_name;
        let Some(of_uid) = sum(slot, &raw const (*user).uid) else { return false };
        (*user).sums[1] = of_uid;
        (*user).address = address;
    }
    true
}

/// The record that tells of the user who was noted, if it is young enough.
#[inline(always)]
pub fn find(slot: *mut Slot, now: u64) -> Option<u64> {
    // SAFETY: the slot is ours; what is found is two numbers of which each is replaced as a whole.
    let told = unsafe { KNOWN.get(&(*slot).user) }?;
    (now.wrapping_sub(told.time) < TOLD_AGAIN).then_some(told.record)
}

/// Whether anybody was noted in the slot.
#[inline(always)]
pub fn is_noted(slot: *mut Slot) -> bool {
    // SAFETY: the slot is ours.
    unsafe { read_volatile(&raw const (*slot).user.address) != 0 }
}

/// The user who was noted, if anybody was, is told by this record, which was sent.
#[inline(always)]
pub fn remember(slot: *mut Slot, record: u64, time: u64) {
    if is_noted(slot) {
        // SAFETY: the slot is ours.
        unsafe {
            (*slot).told = Told { record, time };
            let _full = KNOWN.insert(&(*slot).user, &(*slot).told, 0);
        }
    }
}

/// A sum over the end of a text, in which one letter more or less makes a difference.
///
/// # Safety
/// `text` is an address and a length in the slot.
#[inline(always)]
unsafe fn sum(slot: *mut Slot, text: *const [u64; 2]) -> Option<u64> {
    // SAFETY: the caller's promise.
    let (address, length) = unsafe { (read_volatile(text.cast::<u64>()), read_volatile(text.cast::<u64>().add(1))) };
    let bytes = if length > END { END as u32 } else { length as u32 };
    // SAFETY: the slot is ours, and the key has room for 64 bytes.
    unsafe {
        let words = (&raw mut (*slot).key).cast::<u64>();
        for index in 0..WORDS {
            write_volatile(words.add(index), 0);
        }
        if bytes > 0 && bpf_probe_read_user(words.cast::<c_void>(), bytes, (address + length - u64::from(bytes)) as *const c_void) != 0 {
            return None;
        }
        let mut sum = length;
        for index in 0..WORDS {
            sum = (sum ^ read_volatile(words.add(index))).wrapping_mul(MULTIPLIER);
            sum ^= sum >> 29;
        }
        Some(sum)
    }
}
