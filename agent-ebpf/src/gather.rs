//! The records of a routine request are kept until it is over, and told at once. Most of them are as those of the request before it on the same
//! goroutine, which serves one connection: then only that is told, and when.
//!
//! A place is taken by the goroutine that serves the request and touched by nobody else until it is given back. Where there is none, and where
//! a request has more to tell than a place has room for, its records are sent one by one.

use aya_ebpf::{cty::c_void, helpers::generated};
use core::{
    intrinsics::{AtomicOrdering, atomic_xchg},
    ptr::{NonNull, read_volatile, write_volatile},
};
use kubewitness_wire::{
    Check, Class, Counter, GATHERED as PLACES, Gathered, Guarded, Kind, LONGEST_PART, Layout, NOTES, PADDING, PARTS, PARTS_ROOM, Question,
    Whole,
};

use crate::{
    check::Asked,
    flight::{Flight, Key, Server},
    hit::Hit,
    known,
    maps::{GATHERED, KNOWN, ROUTINE_FLIGHTS, count},
    scratch::{self, Slot},
};

/// A request has one of two places.
const WAYS: u32 = 2;
/// Of 64-bit words in a record that are compared in a round: so many are in its padding's unit.
const WORDS: u32 = PADDING / 8;

/// What the programs note in a [`Gathered`].
#[repr(C)]
pub struct Notes {
    /// The request.
    pub flight: Flight,
    /// The user whom a record of it tells, and that record; none if its name is 0.
    user: known::User,
    told: known::Told,
    /// The attachment that spoke for the process when it began.
    pub attachment: u32,
    /// The kubelet's network namespace.
    pub netns: u32,
    /// Records that are there of the last request that was told whole.
    kept: u32,
    /// 1 as long as all is as it was with that one.
    is_same: u32,
    /// Bytes of records that are there of this request.
    position: u32,
    zero: u32,
    /// What the questions of the last request were about, by where it lies; each in the place of its record.
    asked: [Asked; PARTS],
}

const _: () = assert!(size_of::<Notes>() == size_of::<[u64; NOTES]>() && align_of::<Notes>() == align_of::<u64>());

/// A place, as an element of the map.
#[derive(Clone, Copy)]
pub struct Gathering(NonNull<Gathered>);

/// What a place is busy with: a goroutine of a process. Addresses of user space have less than 47 bits.
#[inline(always)]
fn name(key: &Key) -> u64 {
    key.goroutine.rotate_left(20) ^ u64::from(key.tgid)
}

/// The first one of its two places.
#[inline(always)]
fn first_place(name: u64) -> u32 {
    // The upper bits are the good ones.
    let mixed = name.wrapping_mul(known::MULTIPLIER) >> 32;
    (mixed as u32 % (PLACES / WAYS)) * WAYS
}

#[inline(always)]
fn at(place: u32) -> Option<Gathering> {
    GATHERED.get_ptr_mut(place).and_then(NonNull::new).map(Gathering)
}

/// The place of the request that a goroutine serves.
#[inline(always)]
pub fn find(key: &Key) -> Option<Gathering> {
    let name = name(key);
    let first = first_place(name);
    for way in 0..WAYS {
        let gathering = at(first + way)?;
        if gathering.is_of(name) {
            return Some(gathering);
        }
    }
    None
}

/// The server of the request that a goroutine served last, if that is the one at this address.
#[inline(always)]
pub fn last_server(key: &Key, address: u64) -> Option<Server> {
    let first = first_place(name(key));
    for way in 0..WAYS {
        let gathering = at(first + way)?;
        // SAFETY: the pointer is an element of a map. Somebody else may take the place now, but one word is one server's.
        let server = unsafe { read_volatile(&raw const (*gathering.notes()).flight.server) };
        if gathering.was_of(key) && server.is(address) {
            return Some(server);
        }
    }
    None
}

/// Takes a place for a request that begins; the one that the goroutine had before, if it can be.
#[inline(never)]
pub fn claim(hit: &Hit<'_>, key: &Key, flight: *const Flight) -> Option<Gathering> {
    let name = name(key);
    let first = first_place(name);
    for way in 0..WAYS {
        let gathering = at(first + way)?;
        if gathering.is_of(name) {
            gathering.break_off(hit);
        }
        if gathering.was_of(key) && gathering.take(name) {
            gathering.begin(hit, first + way, key, flight);
            return Some(gathering);
        }
    }
    for way in 0..WAYS {
        let gathering = at(first + way)?;
        if gathering.take(name) {
            gathering.begin(hit, first + way, key, flight);
            return Some(gathering);
        }
    }
    None
}

impl Gathering {
    #[inline(always)]
    fn at(&self) -> *mut Gathered {
        self.0.as_ptr()
    }

    #[inline(always)]
    pub fn notes(&self) -> *mut Notes {
        // SAFETY: no access, only the address of a field, which has the room and the alignment.
        unsafe { (&raw mut (*self.at()).notes).cast() }
    }

    #[inline(always)]
    fn is_of(&self, name: u64) -> bool {
        // SAFETY: the pointer is an element of a map.
        unsafe { read_volatile(&raw const (*self.at()).busy) == name }
    }

    /// Whether the last request here was the same goroutine's.
    #[inline(always)]
    fn was_of(&self, key: &Key) -> bool {
        // SAFETY: as above.
        unsafe {
            let header = &raw const (*self.at()).whole.header;
            read_volatile(&raw const (*header).goroutine) == key.goroutine && read_volatile(&raw const (*header).tgid) == key.tgid
        }
    }

    #[inline(always)]
    fn take(&self, name: u64) -> bool {
        // SAFETY: as above; the words are aligned, and `taken` is only touched here and in `give_back`.
        unsafe {
            if atomic_xchg::<u64, { AtomicOrdering::Relaxed }>(&raw mut (*self.at()).taken, 1) != 0 {
                return false;
            }
            write_volatile(&raw mut (*self.at()).busy, name);
        }
        true
    }

    #[inline(always)]
    fn give_back(&self) {
        // SAFETY: as above.
        unsafe {
            write_volatile(&raw mut (*self.at()).busy, 0);
            // It orders what was written before it, too: <https://docs.kernel.org/bpf/standardization/instruction-set.html> knows no other exchange.
            atomic_xchg::<u64, { AtomicOrdering::Relaxed }>(&raw mut (*self.at()).taken, 0);
        }
    }

    #[inline(always)]
    fn begin(&self, hit: &Hit<'_>, place: u32, key: &Key, flight: *const Flight) {
        let same = self.was_of(key);
        // SAFETY: the place is ours, and the flight lies in the caller's slot.
        unsafe {
            let (header, own) = (&raw mut (*self.at()).whole.header, self.notes());
            (*header).goroutine = key.goroutine;
            (*header).tgid = key.tgid;
            (*header).class = Class::Routine as u8;
            (*header).path = Guarded::No as u8;
            (*header).time = hit.time;
            (*header).request = hit.time;
            (*self.at()).whole.slot = place;
            (*self.at()).whole.parts = 0;
            // Word by word: the compiler would call its own function, which goes byte by byte.
            for word in 0..size_of::<Flight>() / 8 {
                write_volatile((&raw mut (*own).flight).cast::<u64>().add(word), read_volatile(flight.cast::<u64>().add(word)));
            }
            (*own).told.record = 0;
            (*own).attachment = hit.site.attachment;
            (*own).netns = hit.process.netns;
            (*own).position = 0;
            if !same {
                (*own).kept = 0;
            }
            (*own).is_same = u32::from((*own).kept != 0);
        }
    }

    /// Whether its records are still kept: they are not once they spilled.
    #[inline(always)]
    pub fn is_still_of(&self, key: &Key) -> bool {
        self.is_of(name(key))
    }

    /// Keeps the record that is in a slot; false if it has no room here.
    #[inline(never)]
    pub fn keep(&self, slot: *mut Slot, kind: Kind, time: u64) -> bool {
        // SAFETY: slot and place are ours, and all positions are masked.
        unsafe {
            let (parts, position) =
                (read_volatile(&raw const (*self.at()).whole.parts), read_volatile(&raw const (*self.notes()).position));
            let Some(length) = scratch::pad(slot) else { return false };
            if parts as usize >= PARTS || position as usize >= PARTS_ROOM {
                return false;
            }
            let record = scratch::header(slot);
            (*record).time = 0;
            (*record).request = 0;
            let kept = (&raw mut (*self.at()).records).cast::<u8>().add(position as usize & (PARTS_ROOM - 1));
            let is_same = (*self.notes()).is_same != 0 && parts < (*self.notes()).kept && are_equal(record.cast(), kept, length);
            if !is_same {
                (*self.notes()).is_same = 0;
                generated::bpf_probe_read_kernel(kept.cast::<c_void>(), scratch::bounded(slot, length), record.cast::<c_void>());
            }
            (*self.at()).whole.times[parts as usize & (PARTS - 1)] = time;
            write_volatile(&raw mut (*self.at()).whole.parts, parts + 1);
            write_volatile(&raw mut (*self.notes()).position, position + length);
            if kind as u8 == Kind::Check as u8 && known::is_noted(slot) {
                (*self.notes()).user = (*slot).user;
                (*self.notes()).told = known::Told { record: (*record.cast::<Question>()).told, time };
            }
        }
        true
    }

    /// Puts the texts of a question behind the fixed part of a record of this kind, if they are those of the request before by where they lie:
    /// verb and subresource are constants of the kubelet's code, and the node's name is the same for as long as the kubelet runs. False if
    /// they are to be read.
    #[inline(never)]
    pub fn repeat(&self, slot: *mut Slot, layout: &Layout, bias: u64, kind: Kind) -> bool {
        // SAFETY: slot and place are ours, and all positions are masked.
        unsafe {
            let (parts, position) =
                (read_volatile(&raw const (*self.at()).whole.parts), read_volatile(&raw const (*self.notes()).position));
            let noted = (&raw mut (*self.notes()).asked).cast::<Asked>().add(parts as usize & (PARTS - 1));
            let asked = &raw const (*slot).asked;
            let are_same = are_equal_words(asked.cast(), noted.cast(), size_of::<Asked>() / 8);
            for word in 0..size_of::<Asked>() / 8 {
                write_volatile(noted.cast::<u64>().add(word), read_volatile(asked.cast::<u64>().add(word)));
            }
            let [verb, subresource, node] = [(*asked).verb, (*asked).subresource, (*asked).node];
            if !are_same || (*self.notes()).is_same == 0 || parts >= (*self.notes()).kept {
                return false;
            }
            let is_constant = |text: [u64; 2]| {
                let start = text[0].wrapping_sub(bias);
                let is_inside = start >= layout.constants_start && start <= layout.constants_end && text[1] <= layout.constants_end - start;
                is_inside || text[1] == 0
            };
            let is_short = verb[1] <= scratch::SHORT && subresource[1] <= scratch::SHORT && node[1] <= scratch::SHORT;
            let length = verb[1] + subresource[1] + node[1];
            if !is_constant(verb) || !is_constant(subresource) || !is_short || length > scratch::SHORT {
                return false;
            }
            let kept = (&raw const (*self.at()).records).cast::<u8>().add(position as usize & (PARTS_ROOM - 1));
            if read_volatile(kept) != kind as u8 {
                return false;
            }
            let fixed = if kind as u8 == Kind::Check as u8 { size_of::<Check>() } else { size_of::<Question>() };
            scratch::put(slot, kept.add(fixed), length);
        }
        true
    }

    /// It is over: tells what is there, and gives the place back.
    #[inline(always)]
    pub fn end(&self, hit: &Hit<'_>) {
        self.tell_or_count(hit);
        self.give_back();
    }

    /// The end of it was not seen: tells what is there, which no other request is as, and gives the place back.
    #[inline(always)]
    fn break_off(&self, hit: &Hit<'_>) {
        self.tell_or_count(hit);
        self.leave();
    }

    #[inline(always)]
    fn tell_or_count(&self, hit: &Hit<'_>) {
        if !self.tell(hit) {
            count(Counter::UnseenRoutine);
        }
    }

    /// There is no room for more: tells what is there and gives the place back. What follows is sent one by one.
    #[inline(always)]
    pub fn spill(&self, hit: &Hit<'_>) -> Option<*mut Flight> {
        let key = &hit.key();
        let told = self.tell(hit);
        // SAFETY: the place is ours.
        unsafe {
            (*self.notes()).kept = 0;
            (*self.notes()).flight.begun = 1;
            (*self.notes()).flight.sent = u32::from(told);
            (*self.notes()).flight.lost += u32::from(!told);
            let _full = ROUTINE_FLIGHTS.insert(key, &(*self.notes()).flight, 0);
        }
        self.give_back();
        ROUTINE_FLIGHTS.get_ptr_mut(key)
    }

    /// Gives the place back, and says nothing of what is there.
    #[inline(always)]
    pub fn leave(&self) {
        // SAFETY: the place is ours.
        unsafe { (*self.notes()).kept = 0 };
        self.give_back();
    }

    /// Sends what is there; false if there was no room in the ring, which is counted.
    #[inline(never)]
    fn tell(&self, hit: &Hit<'_>) -> bool {
        // SAFETY: the place is ours.
        unsafe {
            let (whole, own) = (&raw mut (*self.at()).whole, self.notes());
            let (parts, lost) = (read_volatile(&raw const (*whole).parts), (*own).flight.lost);
            let is_again = (*own).is_same != 0 && parts == (*own).kept && lost == 0;
            let mut length = size_of::<Whole>() as u32;
            if is_again {
                (*whole).header.kind = Kind::Again as u8;
            } else {
                (*whole).header.kind = Kind::Whole as u8;
                (*whole).name = hit.record();
                length += read_volatile(&raw const (*own).position);
            }
            (*whole).header.lost = scratch::saturated(lost);
            (*whole).header.len = length;
            let length = read_volatile(&raw const (*whole).header.len);
            if !scratch::send_routine(whole.cast(), if length > LONGEST { LONGEST } else { length }) {
                (*own).kept = 0;
                count(Counter::LostRoutine);
                return false;
            }
            (*own).kept = if lost == 0 { parts } else { 0 };
            if (*own).told.record != 0 {
                let _full = KNOWN.insert(&(*own).user, &(*own).told, 0);
            }
        }
        true
    }
}

/// The most that is sent at once.
const LONGEST: u32 = (size_of::<Whole>() + PARTS_ROOM + LONGEST_PART) as u32;

/// # Safety
/// Both have so many words.
#[inline(always)]
unsafe fn are_equal_words(one: *const u64, other: *const u64, count: usize) -> bool {
    let mut difference = 0;
    for word in 0..count {
        // SAFETY: the caller's promise.
        difference |= unsafe { read_volatile(one.add(word)) ^ read_volatile(other.add(word)) };
    }
    difference == 0
}

/// Compares records of so many bytes with their padding.
///
/// # Safety
/// Both have room for [`LONGEST_PART`].
#[inline(always)]
unsafe fn are_equal(one: *const u8, other: *const u8, length: u32) -> bool {
    let mut difference = 0;
    let mut at = 0;
    while at < LONGEST_PART {
        if at as u32 >= length {
            break;
        }
        for word in 0..WORDS as usize {
            let place = at + 8 * word;
            // SAFETY: the caller's promise.
            difference |= unsafe { read_volatile(one.add(place).cast::<u64>()) ^ read_volatile(other.add(place).cast::<u64>()) };
        }
        at += PADDING as usize;
    }
    difference == 0
}
