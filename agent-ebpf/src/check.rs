//! The conditional jump right after `decision, reason, err := auth.Authorize(ctx, attrs)`: the results are still in registers.
//! The first is the decision, the second and third are the reason, the fourth is the error's type word.

use aya_ebpf::programs::ProbeContext;
use aya_log_ebpf::debug;
use kubewitness_wire::{Check, CheckText, Counter, Kind, Layout, Search, Span, limit};

use crate::{
    go_map::{self, Key, Wanted},
    hit::{Hit, InFlight},
    maps::count,
    registers,
    request::value,
    scratch::{Slot, append, append_string, start},
    user::{header as string, read},
};

/// `authorizer.DecisionAllow`, the same from 1.29 to 1.37.
const ALLOW: u32 = 1;

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

/// A question was answered.
#[inline(always)]
pub fn seen(ctx: &ProbeContext) -> Option<()> {
    let hit = Hit::of(ctx)?;
    let layout = &hit.site.layout;
    let [decision, reason, reason_length, error, _] = registers::words(hit.regs);
    // Where a word contradicts the plan the address is nil: then each read fails and each text is unknown, but the decision stands.
    let (attributes, user) = subject(&hit);
    if user == 0 {
        count(Counter::Contradicted);
        debug!(ctx, "the attributes or their user are not where they should be, at {:x}", registers::instruction(hit.regs));
    }
    let is_let_in = decision as u32 == ALLOW && error == 0;
    hit.report(Kind::Check, &InFlight::of(&hit, is_let_in), |slot| {
        let record = start::<Check>(slot);
        // SAFETY: no access, only the address of a field.
        let spans = unsafe { &raw mut (*record).spans };
        let span = |text: CheckText, span: Span| {
            // SAFETY: `record` lies in the slot that is ours.
            unsafe { (*spans)[text as usize] = span }
        };
        // SAFETY: as above.
        unsafe {
            (*record).decision = decision as u32;
            (*record).error = u8::from(error != 0);
        }
        span(CheckText::User, append_string::<{ limit::NAME }>(slot, user + u64::from(layout.user_name)));
        span(CheckText::Uid, append_string::<{ limit::NAME }>(slot, user + u64::from(layout.user_uid)));
        span(CheckText::Verb, append_string::<{ limit::WORD }>(slot, attributes + u64::from(layout.attributes_verb)));
        span(CheckText::Subresource, append_string::<{ limit::WORD }>(slot, attributes + u64::from(layout.attributes_subresource)));
        span(CheckText::Node, append_string::<{ limit::NAME }>(slot, attributes + u64::from(layout.attributes_name)));
        span(CheckText::Reason, append::<{ limit::REASON }>(slot, reason, reason_length));
        extras(slot, record, user, layout);
        groups(slot, record, user + u64::from(layout.user_groups));
    })
}

/// The addresses of the `AttributesRecord` and of its user's `DefaultInfo`; nil where the type word of an interface is not the planned one.
#[inline(always)]
fn subject(hit: &Hit<'_>) -> (u64, u64) {
    let (site, layout, bias) = (hit.site, &hit.site.layout, hit.bias());
    let [Some(itab), Some(attributes)] =
        [site.attr_itab, site.attr_data].map(|offset| read::<u64>(registers::stack(hit.regs).wrapping_add_signed(i64::from(offset))))
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
