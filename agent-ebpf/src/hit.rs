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
use core::ptr::NonNull;
use kubewitness_wire::{Class, Counter, Guarded, Kind, Site};

use crate::{
    belief::{self, Believed},
    flight::{self, Flight, Key},
    gather::{self, Gathering},
    known,
    maps::{SITES, count},
    owner, process, registers, request,
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
    /// The request, if its records are kept until it is over.
    gathering: Option<Gathering>,
}

impl<'a> Hit<'a> {
    /// A request begins: none while the stack check of its function sends it back.
    #[inline(always)]
    pub fn of_begin(ctx: &'a ProbeContext) -> Option<Self> {
        // SAFETY: the context's registers are those of the probed thread.
        let regs = unsafe { &*ctx.regs };
        if !registers::has_entered(regs) {
            return None;
        }
        let (index, site) = site(ctx)?;
        Self::believed(ctx, regs, index, site)
    }

    #[inline(always)]
    fn believed(ctx: &'a ProbeContext, regs: &'a pt_regs, index: u32, site: &'static Site) -> Option<Self> {
        let process = belief::current(ctx)?;
        if !owner::speaks(&process, site.attachment) {
            return None;
        }
        Some(Self { regs, site, process, time: now(), index, gathering: None })
    }

    /// Something happens to a request that began.
    #[inline(always)]
    pub fn of(ctx: &'a ProbeContext) -> Option<Self> {
        // SAFETY: the context's registers are those of the probed thread.
        let regs = unsafe { &*ctx.regs };
        let (index, site) = site(ctx)?;
        // Its process was looked at when it began.
        let tgid = process::id();
        if tgid != 0
            && let Some(gathering) = gather::find(&Key { goroutine: registers::goroutine(regs), tgid, zero: 0 })
        {
            // SAFETY: the pointer is an element of a map.
            let (attachment, netns) = unsafe { ((*gathering.notes()).attachment, (*gathering.notes()).netns) };
            let process = Believed { tgid, netns, speaker: attachment };
            let this = Self { regs, site, process, time: now(), index, gathering: Some(gathering) };
            return (attachment == site.attachment).then_some(this);
        }
        Self::believed(ctx, regs, index, site)
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

    /// Builds a record in a slot, and keeps or sends it. `None` where there was no room.
    #[inline(always)]
    pub fn report(&self, request: &InFlight, build: impl FnOnce(*mut Slot) -> Kind) -> Option<()> {
        self.with_record(request, build, |slot, kind| {
            let Some(gathering) = request.gathering else { return self.send_built(slot, self.time, request, request.flight()) };
            if gathering.keep(slot, kind, self.time) {
                return Some(());
            }
            self.send_built(slot, self.time, request, gathering.spill(self))
        })
    }

    /// The same of what happened at another time, which is sent.
    #[inline(always)]
    pub fn send_of(&self, time: u64, request: &InFlight, build: impl FnOnce(*mut Slot) -> Kind) -> Option<()> {
        self.with_record(request, build, |slot, _| self.send_built(slot, time, request, request.flight()))
    }

    #[inline(always)]
    fn with_record(
        &self,
        request: &InFlight,
        build: impl FnOnce(*mut Slot) -> Kind,
        deliver: impl FnOnce(*mut Slot, Kind) -> Option<()>,
    ) -> Option<()> {
        if request.is_dropped() {
            count(lost(request.class));
            return None;
        }
        let delivered = with_slot(|slot| {
            let kind = build(slot);
            self.head(slot, kind, request);
            deliver(slot, kind)
        });
        if delivered.is_none() {
            request.lost();
        }
        delivered
    }

    /// Fills the head of the record of a slot, but for the times.
    #[inline(always)]
    pub fn head(&self, slot: *mut Slot, kind: Kind, request: &InFlight) {
        let record = header(slot);
        // Field by field: a copy on the stack would be too much for it.
        // SAFETY: the record lies in the slot that is ours.
        unsafe {
            (*record).kind = kind as u8;
            (*record).class = request.class as u8;
            (*record).lost = 0;
            (*record).path = request.path;
            (*record).tgid = self.process.tgid;
            (*record).site = self.index;
            (*record).goroutine = registers::goroutine(self.regs);
        }
    }

    #[inline(always)]
    fn send_built(&self, slot: *mut Slot, time: u64, request: &InFlight, flight: Option<*mut Flight>) -> Option<()> {
        let record = header(slot);
        // SAFETY: as above.
        let kind = unsafe {
            (*record).time = time;
            (*record).request = request.begin;
            (*record).kind
        };
        send(slot, flight)?;
        if kind == Kind::Check as u8 && request.class as u8 == Class::Routine as u8 {
            known::remember(slot, self.record(), time);
        }
        Some(())
    }
}

/// The site of a hit, and its index.
#[inline(always)]
fn site(ctx: &ProbeContext) -> Option<(u32, &'static Site)> {
    // SAFETY: the helper reads the cookie of the context that it is given: the index that the agent chose for the site.
    let index = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32;
    Some((index, SITES.get(index)?))
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// The request that a hit is about.
pub struct InFlight {
    pub class: Class,
    /// When it began, which names it; 0 if that was not seen.
    pub begin: u64,
    /// A `Guarded`.
    pub path: u8,
    flight: Option<NonNull<Flight>>,
    /// Where its records are kept until it is over.
    pub gathering: Option<Gathering>,
}

impl InFlight {
    /// What is known by the goroutine. A request whose begin was not seen may be an exec.
    ///
    /// What is guarded is sent only when it is known which way it goes: let in, by the ring of the priority class, or refused, by the other
    /// one. So the record of a begin may be sent here.
    #[inline(always)]
    pub fn of(hit: &Hit<'_>, is_let_in: bool) -> Self {
        if let Some(gathering) = hit.gathering {
            return Self::gathered(gathering);
        }
        let key = hit.key();
        let Some((flight, class)) = flight::find(&key) else {
            return Self { class: Class::Priority, begin: 0, path: Guarded::No as u8, flight: None, gathering: None };
        };
        // SAFETY: the pointer is an element of a map.
        let (begin, path, is_guarded) = unsafe { ((*flight).begin, (*flight).path, (*flight).is_guarded()) };
        let this = if is_let_in && is_guarded && class as u8 == Class::Routine as u8 {
            Self { class: Class::Priority, begin, path, flight: flight::promote(&key, flight).and_then(NonNull::new), gathering: None }
        } else {
            Self { class, begin, path, flight: NonNull::new(flight), gathering: None }
        };
        request::begin(hit, &this);
        this
    }

    /// One that asks for nothing that is guarded, and whose records are kept.
    #[inline(always)]
    pub fn gathered(gathering: Gathering) -> Self {
        // SAFETY: no access, only the address of a field.
        let flight = unsafe { &raw mut (*gathering.notes()).flight };
        // SAFETY: the pointer is an element of a map.
        let begin = unsafe { (*flight).begin };
        Self { class: Class::Routine, begin, path: Guarded::No as u8, flight: NonNull::new(flight), gathering: Some(gathering) }
    }

    /// What is known of its begin.
    #[inline(always)]
    pub fn flight(&self) -> Option<*mut Flight> {
        self.flight.map(NonNull::as_ptr)
    }

    /// A record of it found no room.
    #[inline(always)]
    fn lost(&self) {
        count(lost(self.class));
        if let Some(flight) = self.flight() {
            // SAFETY: the pointer is an element of a map.
            unsafe {
                (*flight).lost += 1;
                (*flight).user = 0;
            }
        }
    }

    /// Whether no record of it is sent.
    #[inline(always)]
    pub fn is_dropped(&self) -> bool {
        // SAFETY: the pointer is an element of a map.
        self.flight().is_some_and(|flight| unsafe { (*flight).dropped != 0 })
    }

    /// It is over: whether any record of it was sent is known by now.
    #[inline(always)]
    pub fn end(&self, hit: &Hit<'_>, sent: Option<()>) {
        if let Some(gathering) = self.gathering.filter(|gathering| gathering.is_still_of(&hit.key())) {
            return gathering.end(hit);
        }
        // SAFETY: the pointer is an element of a map.
        let unseen = self.flight().is_some_and(|flight| unsafe { (*flight).sent == 0 });
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
