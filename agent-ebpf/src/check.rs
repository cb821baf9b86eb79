//! The conditional jump right after `decision, reason, err := auth.Authorize(ctx, attrs)`: the results are still in registers.
//! RAX is the decision, (RBX, RCX) the reason, RDI the error's type word.

use aya_ebpf::{EbpfContext, helpers::bpf_ktime_get_ns, helpers::generated::bpf_get_attach_cookie, programs::ProbeContext};
use aya_log_ebpf::debug;
use kubewitness_wire::{Check, CheckText, Class, Counter, Kind, Layout, Search, Site, Span, limit};

use crate::{
    belief, flight,
    go_map::{self, Key, Wanted},
    maps::{SITES, count},
    request::value,
    scratch::{Slot, append, append_string, header, send, start, with_slot},
    user::{header as string, read},
};

/// In the order of the texts from `CheckText::PodName` on.
struct Extras;
impl Wanted for Extras {
    const KEYS: &'static [Key] = &[
        Key::new(b"authentication.kubernetes.io/pod-name"),
        Key::new(b"authentication.kubernetes.io/pod-uid"),
        Key::new(b"authentication.kubernetes.io/node-name"),
        Key::new(b"authentication.kubernetes.io/node-uid"),
        Key::new(b"authentication.kubernetes.io/credential-id"),
    ];
}

/// The site that was hit, by its attach cookie.
#[inline(always)]
pub fn site(ctx: &ProbeContext) -> Option<(u32, &'static Site)> {
    // SAFETY: the helper reads the cookie of the context that it is given.
    let index = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } as u32;
    Some((index, SITES.get(index)?))
}

/// A question was answered.
#[inline(always)]
pub fn seen(ctx: &ProbeContext) -> Option<()> {
    let process = belief::current(ctx)?;
    let (site_index, site) = site(ctx)?;
    let layout = &site.layout;
    // SAFETY: the context's registers are those of the probed thread.
    let regs = unsafe { &*ctx.regs };
    // SAFETY: the helper takes nothing.
    let time = unsafe { bpf_ktime_get_ns() };
    let key = flight::Key { goroutine: regs.r14, tgid: process.tgid, zero: 0 };
    let flight = flight::find(&key);
    // A request whose begin was not seen may be an exec.
    let class = flight.map_or(Class::Priority, |(_, class)| class);
    // SAFETY: the pointer is an element of a map.
    let request = flight.map_or(0, |(flight, _)| unsafe { (*flight).request });

    // Where a word contradicts the plan the address is nil: then each read fails and each text is unknown, but the decision stands.
    let bias = regs.rip.wrapping_sub(site.address);
    let (attributes, user) = subject(regs.rsp, site, bias);
    if user == 0 {
        count(Counter::Contradicted);
        debug!(ctx, "site {}: the attributes or their user are not where they should be", site_index);
    }

    with_slot(class, |slot| {
        let record = start::<Check>(slot);
        // SAFETY: no access, only the address of a field.
        let spans = unsafe { &raw mut (*record).spans };
        let span = |text: CheckText, span: Span| {
            // SAFETY: `record` lies in the slot that is ours.
            unsafe { (*spans)[text as usize] = span }
        };
        // SAFETY: as above.
        unsafe {
            (*record).decision = regs.rax as u32;
            (*record).error = u8::from(regs.rdi != 0);
        }
        span(CheckText::User, append_string::<{ limit::NAME }>(slot, user + u64::from(layout.user_name)));
        span(CheckText::Uid, append_string::<{ limit::NAME }>(slot, user + u64::from(layout.user_uid)));
        span(CheckText::Verb, append_string::<{ limit::WORD }>(slot, attributes + u64::from(layout.attributes_verb)));
        span(CheckText::Subresource, append_string::<{ limit::WORD }>(slot, attributes + u64::from(layout.attributes_subresource)));
        span(CheckText::Node, append_string::<{ limit::NAME }>(slot, attributes + u64::from(layout.attributes_name)));
        span(CheckText::Reason, append::<{ limit::REASON }>(slot, regs.rbx, regs.rcx));
        extras(slot, record, user, layout);
        groups(slot, record, user + u64::from(layout.user_groups));
        send(slot, header(Kind::Check, class, time, process.tgid, site_index, regs.r14, request), flight.map(|(flight, _)| flight));
    })
}

/// The addresses of the `AttributesRecord` and of its user's `DefaultInfo`; nil where the type word of an interface is not the planned one.
#[inline(always)]
fn subject(stack: u64, site: &Site, bias: u64) -> (u64, u64) {
    let layout = &site.layout;
    let [Some(itab), Some(attributes)] =
        [site.attr_itab, site.attr_data].map(|offset| read::<u64>(stack.wrapping_add_signed(i64::from(offset))))
    else {
        return (0, 0);
    };
    let itab = itab.wrapping_sub(bias);
    if itab != layout.itab_attributes && (layout.itab_attributes_pointer == 0 || itab != layout.itab_attributes_pointer) {
        return (0, 0);
    }
    match string(attributes + u64::from(layout.attributes_user)) {
        Some([itab, user]) if itab.wrapping_sub(bias) == layout.itab_user => (attributes, user),
        _ => (attributes, 0),
    }
}

/// The pod, node and credential that a token is bound to.
#[inline(always)]
fn extras(slot: *mut Slot, record: *mut Check, user: u64, layout: &Layout) {
    let search = match read::<u64>(user + u64::from(layout.user_extra)) {
        Some(map) => go_map::search::<Extras>(slot, map, &layout.map),
        None => Search::Cut,
    };
    // SAFETY: slot and record are ours.
    unsafe { (*record).extra = search as u8 };
    let mut index = 0;
    while index < Extras::KEYS.len() {
        // SAFETY: as above.
        unsafe {
            let found = (*slot).found[index];
            (*record).spans[CheckText::PodName as usize + index] = value::<{ limit::NAME }>(slot, found);
        }
        index += 1;
    }
}

/// The user's groups, the first of them where there are many.
#[inline(always)]
fn groups(slot: *mut Slot, record: *mut Check, header: u64) {
    let Some([address, length]) = string(header) else {
        // SAFETY: the record is ours.
        unsafe { (*record).groups = u16::MAX };
        return;
    };
    // SAFETY: as above.
    unsafe { (*record).groups = if length >= u64::from(u16::MAX) { u16::MAX - 1 } else { length as u16 } };
    let mut index = 0;
    while index < limit::GROUPS {
        if index as u64 >= length {
            return;
        }
        let span = append_string::<{ limit::NAME }>(slot, address + 16 * index as u64);
        // SAFETY: as above.
        unsafe { (*record).group_spans[index] = span };
        index += 1;
    }
}
