//! The kernel programs: four on instructions of the kubelet that the kernel emulates, one on TCP socket states.
//!
//! They read what the kubelet already decided and copy only the bytes that are there. They never read `Authorization` or
//! `Sec-WebSocket-Protocol`, and never write into the kubelet.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic exchanges, see scratch.rs and gather.rs")]
#![expect(clippy::needless_range_loop, reason = "the verifier follows an index with a constant bound; an iterator is two pointers to it")]

mod belief;
mod check;
mod end;
mod flight;
mod gather;
mod go_map;
mod hit;
mod known;
mod maps;
mod object;
mod owner;
mod process;
mod registers;
mod request;
mod scratch;
mod socket;
mod stack;
mod user;

use aya_ebpf::{
    macros::{raw_tracepoint, uprobe},
    programs::{ProbeContext, RawTracePointContext},
};

/// The stack check of `(*Server).ServeHTTP`, or the first `push` after it.
#[uprobe(multi)]
fn request(ctx: ProbeContext) -> u32 {
    stack::of_the_task(&ctx);
    request::seen(&ctx).map_or(1, |()| 0)
}

/// The conditional jump right after the call of `Authorize`.
#[uprobe(multi)]
fn check(ctx: ProbeContext) -> u32 {
    stack::of_the_task(&ctx);
    check::seen(&ctx).map_or(1, |()| 0)
}

/// The comparison of the runtime's status with 101.
#[uprobe(multi)]
fn answer(ctx: ProbeContext) -> u32 {
    stack::of_the_task(&ctx);
    end::answered(&ctx).map_or(1, |()| 0)
}

/// The same of the deferred call that runs last.
#[uprobe(multi)]
fn end(ctx: ProbeContext) -> u32 {
    stack::of_the_task(&ctx);
    end::ended(&ctx).map_or(1, |()| 0)
}

/// `sock:inet_sock_set_state`, raw: it needs no tracefs.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn socket(ctx: RawTracePointContext) -> i32 {
    socket::changed(&ctx).map_or(1, |()| 0)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
