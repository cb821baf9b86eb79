//! The conditional jump right after `decision, reason, err := auth.Authorize(ctx, attrs)`: the results are still in registers.
//! The first is the decision, the second and third are the reason, the fourth is the error's type word.

use aya_ebpf::programs::ProbeContext;
use aya_log_ebpf::debug;
use kubewitness_wire::{Check, Class, Counter, Kind, Layout, Question, QuestionText, Span, UserText, limit};

use crate::{
    gather::Gathering,
    go_map::{self, Key, Wanted},
    hit::{Hit, InFlight},
    known,
    maps::count,
    object::{self, append_field, later},
    registers,
    request::value,
    scratch::{Slot, append, append_string, start, unbounded},
    user::read,
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
    let [decision, _, _, error, _] = registers::words(hit.regs);
    let request = InFlight::of(&hit, decision as u32 == ALLOW && error == 0);
    hit.report(&request, |slot| {
        known::forget(slot);
        // Where a word contradicts the plan nothing is read: each text is unknown, but the decision stands.
        let user = attributes(&hit, slot);
        if user == 0 {
            count(Counter::Contradicted);
            debug!(ctx, "the attributes or their user are not where they should be, at {:x}", registers::instruction(hit.regs));
        }
        let told = told_before(&hit, &request, slot, user);
        let (kind, record) = if told == 0 { (Kind::Check, hit.record()) } else { (Kind::Recheck, told) };
        let check = if told == 0 { start::<Check>(slot) } else { start::<Question>(slot).cast() };
        // SAFETY: the record lies in the slot that is ours.
        unsafe { (*check).question.told = record };
        question(&hit, request.gathering, slot, check.cast(), kind);
        if let Some(flight) = request.flight() {
            // It is undone if the record finds no room.
            // SAFETY: the pointer is an element of a map.
            unsafe { ((*flight).user, (*flight).told) = (user, record) };
        }
        if told == 0 {
            whose(slot, check, user, layout);
        }
        kind
    })
}

/// The record that has told of the user already, or 0.
#[inline(never)]
fn told_before(hit: &Hit<'_>, request: &InFlight, slot: *mut Slot, user: u64) -> u64 {
    if user == 0 {
        return 0;
    }
    if let Some(flight) = request.flight() {
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

/// What `Authorize` was asked: strings by address and length.
#[repr(C)]
pub struct Asked {
    pub verb: [u64; 2],
    pub subresource: [u64; 2],
    pub node: [u64; 2],
}

/// No string is there.
const UNREADABLE: [u64; 2] = [0, u64::MAX];

/// Notes in the slot what is in the `AttributesRecord`, and returns the user's `DefaultInfo`: nil where it cannot be read, or the type word of an
/// interface is not the planned one.
#[inline(never)]
fn attributes(hit: &Hit<'_>, slot: *mut Slot) -> u64 {
    let (layout, bias) = (&hit.site.layout, hit.bias());
    let there = is_loaded(hit, slot, layout, bias).is_some();
    let text = move |offset: u32| if there { object::header(slot, offset) } else { UNREADABLE };
    // SAFETY: the slot is ours.
    unsafe {
        (*slot).asked.verb = text(layout.attributes_verb);
        (*slot).asked.subresource = text(layout.attributes_subresource);
        (*slot).asked.node = text(layout.attributes_name);
    }
    let [itab, user] = text(layout.attributes_user);
    if there && itab.wrapping_sub(bias) == layout.itab_user { user } else { 0 }
}

/// Loads the `AttributesRecord`.
#[inline(always)]
fn is_loaded(hit: &Hit<'_>, slot: *mut Slot, layout: &Layout, bias: u64) -> Option<()> {
    let [itab, attributes] = interface(slot, registers::stack(hit.regs), hit.site.attr_itab, hit.site.attr_data)?;
    let itab = itab.wrapping_sub(bias);
    if itab != layout.itab_attributes && (layout.itab_attributes_pointer == 0 || itab != layout.itab_attributes_pointer) {
        return None;
    }
    object::load(slot, attributes, end_of_attributes(layout)).then_some(())
}

/// The two words of an interface on the stack, of which the second one lies further up, or not.
#[inline(always)]
fn interface(slot: *mut Slot, stack: u64, itab: i32, data: i32) -> Option<[u64; 2]> {
    let lower = if itab < data { itab } else { data };
    let at = |offset: i32| offset.wrapping_sub(lower) as u32;
    let start = stack.wrapping_add_signed(i64::from(lower));
    let end = later(at(itab), at(data)) + 8;
    if end > limit::STRUCT {
        return Some([read(start + u64::from(at(itab)))?, read(start + u64::from(at(data)))?]);
    }
    object::load(slot, start, unbounded(slot, u64::from(end)) as u32).then(|| [object::word(slot, at(itab)), object::word(slot, at(data))])
}

/// The question and the answer.
#[inline(never)]
fn question(hit: &Hit<'_>, gathering: Option<Gathering>, slot: *mut Slot, record: *mut Question, kind: Kind) {
    let [decision, reason, length, error, _] = registers::words(hit.regs);
    // SAFETY: the slot is ours, with what was noted in it, and `record` lies in it.
    let (asked, spans) = unsafe {
        (*record).decision = decision as u32;
        (*record).error = u8::from(error != 0);
        (&raw const (*slot).asked, &raw mut (*record).spans)
    };
    let is_there = gathering.is_some_and(|gathering| gathering.repeat(slot, &hit.site.layout, hit.bias(), kind));
    let span = |text: QuestionText, span: Span| {
        // SAFETY: `record` lies in the slot that is ours.
        unsafe { (*spans)[text as usize] = span }
    };
    // SAFETY: as above.
    let [verb, subresource, node] = unsafe { [(*asked).verb, (*asked).subresource, (*asked).node] };
    if is_there {
        span(QuestionText::Verb, Span::whole(verb[1] as u16));
        span(QuestionText::Subresource, Span::whole(subresource[1] as u16));
        span(QuestionText::Node, Span::whole(node[1] as u16));
    } else {
        span(QuestionText::Verb, append::<{ limit::WORD }>(slot, verb[0], verb[1]));
        span(QuestionText::Subresource, append::<{ limit::WORD }>(slot, subresource[0], subresource[1]));
        span(QuestionText::Node, append::<{ limit::NAME }>(slot, node[0], node[1]));
    }
    span(QuestionText::Reason, append::<{ limit::REASON }>(slot, reason, length));
}

/// The user's texts and groups.
#[inline(never)]
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
    let texts = later(later(layout.attributes_verb, layout.attributes_subresource), layout.attributes_name);
    later(texts, layout.attributes_user) + 16
}

#[inline(always)]
fn end_of_user(layout: &Layout) -> u32 {
    later(later(layout.user_name, layout.user_uid), later(layout.user_groups, layout.user_extra)) + 16
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
