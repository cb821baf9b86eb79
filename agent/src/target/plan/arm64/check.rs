//! Site *check*: the `cbnz` right after the call of `Authorize`, where its results are still in their registers.

use super::{
    super::{Attributes, Doubt, Place},
    body::Body,
    instruction::{Branch, Instruction, X},
};

/// The two words of `attr` as an argument of `Authorize`; afterwards, of its error.
const ITAB: X = X(3);
const DATA: X = X(4);
/// The bottom of a frame: where a callee keeps its return address, then five words that `Authorize` may store its arguments to.
const SPILL_AREA: std::ops::Range<i64> = 8..8 + 5 * 8;

/// The index of the branch, and where `attr` is. `slot` is the offset of `Authorize` in the itab.
pub(super) fn find(body: &Body, slot: u64, spill: Result<Attributes, Doubt>) -> Result<(usize, Attributes), Doubt> {
    let mut calls = (0..body.instructions().len()).filter_map(|index| after_call(body, index, slot).map(|branch| (index, branch)));
    let missing = || Doubt::at("no call through Authorize's slot that is followed by a test of its error", body.address());
    let (call, branch) = calls.next().ok_or_else(missing)?;
    if let Some((other, _)) = calls.next() {
        return Err(Doubt::at("a second call that may be Authorize", body.address_of(other)));
    }
    let attributes = match frame_slots(body, call)? {
        Some(slots) => slots,
        None => spill?,
    };
    Ok((branch, attributes))
}

/// Where the wrapper `(*KubeletAuth).Authorize` stores `attr`, as seen by its caller after the return.
pub(super) fn spill(wrapper: &Body) -> Result<Attributes, Doubt> {
    // How far SP is below where it was at the entry, and a register that holds what SP will be.
    let mut depth = 0;
    let mut fresh = None;
    let (mut itab, mut data) = (None, None);
    for i in wrapper.instructions() {
        match i {
            Instruction::Memory(a) if !a.is_load && a.base == X::SP && a.words().next().is_some() => {
                for (register, at) in a.words() {
                    match register {
                        ITAB => itab = itab.or(Some(at - depth)),
                        DATA => data = data.or(Some(at - depth)),
                        _ => {}
                    }
                }
            }
            Instruction::Memory(a) if !a.is_load && a.base == X::SP && a.writeback.is_some() && a.offset != Some(0) => {
                depth -= a.writeback.unwrap_or_default();
            }
            Instruction::Add { to: X::SP, from: X::SP, value } => depth -= value,
            Instruction::Add { to: X::SP, from, value: 0 } if fresh.is_some_and(|(register, _)| register == *from) => {
                depth = fresh.map_or(depth, |(_, depth)| depth);
            }
            Instruction::Add { to, from: X::SP, value } if *to != ITAB && *to != DATA => fresh = Some((*to, depth - value)),
            Instruction::Branch(Branch::If(_), _) => {}
            // A wrapper looks whether it is called by a panic, and comes back if it is.
            Instruction::Branch(Branch::NotZero(register), _) if *register != ITAB && *register != DATA => {}
            _ if !i.is_straight() || i.writes(X::SP) => break,
            _ if (itab.is_none() && i.writes(ITAB)) || (data.is_none() && i.writes(DATA)) => break,
            _ => {
                fresh = fresh.filter(|(register, _)| !i.writes(*register));
            }
        }
    }
    let seen = |at: Option<i64>| at.filter(|at| SPILL_AREA.contains(at)).and_then(|at| i32::try_from(at).ok());
    match (seen(itab), seen(data)) {
        (Some(itab), Some(data)) if data == itab + 8 && itab % 8 == 0 => Ok(Attributes { itab, data, place: Place::Spill }),
        _ => Err(Doubt::at("(*KubeletAuth).Authorize does not store its attributes in its caller's frame", wrapper.address())),
    }
}

/// If the instruction is a call of a method in that slot, and then, after nops, `cbnz x3` follows: the index of that.
fn after_call(body: &Body, index: usize, slot: u64) -> Option<usize> {
    let Instruction::CallRegister(called) = body.instructions()[index] else { return None };
    let branch = body.skip_nops(index + 1)?;
    if !matches!(body.instructions()[branch], Instruction::Branch(Branch::NotZero(ITAB), _)) {
        return None;
    }
    let loaded = method_load(body, called, index, slot)?;
    (!body.is_entered(loaded + 1..=branch)).then_some(branch)
}

/// The index of the load of a method from an itab's slot, following copies from register to register.
fn method_load(body: &Body, mut register: X, mut before: usize, slot: u64) -> Option<usize> {
    loop {
        let (at, writer) = body.last_write(register, before)?;
        if let Instruction::Copy { from, .. } = writer {
            (register, before) = (*from, at);
            continue;
        }
        let (base, offset) = loaded(writer, register)?;
        return (base != X::SP && offset.cast_unsigned() == slot).then_some(at);
    }
}

/// The base and the offset that an instruction loads a register from.
fn loaded(instruction: &Instruction, register: X) -> Option<(X, i64)> {
    let Instruction::Memory(access) = instruction else { return None };
    let word = access.words().find(|(loaded, _)| *loaded == register).filter(|_| access.is_load);
    word.map(|(_, offset)| (access.base, offset))
}

/// The slots that the two words were loaded from before the call, if both were loaded from the frame.
fn frame_slots(body: &Body, call: usize) -> Result<Option<Attributes>, Doubt> {
    let from_frame = |register| {
        let (at, writer) = body.last_write(register, call)?;
        loaded(writer, register).filter(|(base, _)| *base == X::SP).map(|(_, offset)| (at, offset))
    };
    let (Some((itab_at, itab)), Some((data_at, data))) = (from_frame(ITAB), from_frame(DATA)) else { return Ok(None) };
    let since = &body.instructions()[itab_at.min(data_at)..call];
    if since.iter().any(|i| i.writes(X::SP) || i.stores_at(itab, 8) || i.stores_at(data, 8)) {
        return Err(Doubt::at("the stack slots of the attributes change before the call", body.address_of(call)));
    }
    let slot = |at: i64| i32::try_from(at).ok().filter(|_| at >= SPILL_AREA.end && at % 8 == 0);
    match (slot(itab), slot(data)) {
        (Some(itab), Some(data)) if itab != data => Ok(Some(Attributes { itab, data, place: Place::Frame })),
        _ => Err(Doubt::at("the stack slots of the attributes are not in the caller's own frame", body.address_of(call))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::arm64::listing::{BASE, assemble};

    /// As in 1.36.3.
    const FILTER: &str = "
        f9406fe5 ldr x5, [sp, #0xd8]
        a94100a5 ldp x5, x0, [x5, #0x10]
        f94014a5 ldr x5, [x5, #0x28]
        aa0603e1 mov x1, x6
        aa0703e2 mov x2, x7
        f9404fe3 ldr x3, [sp, #0x98]
        f9407fe4 ldr x4, [sp, #0xf8]
        d63f00a0 blr x5
        b5000043 cbnz x3
        d503201f nop
        d65f03c0 br";
    const LOAD: &str = "f94014a5 ldr x5, [x5, #0x28]";
    const ITAB: &str = "f9404fe3 ldr x3, [sp, #0x98]";
    const DATA: &str = "f9407fe4 ldr x4, [sp, #0xf8]";
    const CALL: &str = "d63f00a0 blr x5";
    const TEST: &str = "b5000043 cbnz x3";
    const FRAME: Attributes = Attributes { itab: 0x98, data: 0xf8, place: Place::Frame };
    const SPILL: Attributes = Attributes { itab: 0x20, data: 0x28, place: Place::Spill };

    /// The address of the branch and the place of the attributes, in a function of that listing.
    fn found(listing: &str, spill: Result<Attributes, Doubt>) -> Result<(u64, Attributes), String> {
        let body = Body::decode(BASE, &assemble(listing)).map_err(|doubt| doubt.to_string())?;
        let (branch, attributes) = find(&body, 0x28, spill).map_err(|doubt| doubt.to_string())?;
        Ok((body.address_of(branch), attributes))
    }

    #[test]
    fn the_branch_after_the_call_is_found() {
        for (what, from, to, index, attributes) in [
            ("as it is", LOAD, LOAD.to_owned(), 8, FRAME),
            ("copied before the call", LOAD, "f94014a6 ldr x6, [x5, #0x28]\naa0603e5 mov x5, x6".to_owned(), 9, FRAME),
            ("a nop", CALL, format!("{CALL}\nd503201f nop"), 9, FRAME),
            ("both words at once", ITAB, "a94993e3 ldp x3, x4, [sp, #0x98]".to_owned(), 8, FRAME),
            ("itab from a register", ITAB, "aa0003e3 mov x3, x0".to_owned(), 8, SPILL),
            ("data from a register", DATA, "aa0103e4 mov x4, x1".to_owned(), 8, SPILL),
            ("data from elsewhere", DATA, "f9400c04 ldr x4, [x0, #0x18]".to_owned(), 8, SPILL),
            ("a branch to the load", "f9406fe5", "b5000041 cbnz x1\nf9406fe5".to_owned(), 9, FRAME),
        ] {
            let listing = FILTER.replace(from, &to);
            assert_eq!(found(&listing, Ok(SPILL)), Ok((BASE + 4 * index, attributes)), "{what}");
        }
        let pair = FILTER.replace(ITAB, "").replace(DATA, "a94993e3 ldp x3, x4, [sp, #0x98]");
        assert_eq!(found(&pair, Ok(SPILL)), Ok((BASE + 28, Attributes { data: 0xa0, ..FRAME })));
    }

    #[test]
    fn doubt_is_named() {
        let no_call = "no call through Authorize's slot";
        for (what, from, to, doubt) in [
            ("another slot", LOAD, "f94010a5 ldr x5, [x5, #0x20]".to_owned(), no_call),
            ("not an itab", LOAD, "f94017e5 ldr x5, [sp, #0x28]".to_owned(), no_call),
            ("another result tested", TEST, "b5000042 cbnz x2".to_owned(), no_call),
            ("half of the result tested", TEST, "35000043 tb".to_owned(), no_call),
            ("the opposite branch", TEST, "b4000043 cbz x3".to_owned(), no_call),
            ("a tail jump", CALL, "d65f00a0 br".to_owned(), no_call),
            ("the method replaced", ITAB, format!("aa0003e5 mov x5, x0\n{ITAB}"), no_call),
            ("the method perhaps replaced", ITAB, format!("9e660005 .inst 0x9e660005\n{ITAB}"), no_call),
            ("another call between", ITAB, format!("94000000 bl\n{ITAB}"), no_call),
            ("work between call and test", CALL, format!("{CALL}\naa0003e1 mov x1, x0"), no_call),
            ("a branch to the call", "f9406fe5", "b5000101 cbnz x1\nf9406fe5".to_owned(), no_call),
            ("a branch to the test", "f9406fe5", "b5000121 cbnz x1\nf9406fe5".to_owned(), no_call),
            ("two candidates", "d65f03c0 br", FILTER.to_owned(), "a second call that may be Authorize at 0x1044"),
            ("a slot written", DATA, format!("{DATA}\nf9004fe0 str x0, [sp, #0x98]"), "change before the call"),
            ("a slot written by a pair", DATA, format!("{DATA}\na90903e0 stp x0, x0, [sp, #0x90]"), "change before the call"),
            ("a slot perhaps written", DATA, format!("{DATA}\nf82a6beb str x11, [sp, …]"), "change before the call"),
            ("a neighbour written", DATA, format!("{DATA}\nf90053e0 str x0, [sp, #0xa0]"), ""),
            ("a slot that the callee may write", ITAB, "f94017e3 ldr x3, [sp, #0x28]".to_owned(), "not in the caller's own frame"),
            ("one slot for both words", DATA, "f9404fe4 ldr x4, [sp, #0x98]".to_owned(), "not in the caller's own frame"),
        ] {
            let result = found(&FILTER.replacen(from, &to, 1), Ok(SPILL));
            match doubt {
                "" => assert!(result.is_ok(), "{what}: {result:?}"),
                _ => assert!(result.as_ref().is_err_and(|said| said.contains(doubt)), "{what}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_wrapper_without_spills_matters_only_where_they_are_needed() {
        let none = || Err(Doubt::at("no spills", 7));
        assert_eq!(found(FILTER, none()).map(|(_, attributes)| attributes), Ok(FRAME));
        assert_eq!(found(&FILTER.replace(DATA, "aa0103e4 mov x4, x1"), none()), Err("no spills at 0x7".to_owned()));
    }

    #[test]
    fn the_wrapper_tells_where_it_spills() {
        let framed = "
            f9400b90 ldr x16, [x28, #0x10]
            eb3063ff cmp sp, x16
            540001c9 b.ls
            f81c0ffe str x30, [sp, #-64]!
            f81f83fd str x29, [sp, #0xfffffffffffffff8]
            d10023fd sub x29, sp, #0x8
            f9401390 ldr x16, [x28, #0x20]
            b5000330 cbnz x16
            f9002be1 str x1, [sp, #0x50]
            f9002fe2 str x2, [sp, #0x58]
            f90033e3 str x3, [sp, #0x60]
            f90037e4 str x4, [sp, #0x68]
            d63f00a0 blr x5";
        let large = framed.replace("f81c0ffe str x30, [sp, #-64]!", "d10103f4 sub x20, sp, #0x40\n9100029f add sp, x20, #0x0");
        let jumping = "
            f9000be1 str x1, [sp, #0x10]
            f90013e3 str x3, [sp, #0x20]
            f90017e4 str x4, [sp, #0x28]
            a9420005 ldp x5, x0, [x0, #0x20]
            d65f00a0 br";
        let spilled = |listing: &str| spill(&Body::decode(BASE, &assemble(listing)).expect("code")).ok();
        assert_eq!(spilled(framed), Some(SPILL));
        assert_eq!(spilled(&large), Some(SPILL));
        assert_eq!(spilled(jumping), Some(SPILL));
        assert_eq!(spilled("a90213e3 stp x3, x4, [sp, #0x20]\nd65f00a0 br"), Some(SPILL));
        for (what, from, to) in [
            ("no data", "f90017e4 str x4, [sp, #0x28]", ""),
            ("itab replaced", "f90013e3", "aa0403e3 mov x3, x4\nf90013e3"),
            ("stored after the jump", "f9000be1 str x1, [sp, #0x10]", "d65f00a0 br"),
            ("stored after a call", "f9000be1 str x1, [sp, #0x10]", "94000000 bl"),
            ("below the frame", "f90017e4 str x4, [sp, #0x28]", "f81f83e4 str x4, [sp, #0xfffffffffffffff8]"),
            ("a frame of unknown size", "f9000be1 str x1, [sp, #0x10]", "9100029f add sp, x20, #0x0"),
            ("a branch on what is to be stored", "f9000be1 str x1, [sp, #0x10]", "b5000323 cbnz x3"),
            ("half a word", "f90017e4 str x4, [sp, #0x28]", "b9002be4 strw x4, [sp, #0x28]"),
            ("another order", "f90017e4 str x4, [sp, #0x28]", "f9000fe4 str x4, [sp, #0x18]"),
        ] {
            assert_eq!(spilled(&jumping.replace(from, to)), None, "{what}");
        }
    }
}
