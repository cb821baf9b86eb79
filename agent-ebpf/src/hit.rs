//! What all uprobe programs do first: is the process believed, which site was hit, which request is it about.

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_attach_cookie, bpf_get_smp_processor_id},
    },
    programs::ProbeContext,
};
use kubewitness_wire::{Class, Counter, Guarded, Kind, Site};

use crate::{
    belief::{self, Believed},
    flight::{self, Flight, Key},
    known,
    maps::{SITES, count},
    owner, registers, request,
    scratch::{Slot, header, send, with_slot},
};

/// A probed instruction was reached by a believed process.
pub struct Hit<'a> {
    pub regs: &'a pt_regs,
    pub site: &'static Site,
    pub process: Believed,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    index: u32,
}

impl<'a> Hit<'a> {
    #[inline(always)]
    pub fn of(ctx: &'a ProbeContext) -> Option<Self> {
        let process = belief::current(ctx)?;
        // SAFETY: the helper reads the cookie of the context that it is given: the index that the agent chose for the site.
        let index = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32;
        let site = SITES.get(index)?;
        if !owner::speaks(&process, site.attachment) {
            return None;
        }
        // SAFETY: the context's registers are those of the probed thread; the clock's helper takes nothing.
        let (regs, time) = unsafe { (&*ctx.regs, bpf_ktime_get_ns()) };
        Some(Self { regs, site, process, time, index })
    }

    /// The same at the entry of a function: none while its stack check sends it back.
    #[inline(always)]
    pub fn at_entry(ctx: &'a ProbeContext) -> Option<Self> {
        // SAFETY: the context's registers are those of the probed thread.
        if registers::has_entered(unsafe { &*ctx.regs }) { Self::of(ctx) } else { None }
    }

    /// The goroutine.
    #[inline(always)]
    pub fn key(&self) -> Key {
        Key { goroutine: registers::goroutine(self.regs), tgid: self.process.tgid, zero: 0 }
    }

    /// Names a record that this hit sends: no other one has this name for two years.
    #[inline(always)]
    pub fn record(&self) -> u64 {
        // SAFETY: the helper takes nothing.
        let processor = unsafe { bpf_get_smp_processor_id() } as u64;
        processor << 56 | self.time & (u64::MAX >> 8)
    }

    /// How far from its address in the file the executable was loaded.
    #[inline(always)]
    pub fn bias(&self) -> u64 {
        registers::instruction(self.regs).wrapping_sub(self.site.address)
    }

    /// Builds a record in a slot and sends it.
    #[inline(always)]
    pub fn report(&self, request: &InFlight, build: impl FnOnce(*mut Slot) -> Kind) -> Option<()> {
        self.report_of(self.time, request, build)
    }

    /// The same for what happened at another time. `None` where there was no room.
    #[inline(always)]
    pub fn report_of(&self, time: u64, request: &InFlight, build: impl FnOnce(*mut Slot) -> Kind) -> Option<()> {
        if request.is_dropped() {
            count(lost(request.class));
            return None;
        }
        let sent = with_slot(|slot| {
            let kind = build(slot);
            let record = header(slot);
            // Field by field: a copy on the stack would be too much for it.
            // SAFETY: the record lies in the slot that is ours.
            unsafe {
                (*record).kind = kind as u8;
                (*record).class = request.class as u8;
                (*record).lost = 0;
                (*record).path = request.path;
                (*record).time = time;
                (*record).tgid = self.process.tgid;
                (*record).site = self.index;
                (*record).goroutine = registers::goroutine(self.regs);
                (*record).request = request.begin;
            }
            send(slot, request.flight)?;
            if kind as u8 == Kind::Check as u8 && request.class as u8 == Class::Routine as u8 {
                known::remember(slot, self.record(), time);
            }
            Some(())
        });
        if sent.is_none() {
            count(lost(request.class));
            if let Some(flight) = request.flight {
                // SAFETY: the pointer is an element of a map.
                unsafe {
                    (*flight).lost += 1;
                    (*flight).user = 0;
                }
            }
        }
        sent
    }
}

/// The request that a hit is about.
pub struct InFlight {
    pub class: Class,
    /// When it began, which names it; 0 if that was not seen.
    pub begin: u64,
    /// A `Guarded`.
    pub path: u8,
    pub flight: Option<*mut Flight>,
}

impl InFlight {
    /// What is known by the goroutine. A request whose begin was not seen may be an exec.
    ///
    /// What is guarded is sent only when it is known which way it goes: let in, by the ring of the priority class, or refused, by the other
    /// one. So the record of a begin may be sent here.
    #[inline(always)]
    pub fn of(hit: &Hit<'_>, is_let_in: bool) -> Self {
        let key = hit.key();
        let Some((flight, class)) = flight::find(&key) else {
            return Self { class: Class::Priority, begin: 0, path: Guarded::No as u8, flight: None };
        };
        // SAFETY: the pointer is an element of a map.
        let (begin, path, is_guarded) = unsafe { ((*flight).begin, (*flight).path, (*flight).is_guarded()) };
        let this = if is_let_in && is_guarded && class as u8 == Class::Routine as u8 {
            Self { class: Class::Priority, begin, path, flight: flight::promote(&key, flight) }
        } else {
            Self { class, begin, path, flight: Some(flight) }
        };
        request::begin(hit, &this);
        this
    }

    /// Whether no record of it is sent.
    #[inline(always)]
    pub fn is_dropped(&self) -> bool {
        // SAFETY: the pointer is an element of a map.
        self.flight.is_some_and(|flight| unsafe { (*flight).dropped != 0 })
    }

    /// It is over: whether any record of it was sent is known by now.
    #[inline(always)]
    pub fn end(&self, hit: &Hit<'_>, sent: Option<()>) {
        // SAFETY: the pointer is an element of a map.
        let unseen = self.flight.is_some_and(|flight| unsafe { (*flight).sent == 0 });
        if sent.is_none() && unseen {
            count(if self.class as u8 == Class::Priority as u8 { Counter::UnseenPriority } else { Counter::UnseenRoutine });
        }
        flight::end(&hit.key(), self.class);
    }
}

fn lost(class: Class) -> Counter {
    match class {
        Class::Routine => Counter::LostRoutine,
        Class::Priority => Counter::LostPriority,
        Class::Socket => Counter::LostSocket,
    }
}
