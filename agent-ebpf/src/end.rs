//! How a request went: the container runtime's answer to an upgrade, and the end.

use aya_ebpf::programs::ProbeContext;
use kubewitness_wire::{Answer, End, Kind, Layout};

use crate::{
    flight::Flight,
    hit::{Hit, InFlight},
    registers,
    scratch::start,
    user::read,
};

/// `cmp status, 101` in `tryUpgrade`: only upgrades that reached the runtime pass here.
#[inline(always)]
pub fn answered(ctx: &ProbeContext) -> Option<()> {
    let hit = Hit::of(ctx)?;
    let status = registers::named(hit.regs, hit.site.status);
    // The runtime is asked only about what was let in.
    hit.report(Kind::Answer, &InFlight::of(&hit, true), |slot| {
        let record = start::<Answer>(slot);
        // SAFETY: the record lies in the slot that is ours.
        unsafe { (*record).status = status as u32 };
    })
}

/// The deferred call of `ServeHTTP` that runs last, after a panic too.
#[inline(always)]
pub fn ended(ctx: &ProbeContext) -> Option<()> {
    let hit = Hit::at_entry(ctx)?;
    let request = InFlight::of(&hit, false);
    // SAFETY: the pointer is an element of a map.
    let response = request.flight.and_then(|flight| response(unsafe { &*flight }, &hit.site.layout, hit.bias()));
    let panicked = panicked(&hit);
    let sent = hit.report(Kind::End, &request, |slot| {
        let record = start::<End>(slot);
        // SAFETY: the record lies in the slot that is ours.
        unsafe { (*record).panicked = panicked };
        if let Some(response) = response {
            // SAFETY: the record lies in the slot that is ours.
            unsafe {
                (*record).readable = 1;
                (*record).status = response.status;
                (*record).written = response.written;
                (*record).hijacked = response.hijacked;
            }
        }
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

struct Response {
    status: u32,
    written: i64,
    hijacked: u8,
}

/// What the handler left in its `http.ResponseWriter`, HTTP/1.1 or HTTP/2 by its type word.
#[inline(always)]
fn response(flight: &Flight, layout: &Layout, bias: u64) -> Option<Response> {
    let itab = flight.writer_itab.wrapping_sub(bias);
    let writer = flight.writer_data;
    if itab == layout.itab_response {
        let connection: u64 = read(writer + u64::from(layout.response_conn))?;
        return Some(Response {
            status: read::<u64>(writer + u64::from(layout.response_status))? as u32,
            written: read(writer + u64::from(layout.response_written))?,
            hijacked: read(connection + u64::from(layout.conn_hijacked))?,
        });
    }
    if layout.itab_response2 != 0 && itab == layout.itab_response2 {
        let state: u64 = read(writer + u64::from(layout.response2_state))?;
        return Some(Response {
            status: read::<u64>(state + u64::from(layout.response2_status))? as u32,
            written: read(state + u64::from(layout.response2_written))?,
            hijacked: 0,
        });
    }
    None
}
