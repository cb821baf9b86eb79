//! The conditional jump right after `decision, reason, err := auth.Authorize(ctx, attrs)`: the results are still in registers.
//! The first is the decision, the second and third are the reason, the fourth is the error's type word.

use aya_ebpf::programs::ProbeContext;
use aya_log_ebpf::debug;
use kubewitness_wire::{Check, Class, Counter, Kind, Layout, Question, QuestionText, Span, UserText, limit};

use crate::{
    go_map::{self, Key, Wanted},
    hit::{Hit, InFlight},
    known,
    maps::count,
    object::{self, append_field, later},
    registers,
    request::value,
    scratch::{Slot, append, append_string, start},
    user::{header as string, read},
};

/// `authorizer.DecisionAllow`, the same from 1.29 to 1.37.
const ALLOW: u32 = 1;

/// In the order of the texts from `UserText::PodName` on.
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
    let request = InFlight::of(&hit, is_let_in);
    let answer = Answer { attributes, decision: decision as u32, error: u8::from(error != 0), reason: [reason, reason_length] };
    hit.report(&request, |slot| {
        known::forget(slot);
        let told = told_before(&hit, &request, slot, user);
        let check = if told == 0 { start::<Check>(slot) } else { start::<Question>(slot).cast() };
        question(slot, check.cast(), &answer, layout);
        let record = if told == 0 { hit.record() } else { told };
        // SAFETY: the record lies in the slot that is ours.
        unsafe { (*check).question.told = record };
        if let Some(flight) = request.flight {
            // It is undone if the record finds no room.
            // SAFETY: the pointer is an element of a map.
            unsafe { ((*flight).user, (*flight).told) = (user, record) };
        }
        if told == 0 {
            whose(slot, check, user, layout);
            Kind::Check
        } else {
            Kind::Recheck
        }
    })
}

/// The record that has told of the user already, or 0.
#[inline(always)]
fn told_before(hit: &Hit<'_>, request: &InFlight, slot: *mut Slot, user: u64) -> u64 {
    if user == 0 {
        return 0;
    }
    if let Some(flight) = request.flight {
        // SAFETY: the pointer is an element of a map.
        let (last, told) = unsafe { ((*flight).user, (*flight).told) };
        if last == user {
            return told;
        }
    }
    let layout = &hit.site.layout;
    if !object::load(slot, user, end_of_user(layout)) || !known::note(slot, user, hit.process.tgid, layout) {
        return 0;
    }
    // What comes over the other ring may be read before this one.
    if request.class as u8 == Class::Routine as u8 { known::find(slot, hit.time).unwrap_or(0) } else { 0 }
}

/// What `Authorize` was asked and said.
struct Answer {
    attributes: u64,
    decision: u32,
    error: u8,
    reason: [u64; 2],
}

/// The question and the answer.
#[inline(always)]
fn question(slot: *mut Slot, record: *mut Question, answer: &Answer, layout: &Layout) {
    // SAFETY: `record` lies in the slot that is ours.
    let spans = unsafe {
        (*record).decision = answer.decision;
        (*record).error = answer.error;
        &raw mut (*record).spans
    };
    let span = |text: QuestionText, span: Span| {
        // SAFETY: as above.
        unsafe { (*spans)[text as usize] = span }
    };
    let there = object::load(slot, answer.attributes, end_of_attributes(layout));
    span(QuestionText::Verb, append_field::<{ limit::WORD }>(slot, there, layout.attributes_verb));
    span(QuestionText::Subresource, append_field::<{ limit::WORD }>(slot, there, layout.attributes_subresource));
    span(QuestionText::Node, append_field::<{ limit::NAME }>(slot, there, layout.attributes_name));
    span(QuestionText::Reason, append::<{ limit::REASON }>(slot, answer.reason[0], answer.reason[1]));
}

/// The user's texts and groups.
#[inline(always)]
fn whose(slot: *mut Slot, record: *mut Check, user: u64, layout: &Layout) {
    // SAFETY: no access, only the address of a field.
    let spans = unsafe { &raw mut (*record).spans };
    let span = |text: UserText, span: Span| {
        // SAFETY: `record` lies in the slot that is ours.
        unsafe { (*spans)[text as usize] = span }
    };
    let there = object::load(slot, user, end_of_user(layout));
    span(UserText::Name, append_field::<{ limit::NAME }>(slot, there, layout.user_name));
    span(UserText::Uid, append_field::<{ limit::NAME }>(slot, there, layout.user_uid));
    if !there {
        // SAFETY: as above.
        unsafe { (*record).groups = u16::MAX };
        let mut index = 0;
        while index < Extras::KEYS.len() {
            // SAFETY: as above.
            unsafe { (*spans)[UserText::PodName as usize + index] = Span::ABSENT };
            index += 1;
        }
        return;
    }
    let (extra, [address, length]) = (object::word(slot, layout.user_extra), object::header(slot, layout.user_groups));
    extras(slot, record, extra, layout);
    groups(slot, record, address, length);
}

#[inline(always)]
fn end_of_attributes(layout: &Layout) -> u32 {
    later(later(layout.attributes_verb, layout.attributes_subresource), layout.attributes_name) + 16
}

#[inline(always)]
fn end_of_user(layout: &Layout) -> u32 {
    later(later(layout.user_name, layout.user_uid), later(layout.user_groups, layout.user_extra)) + 16
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
fn extras(slot: *mut Slot, record: *mut Check, map: u64, layout: &Layout) {
    let search = go_map::search::<Extras>(slot, map, &layout.map);
    // SAFETY: slot and record are ours.
    unsafe { (*record).extra = search as u8 };
    let mut index = 0;
    while index < Extras::KEYS.len() {
        // SAFETY: as above.
        unsafe {
            let found = (*slot).found[index];
            (*record).spans[UserText::PodName as usize + index] = value::<{ limit::NAME }>(slot, found);
        }
        index += 1;
    }
}

/// The user's groups, the first of them where there are many.
#[inline(always)]
fn groups(slot: *mut Slot, record: *mut Check, address: u64, length: u64) {
    // SAFETY: the record is ours.
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
