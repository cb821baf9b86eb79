//! How a request went: the container runtime's answer to an upgrade, and the end.

use aya_ebpf::programs::ProbeContext;
use kubewitness_wire::{Answer, End, Kind, Layout};

use crate::{
    flight::Flight,
    hit::{Hit, InFlight},
    object::{self, later},
    registers,
    scratch::{Slot, start},
    user::read,
};

/// `cmp status, 101` in `tryUpgrade`: only upgrades that reached the runtime pass here.
#[inline(always)]
pub fn answered(ctx: &ProbeContext) -> Option<()> {
    let hit = Hit::of(ctx)?;
    let status = registers::named(hit.regs, hit.site.status);
    // The runtime is asked only about what was let in.
    let request = InFlight::of(&hit, true);
    // An API server in the same process hands its own upgrades on by the same function: they are no requests to the kubelet. Of a request that
    // is older than the probes the end tells.
    request.flight()?;
    hit.report(&request, |slot| {
        let record = start::<Answer>(slot);
        // SAFETY: the record lies in the slot that is ours.
        unsafe { (*record).status = status as u32 };
        Kind::Answer
    })
}

/// The deferred call of `ServeHTTP` that runs last, after a panic too.
#[inline(always)]
pub fn ended(ctx: &ProbeContext) -> Option<()> {
    let hit = Hit::at_entry(ctx)?;
    let request = InFlight::of(&hit, false);
    let panicked = panicked(&hit);
    let sent = hit.report(&request, |slot| {
        let record = start::<End>(slot);
        // SAFETY: the record lies in the slot that is ours.
        unsafe { (*record).panicked = panicked };
        if let Some(flight) = request.flight() {
            // SAFETY: the pointer is an element of a map; the record is as above.
            let _unreadable = unsafe { response(slot, record, &*flight, &hit.site.layout, hit.bias()) };
        }
        Kind::End
    });
    request.end(&hit, sent);
    sent
}

/// Deferred calls run with `g._panic` set only while a panic unwinds the stack.
#[inline(always)]
fn panicked(hit: &Hit<'_>) -> u8 {
    if hit.site.panicking == 0 {
        return End::UNKNOWN;
    }
    match read::<u64>(registers::goroutine(hit.regs) + u64::from(hit.site.panicking)) {
        Some(panic) => u8::from(panic != 0),
        None => End::UNKNOWN,
    }
}

/// Notes what the handler left in its `http.ResponseWriter`, HTTP/1.1 or HTTP/2 by its type word; the zeroed record says that it is
/// unreadable. The values go to the record one by one: what may be a response or nothing would lie on the stack half written, and kernels
/// before 6.3 refuse a program that moves such words.
///
/// # Safety
/// `record` is zeroed, and ours as the slot is.
#[inline(always)]
unsafe fn response(slot: *mut Slot, record: *mut End, flight: &Flight, layout: &Layout, bias: u64) -> Option<()> {
    let itab = flight.writer_itab.wrapping_sub(bias);
    let writer = flight.writer_data;
    // SAFETY: the caller's promise.
    unsafe {
        if itab == layout.itab_response {
            let end = later(layout.response_buffer, later(layout.response_status, layout.response_written)) + 8;
            if !object::load(slot, writer, end) {
                return None;
            }
            (*record).status = object::word(slot, layout.response_status) as u32;
            (*record).written = object::word(slot, layout.response_written) as i64;
            (*record).hijacked = u8::from(object::word(slot, layout.response_buffer) == 0);
        } else if layout.itab_response2 != 0 && itab == layout.itab_response2 {
            let state: u64 = read(writer + u64::from(layout.response2_state))?;
            (*record).status = read::<u64>(state + u64::from(layout.response2_status))? as u32;
            (*record).written = read(state + u64::from(layout.response2_written))?;
        } else {
            return None;
        }
        (*record).readable = 1;
    }
    Some(())
}
