//! What a request's later records need to know of its begin.

use kubewitness_wire::Class;

use crate::maps::{PRIORITY_FLIGHTS, ROUTINE_FLIGHTS};

/// One goroutine serves one request at a time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Key {
    pub goroutine: u64,
    pub tgid: u32,
    pub zero: u32,
}

/// A request in flight.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flight {
    /// When it began, which names it.
    pub request: u64,
    /// The two words of its `http.ResponseWriter`.
    pub writer_itab: u64,
    pub writer_data: u64,
    /// Records of it that found no room.
    pub lost: u32,
    pub zero: u32,
}

/// The flight of a goroutine, and the class that it was put into.
#[inline(always)]
pub fn find(key: &Key) -> Option<(*mut Flight, Class)> {
    if let Some(flight) = ROUTINE_FLIGHTS.get_ptr_mut(key) {
        return Some((flight, Class::Routine));
    }
    PRIORITY_FLIGHTS.get_ptr_mut(key).map(|flight| (flight, Class::Priority))
}

/// Puts a flight in its class, and forgets one that this goroutine had before and whose end was not seen.
#[inline(always)]
pub fn begin(key: &Key, flight: &Flight, class: Class) {
    let (its, other) = match class {
        Class::Routine => (&ROUTINE_FLIGHTS, &PRIORITY_FLIGHTS),
        Class::Priority | Class::Socket => (&PRIORITY_FLIGHTS, &ROUTINE_FLIGHTS),
    };
    let _absent = other.remove(key);
    // An LRU map makes room, and where it cannot, the later records say that the begin is unknown.
    let _full = its.insert(key, flight, 0);
}

/// Forgets a flight.
#[inline(always)]
pub fn end(key: &Key, class: Class) {
    let flights = match class {
        Class::Routine => &ROUTINE_FLIGHTS,
        Class::Priority | Class::Socket => &PRIORITY_FLIGHTS,
    };
    let _absent = flights.remove(key);
}
