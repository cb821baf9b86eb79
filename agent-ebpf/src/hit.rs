//! What all uprobe programs do first: is the process believed, which site was hit, which request is it about.

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::{bpf_ktime_get_ns, generated::bpf_get_attach_cookie},
    programs::ProbeContext,
};
use kubewitness_wire::{Class, Header, Kind, Site};

use crate::{
    belief::{self, Believed},
    flight::{self, Flight, Key},
    maps::SITES,
    owner, registers,
    scratch::{Slot, send, with_slot},
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

    /// How far from its address in the file the executable was loaded.
    #[inline(always)]
    pub fn bias(&self) -> u64 {
        registers::instruction(self.regs).wrapping_sub(self.site.address)
    }

    /// Builds a record in a slot and sends it.
    #[inline(always)]
    pub fn report(&self, kind: Kind, request: &InFlight, build: impl FnOnce(*mut Slot)) -> Option<()> {
        let header = Header {
            kind: kind as u8,
            class: request.class as u8,
            lost: 0,
            len: 0,
            time: self.time,
            tgid: self.process.tgid,
            site: self.index,
            goroutine: registers::goroutine(self.regs),
            request: request.begin,
        };
        with_slot(request.class, |slot| {
            build(slot);
            send(slot, header, request.flight);
        })
    }
}

/// The request that a hit is about.
pub struct InFlight {
    pub class: Class,
    /// When it began, which names it; 0 if that was not seen.
    pub begin: u64,
    pub flight: Option<*mut Flight>,
}

impl InFlight {
    /// What is known by the goroutine. A request whose begin was not seen may be an exec.
    #[inline(always)]
    pub fn of(hit: &Hit<'_>) -> Self {
        match flight::find(&hit.key()) {
            // SAFETY: the pointer is an element of a map.
            Some((flight, class)) => Self { class, begin: unsafe { (*flight).request }, flight: Some(flight) },
            None => Self { class: Class::Priority, begin: 0, flight: None },
        }
    }
}
