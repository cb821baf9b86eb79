//! What a request's later records need to know of its begin.

use kubewitness_wire::{Class, Guarded, Layout};

use crate::{
    maps::{PRIORITY_FLIGHTS, ROUTINE_FLIGHTS},
    user::read,
};

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
    pub begin: u64,
    /// Its `*http.Request`, which `net/http` keeps for as long as it is served.
    pub request: u64,
    /// The two words of its `http.ResponseWriter`.
    pub writer_itab: u64,
    pub writer_data: u64,
    /// The server that it came to.
    pub server: Server,
    /// Records of it that found no room.
    pub lost: u32,
    /// Records of it that were sent.
    pub sent: u32,
    /// A [`Guarded`].
    pub path: u8,
    /// 1 once the record of its begin is on its way.
    pub begun: u8,
    /// 1 if no record of it is sent, because there was no room for the first one.
    pub dropped: u8,
    pub zero: [u8; 5],
    /// The user of the last [`kubewitness_wire::Check`] of it that was sent over its ring, and that record. The same object is asked about in
    /// each of its checks: the kubelet's filter holds it until all are answered (`pkg/kubelet/server/server.go`, `InstallAuthFilter`).
    pub user: u64,
    pub told: u64,
}

/// A `*server.Server`, and one more where it has no `auth`, as that of the read-only port: what this says of a server stays true as long as the
/// kubelet runs. 0 where it could not be looked at.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Server(u64);

impl Server {
    /// Looks at it.
    #[inline(always)]
    pub fn read(address: u64, layout: &Layout) -> Self {
        match read::<u64>(address + u64::from(layout.server_auth)) {
            Some(auth) => Self(address | u64::from(auth == 0)),
            None => Self(0),
        }
    }

    /// Whether it is the one at this address.
    #[inline(always)]
    pub fn is(self, address: u64) -> bool {
        self.0 & !1 == address && address != 0
    }

    /// 1 on the read-only port.
    #[inline(always)]
    pub fn is_read_only(self) -> u8 {
        (self.0 & 1) as u8
    }
}

/// The flight of a goroutine, and the class that it is in.
#[inline(always)]
pub fn find(key: &Key) -> Option<(*mut Flight, Class)> {
    if let Some(flight) = ROUTINE_FLIGHTS.get_ptr_mut(key) {
        return Some((flight, Class::Routine));
    }
    PRIORITY_FLIGHTS.get_ptr_mut(key).map(|flight| (flight, Class::Priority))
}

/// A request begins in the routine class, whatever it asks for: nobody has let it in yet. Forgets one that this goroutine had before and
/// whose end was not seen.
#[inline(always)]
pub fn begin(key: &Key, flight: *const Flight) {
    if PRIORITY_FLIGHTS.get_ptr(key).is_some() {
        let _absent = PRIORITY_FLIGHTS.remove(key);
    }
    // An LRU map makes room, and where it cannot, the later records say that the begin is unknown.
    // SAFETY: it lies in the caller's slot.
    let _full = ROUTINE_FLIGHTS.insert(key, unsafe { &*flight }, 0);
}

/// A guarded request was let in: from here on its records have the ring, and its flight the map, that nobody who is refused can fill.
/// Whatever was sent of it before is sent again.
#[inline(always)]
pub fn promote(key: &Key, flight: *mut Flight) -> Option<*mut Flight> {
    // From one map to the other: a copy on the stack would be too much for it.
    // SAFETY: the pointer is an element of a map.
    let _full = PRIORITY_FLIGHTS.insert(key, unsafe { &*flight }, 0);
    let _absent = ROUTINE_FLIGHTS.remove(key);
    let promoted = PRIORITY_FLIGHTS.get_ptr_mut(key)?;
    // SAFETY: as above.
    unsafe {
        (*promoted).begun = 0;
        (*promoted).dropped = 0;
        (*promoted).user = 0;
    }
    Some(promoted)
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

impl Flight {
    /// Whether it is one of those that get a way of their own as soon as they are let in.
    pub fn is_guarded(&self) -> bool {
        self.path != Guarded::No as u8
    }
}
