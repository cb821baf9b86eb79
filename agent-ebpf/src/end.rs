//! How a request went: the container runtime's answer to an upgrade, and the end.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::ProbeContext};
use kubewitness_wire::{Answer, Class, End, Kind, Layout, Register};

use crate::{
    belief,
    check::site,
    flight::{self, Flight},
    scratch::{header, send, start, with_slot},
    user::read,
};

/// `cmp status, 101` in `tryUpgrade`: only upgrades that reached the runtime pass here.
#[inline(always)]
pub fn answered(ctx: &ProbeContext) -> Option<()> {
    let process = belief::current(ctx)?;
    let (site_index, site) = site(ctx)?;
    // SAFETY: the helper takes nothing; the context's registers are those of the probed thread.
    let (time, regs) = unsafe { (bpf_ktime_get_ns(), &*ctx.regs) };
    let key = flight::Key { goroutine: regs.r14, tgid: process.tgid, zero: 0 };
    let flight = flight::find(&key);
    let class = flight.map_or(Class::Priority, |(_, class)| class);
    // SAFETY: the pointer is an element of a map.
    let request = flight.map_or(0, |(flight, _)| unsafe { (*flight).request });
    let status = register(ctx, site.status);
    with_slot(class, |slot| {
        let record = start::<Answer>(slot);
        // SAFETY: the record lies in the slot that is ours.
        unsafe { (*record).status = status as u32 };
        send(slot, header(Kind::Answer, class, time, process.tgid, site_index, regs.r14, request), flight.map(|(flight, _)| flight));
    })
}

/// The deferred call of `ServeHTTP` that runs last, after a panic too.
#[inline(always)]
pub fn ended(ctx: &ProbeContext) -> Option<()> {
    let process = belief::current(ctx)?;
    let (site_index, site) = site(ctx)?;
    // SAFETY: the helper takes nothing; the context's registers are those of the probed thread.
    let (time, regs) = unsafe { (bpf_ktime_get_ns(), &*ctx.regs) };
    let key = flight::Key { goroutine: regs.r14, tgid: process.tgid, zero: 0 };
    let flight = flight::find(&key);
    let class = flight.map_or(Class::Priority, |(_, class)| class);
    let bias = regs.rip.wrapping_sub(site.address);
    // SAFETY: the pointer is an element of a map.
    let (request, response) =
        flight.map_or((0, None), |(flight, _)| unsafe { ((*flight).request, response(&*flight, &site.layout, bias)) });
    let sent = with_slot(class, |slot| {
        let record = start::<End>(slot);
        if let Some(response) = response {
            // SAFETY: the record lies in the slot that is ours.
            unsafe {
                (*record).readable = 1;
                (*record).status = response.status;
                (*record).written = response.written;
                (*record).hijacked = response.hijacked;
            }
        }
        send(slot, header(Kind::End, class, time, process.tgid, site_index, regs.r14, request), flight.map(|(flight, _)| flight));
    });
    flight::end(&key, class);
    sent
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

/// The value of a register that the plan names.
#[inline(always)]
fn register(ctx: &ProbeContext, number: u32) -> u64 {
    // SAFETY: the context's registers are those of the probed thread.
    let regs = unsafe { &*ctx.regs };
    // The verifier wants each access at a constant offset, so there is one for each register.
    macro_rules! pick {
        ($($register:ident $field:ident),*) => {
            $(if number == Register::$register as u32 { return unsafe { core::ptr::read_volatile(&raw const regs.$field) }; })*
        };
    }
    pick!(Rax rax, Rcx rcx, Rdx rdx, Rbx rbx, Rsi rsi, Rdi rdi, R8 r8, R9 r9, R10 r10, R11 r11, R12 r12, R13 r13, R15 r15);
    0
}
