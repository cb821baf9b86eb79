//! Looks for keys in a Go `map[string][]string`: the Swiss map (since Go 1.24) or buckets (before), up to a bound of entries.
//!
//! Its state lives in the slot, not in registers: the verifier then sees the same state in each round and stays quick.

use aya_ebpf::{
    cty::c_void,
    helpers::generated::{bpf_loop, bpf_probe_read_user},
};
use core::ptr::{read_volatile, write_volatile};
use kubewitness_wire::{MapLayout, Search};

use crate::{
    object::{self, later},
    scratch::Slot,
    user::{header, read},
};

/// Groups of eight entries that are visited before the search is cut. A Swiss map of that size has one table at most.
const GROUPS: u32 = 48;
const ENTRIES: u32 = 8;
/// Bytes of a slot's buffer for a group; it is twice as large as the mask, so that a word at a masked position fits.
const GROUP_MASK: u32 = 511;
const KEY_WORDS: usize = 6;
/// `minTopHash` of Go's `runtime/map.go` until 1.23: smaller values mark empty and moved entries.
const MIN_TOP_HASH: u8 = 5;

/// A key to look for.
#[derive(Clone, Copy)]
pub struct Key {
    words: [u64; KEY_WORDS],
    length: u64,
}

impl Key {
    /// A key of at most 48 bytes.
    pub const fn new(name: &[u8]) -> Self {
        let mut words = [0; KEY_WORDS];
        let mut index = 0;
        while index < name.len() {
            words[index / 8] |= (name[index] as u64) << (8 * (index % 8));
            index += 1;
        }
        Self { words, length: name.len() as u64 }
    }
}

/// The first value of a key.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Found {
    /// 0: the key was not seen.
    pub present: u64,
    pub address: u64,
    pub length: u64,
}

impl Found {
    /// The most keys that one search looks for.
    pub const COUNT: usize = 5;
}

/// Where a search stands.
#[repr(C)]
pub struct Walk {
    /// The group to visit.
    group: u64,
    /// The place in the array of groups, which is left for overflow buckets.
    place: u64,
    /// Places not yet done.
    left: u64,
}

/// The keys of one search.
pub trait Wanted {
    /// At most [`Found::COUNT`].
    const KEYS: &'static [Key];
}

/// What the loop's body is given.
struct Context {
    slot: *mut Slot,
    layout: *const MapLayout,
}

/// Looks for the keys of `W` and leaves what it finds in `slot.found`, in their order.
#[inline(always)]
pub fn search<W: Wanted>(slot: *mut Slot, map: u64, layout: &MapLayout) -> Search {
    for index in 0..W::KEYS.len() {
        // SAFETY: the slot is ours, and there are at most as many keys as places. What is not present has no address.
        unsafe { write_volatile(&raw mut (*slot).found[index].present, 0) };
    }
    if map == 0 {
        return Search::Complete;
    }
    let Some(walk) = begin(slot, map, layout) else { return Search::Cut };
    // SAFETY: the slot is ours.
    unsafe { (*slot).walk = walk };
    let mut context = Context { slot, layout };
    // The kernel checks the body of such a loop once, not once a round.
    // SAFETY: the body's context outlives the loop.
    unsafe { bpf_loop(GROUPS, visit::<W> as *mut c_void, (&raw mut context).cast(), 0) };
    // SAFETY: the slot is ours.
    if unsafe { read_volatile(&raw const (*slot).walk.left) } == 0 { Search::Complete } else { Search::Cut }
}

/// Visits one group; 1 ends the loop.
unsafe extern "C" fn visit<W: Wanted>(_round: u32, context: *mut Context) -> i64 {
    // SAFETY: `search` handed out a context that is alive.
    let (slot, layout) = unsafe { ((*context).slot, &*(*context).layout) };
    // SAFETY: the slot is ours.
    if unsafe { read_volatile(&raw const (*slot).walk.left) } == 0 || group::<W>(slot, layout).is_none() {
        return 1;
    }
    0
}

/// The walk before the first group; `None` for a map that is too large, is growing, or cannot be read.
#[inline(always)]
fn begin(slot: *mut Slot, map: u64, layout: &MapLayout) -> Option<Walk> {
    let end = later(later(layout.count, layout.dir), later(layout.dir_len, layout.old)) + 8;
    if !object::load(slot, map, end) {
        return None;
    }
    if object::word(slot, layout.count) == 0 {
        return Some(Walk { group: 0, place: 0, left: 0 });
    }
    let array = object::word(slot, layout.dir);
    if layout.swiss == 0 {
        if object::word(slot, layout.old) != 0 {
            return None;
        }
        let bits = object::word(slot, layout.dir_len);
        return Some(Walk { group: array, place: array, left: 1 << (bits & 31) });
    }
    match object::word(slot, layout.dir_len) {
        0 => Some(Walk { group: array, place: array, left: 1 }),
        1 => {
            let table = read::<u64>(array)?;
            let groups = read::<u64>(table + u64::from(layout.table_groups))?;
            let mask = read::<u64>(table + u64::from(layout.table_mask))?;
            Some(Walk { group: groups, place: groups, left: mask.wrapping_add(1) })
        }
        _ => None,
    }
}

/// Looks at one group, then moves on.
#[inline(always)]
fn group<W: Wanted>(slot: *mut Slot, layout: &MapLayout) -> Option<()> {
    // SAFETY: the slot is ours, and all accesses are inside its fields.
    unsafe {
        let walk = &raw mut (*slot).walk;
        let buffer = (&raw mut (*slot).group).cast::<u8>();
        let size = if layout.group_size > GROUP_MASK { GROUP_MASK } else { layout.group_size };
        if bpf_probe_read_user(buffer.cast::<c_void>(), size, read_volatile(&raw const (*walk).group) as *const c_void) != 0 {
            return None;
        }
        for entry in 0..ENTRIES {
            let control = read_volatile(buffer.add(entry as usize));
            let full = if layout.swiss == 0 { control >= MIN_TOP_HASH } else { control & 0x80 == 0 };
            if full {
                compare::<W>(slot, layout, buffer, entry)?;
            }
        }
        let overflow = if layout.swiss == 0 { word(buffer, layout.overflow) } else { 0 };
        if overflow == 0 {
            let place = read_volatile(&raw const (*walk).place) + u64::from(layout.group_size);
            write_volatile(&raw mut (*walk).place, place);
            write_volatile(&raw mut (*walk).group, place);
            write_volatile(&raw mut (*walk).left, read_volatile(&raw const (*walk).left) - 1);
        } else {
            write_volatile(&raw mut (*walk).group, overflow);
        }
    }
    Some(())
}

/// Compares one entry's key with those that are wanted, and notes its value if it is one of them.
///
/// # Safety
/// `slot` is claimed, `buffer` is its group.
#[inline(always)]
unsafe fn compare<W: Wanted>(slot: *mut Slot, layout: &MapLayout, buffer: *const u8, entry: u32) -> Option<()> {
    // SAFETY: positions in the group are masked, and the key's buffer holds the longest wanted key.
    unsafe {
        let place = layout.key + entry * layout.key_stride;
        let length = word(buffer, place + 8);
        if length > 8 * KEY_WORDS as u64 || !W::KEYS.iter().any(|key| key.length == length) {
            return Some(());
        }
        let key = (&raw mut (*slot).key).cast::<u64>();
        for index in 0..KEY_WORDS {
            write_volatile(key.add(index), 0);
        }
        if bpf_probe_read_user(key.cast::<c_void>(), length as u32, word(buffer, place) as *const c_void) != 0 {
            return None;
        }
        for index in 0..W::KEYS.len() {
            if W::KEYS[index].length == length && same(key, &W::KEYS[index].words) {
                let value = layout.value + entry * layout.value_stride;
                let [address, length] = if word(buffer, value + 8) == 0 { [0, 0] } else { header(word(buffer, value))? };
                (*slot).found[index] = Found { present: 1, address, length };
            }
        }
    }
    Some(())
}

/// # Safety
/// `key` has as many words as `words`.
#[inline(always)]
unsafe fn same(key: *const u64, words: &[u64; KEY_WORDS]) -> bool {
    let mut difference = 0;
    for index in 0..KEY_WORDS {
        // SAFETY: the caller's promise.
        difference |= unsafe { read_volatile(key.add(index)) } ^ words[index];
    }
    difference == 0
}

/// A word of a group, at a masked position.
///
/// # Safety
/// `buffer` has at least 8 bytes behind the mask.
#[inline(always)]
unsafe fn word(buffer: *const u8, position: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { read_volatile(buffer.add((position & GROUP_MASK) as usize).cast::<u64>()) }
}
