//! Site *check*: the conditional jump right after the call of `Authorize`, where its results are still in their registers.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::{
    Attributes, Doubt, Place,
    body::{Body, copy, load, plain_memory, store, writes},
};

/// `Authorize` takes five words in registers, and may store them at the bottom of its caller's frame.
const SPILL_AREA: i64 = 5 * 8;

/// The index of the jump, and where `attr` is. `slot` is the offset of `Authorize` in the itab.
pub(super) fn find(body: &Body<'_>, slot: u64, spill: Result<Attributes, Doubt>) -> Result<(usize, Attributes), Doubt> {
    let mut calls = (0..body.instructions().len()).filter_map(|index| after_call(body, index, slot).map(|jump| (index, jump)));
    let missing = || Doubt::at("no call through Authorize's slot that is followed by a test of its error", body.address());
    let (call, jump) = calls.next().ok_or_else(missing)?;
    if let Some((other, _)) = calls.next() {
        return Err(Doubt::at("a second call that may be Authorize", body.instructions()[other].ip()));
    }
    let attributes = match frame_slots(body, call)? {
        Some(slots) => slots,
        None => spill?,
    };
    Ok((jump, attributes))
}

/// Where the wrapper `(*KubeletAuth).Authorize` stores `attr`, as seen by its caller after the return.
pub(super) fn spill(wrapper: &Body<'_>) -> Result<Attributes, Doubt> {
    // How far SP is below where it was at the entry, where it pointed to the return address.
    let mut depth = 0;
    let (mut itab, mut data) = (None, None);
    let is_frame = |i: &Instruction| matches!(i.code(), Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32) && i.op0_register() == Register::RSP;
    for i in wrapper.instructions() {
        if i.mnemonic() == Mnemonic::Call || i.is_jmp_near_indirect() || i.mnemonic() == Mnemonic::Ret {
            break;
        }
        match (store(i), i.mnemonic()) {
            (Some((Register::RSP, at, Register::RDI)), _) => itab = itab.or(Some(at - depth)),
            (Some((Register::RSP, at, Register::RSI)), _) => data = data.or(Some(at - depth)),
            (_, Mnemonic::Push) => depth += 8,
            (_, Mnemonic::Sub) if is_frame(i) => depth += i.immediate(1).cast_signed(),
            _ if (itab.is_none() && writes(i, Register::RDI)) || (data.is_none() && writes(i, Register::RSI)) => break,
            _ if writes(i, Register::RSP) => break,
            _ => {}
        }
    }
    // The return has popped its address.
    let seen = |at: Option<i64>| at.map(|at| at - 8).filter(|at| (0..SPILL_AREA).contains(at)).and_then(|at| i32::try_from(at).ok());
    match (seen(itab), seen(data)) {
        (Some(itab), Some(data)) if data == itab + 8 && itab % 8 == 0 => Ok(Attributes { itab, data, place: Place::Spill }),
        _ => Err(Doubt::at("(*KubeletAuth).Authorize does not store its attributes above its return address", wrapper.address())),
    }
}

/// If the instruction is a call of a method in that slot, and then, after nops, `test rdi, rdi` and `jne` follow: the index of the jump.
fn after_call(body: &Body<'_>, index: usize, slot: u64) -> Option<usize> {
    let call = &body.instructions()[index];
    if call.code() != Code::Call_rm64 || call.op0_kind() != OpKind::Register {
        return None;
    }
    let test = body.skip_nops(index + 1)?;
    let is_test = |i: &Instruction| {
        i.code() == Code::Test_rm64_r64 && i.op0_kind() == OpKind::Register && [i.op0_register(), i.op1_register()] == [Register::RDI; 2]
    };
    let jump = body.skip_nops(test + 1)?;
    let jne = &body.instructions()[jump];
    if !is_test(&body.instructions()[test]) || jne.mnemonic() != Mnemonic::Jne || !jne.is_jcc_short_or_near() {
        return None;
    }
    let loaded = method_load(body, call.op0_register(), index, slot)?;
    (!body.is_entered(loaded + 1..=jump)).then_some(jump)
}

/// The index of the load of a method from an itab's slot, following copies from register to register.
fn method_load(body: &Body<'_>, mut register: Register, mut before: usize, slot: u64) -> Option<usize> {
    loop {
        let (at, writer) = body.last_write(register, before)?;
        if let Some((_, from)) = copy(writer) {
            (register, before) = (from, at);
            continue;
        }
        let (base, displacement) = load(writer)?;
        let from_itab = base.is_gpr64() && base != Register::RSP && displacement.cast_unsigned() == slot;
        return from_itab.then_some(at);
    }
}

/// The slots that RDI and RSI were loaded from before the call, if both were loaded from the frame.
fn frame_slots(body: &Body<'_>, call: usize) -> Result<Option<Attributes>, Doubt> {
    let loaded = |register| {
        let (at, writer) = body.last_write(register, call)?;
        let (base, displacement) = load(writer)?;
        (base == Register::RSP).then_some((at, displacement))
    };
    let (Some((itab_at, itab)), Some((data_at, data))) = (loaded(Register::RDI), loaded(Register::RSI)) else { return Ok(None) };
    let since = &body.instructions()[itab_at.min(data_at)..call];
    let ip = body.instructions()[call].ip();
    if since.iter().any(|i| writes(i, Register::RSP) || overwrites(i, itab) || overwrites(i, data)) {
        return Err(Doubt::at("the stack slots of the attributes change before the call", ip));
    }
    let slot = |at: i64| i32::try_from(at).ok().filter(|_| at >= SPILL_AREA && at % 8 == 0);
    match (slot(itab), slot(data)) {
        (Some(itab), Some(data)) if itab != data => Ok(Some(Attributes { itab, data, place: Place::Frame })),
        _ => Err(Doubt::at("the stack slots of the attributes are not in the caller's own frame", ip)),
    }
}

/// Whether an instruction may write the word at `[rsp + slot]`.
fn overwrites(instruction: &Instruction, slot: i64) -> bool {
    instruction.op0_kind() == OpKind::Memory
        && !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
        && plain_memory(instruction).is_none_or(|(base, at)| base == Register::RSP && at > slot - 64 && at < slot + 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::x86::listing::{BASE, assemble};

    /// As in 1.36.3.
    const FILTER: &str = "
        4c8b4210 mov r8, [rdx+0x10]
        488b4218 mov rax, [rdx+0x18]
        498b5028 mov rdx, [r8+0x28]
        488bbc2488000000 mov rdi, [rsp+0x88]
        488bb424e8000000 mov rsi, [rsp+0xe8]
        ffd2 call rdx
        6690 xchg ax, ax
        4885ff test rdi, rdi
        7500 jne
        c3 ret";
    const LOAD: &str = "498b5028 mov rdx, [r8+0x28]";
    const ITAB: &str = "488bbc2488000000 mov rdi, [rsp+0x88]";
    const DATA: &str = "488bb424e8000000 mov rsi, [rsp+0xe8]";
    const FRAME: Attributes = Attributes { itab: 0x88, data: 0xe8, place: Place::Frame };
    const SPILL: Attributes = Attributes { itab: 0x18, data: 0x20, place: Place::Spill };

    /// The address of the jump and the place of the attributes, in a function of that listing.
    fn found(listing: &str, spill: Result<Attributes, Doubt>) -> Result<(u64, Attributes), String> {
        let bytes = assemble(listing);
        let body = Body::decode(BASE, &bytes).map_err(|doubt| doubt.to_string())?;
        let (jump, attributes) = find(&body, 0x28, spill).map_err(|doubt| doubt.to_string())?;
        Ok((body.instructions()[jump].ip(), attributes))
    }

    #[test]
    fn the_jump_after_the_call_is_found() {
        let jump_after = |size: u64| BASE + size;
        for (what, from, to, size, attributes) in [
            ("as it is", LOAD, LOAD.to_owned(), 35, FRAME),
            ("copied before the call", LOAD, "498b7028 mov rsi, [r8+0x28]\n4889f2 mov rdx, rsi".to_owned(), 38, FRAME),
            ("no nop", "6690 xchg ax, ax", String::new(), 33, FRAME),
            ("long nop", "6690 xchg ax, ax", "0f1f440000 nop".to_owned(), 38, FRAME),
            ("itab from a register", ITAB, "4889c7 mov rdi, rax".to_owned(), 30, SPILL),
            ("data from a register", DATA, "4889de mov rsi, rbx".to_owned(), 30, SPILL),
            ("a branch to the load", "4c8b4210", "7508 jne\n4c8b4210".to_owned(), 37, FRAME),
        ] {
            assert_eq!(found(&FILTER.replace(from, &to), Ok(SPILL)), Ok((jump_after(size), attributes)), "{what}");
        }
    }

    #[test]
    fn doubt_is_named() {
        let no_call = "no call through Authorize's slot";
        for (what, from, to, doubt) in [
            ("another slot", LOAD, "498b5020 mov rdx, [r8+0x20]".to_owned(), no_call),
            ("not an itab", LOAD, "488b542428 mov rdx, [rsp+0x28]".to_owned(), no_call),
            ("another result tested", "4885ff test rdi, rdi", "4885f6 test rsi, rsi".to_owned(), no_call),
            ("the opposite jump", "7500 jne", "7400 je".to_owned(), no_call),
            ("a tail jump", "ffd2 call rdx", "ffe2 jmp rdx".to_owned(), no_call),
            ("the method replaced", ITAB, format!("4889c2 mov rdx, rax\n{ITAB}"), no_call),
            ("another call between", ITAB, format!("e800000000 call\n{ITAB}"), no_call),
            ("work between call and test", "6690 xchg ax, ax", "4889de mov rsi, rbx".to_owned(), no_call),
            ("a branch to the call", "4c8b4210", "751c jne\n4c8b4210".to_owned(), no_call),
            ("a branch to the jump", "4c8b4210", "7523 jne\n4c8b4210".to_owned(), no_call),
            (
                "a branch into an instruction",
                "4c8b4210",
                "751d jne\n4c8b4210".to_owned(),
                "a branch into the middle of an instruction at 0x101f",
            ),
            ("two candidates", "c3 ret", FILTER.to_owned(), "a second call that may be Authorize at 0x1041"),
            ("a slot written", DATA, format!("{DATA}\n4889842488000000 mov [rsp+0x88], rax"), "change before the call"),
            ("a slot half written", DATA, format!("{DATA}\n48898424f0000000 mov [rsp+0xf0], rax"), ""),
            ("a slot that the callee may write", ITAB, "488b7c2420 mov rdi, [rsp+0x20]".to_owned(), "not in the caller's own frame"),
            ("one slot for both words", DATA, "488bb42488000000 mov rsi, [rsp+0x88]".to_owned(), "not in the caller's own frame"),
        ] {
            let result = found(&FILTER.replace(from, &to), Ok(SPILL));
            match doubt {
                // A neighbour of the slot is none of our business.
                "" => assert!(result.is_ok(), "{what}: {result:?}"),
                _ => assert!(result.as_ref().is_err_and(|said| said.contains(doubt)), "{what}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_wrapper_without_spills_matters_only_where_they_are_needed() {
        let none = || Err(Doubt::at("no spills", 7));
        assert_eq!(found(FILTER, none()).map(|(_, attributes)| attributes), Ok(FRAME));
        assert_eq!(found(&FILTER.replace(DATA, "4889de mov rsi, rbx"), none()), Err("no spills at 0x7".to_owned()));
    }

    #[test]
    fn the_wrapper_tells_where_it_spills() {
        let framed = "
            493b6610 cmp rsp, [r14+0x10]
            7600 jbe
            55 push rbp
            4889e5 mov rbp, rsp
            4883ec28 sub rsp, 0x28
            48895c2440 mov [rsp+0x40], rbx
            48894c2448 mov [rsp+0x48], rcx
            48897c2450 mov [rsp+0x50], rdi
            4889742458 mov [rsp+0x58], rsi
            488b5020 mov rdx, [rax+0x20]
            ffd2 call rdx
            c3 ret";
        let jumping = "
            48895c2410 mov [rsp+0x10], rbx
            48894c2418 mov [rsp+0x18], rcx
            48897c2420 mov [rsp+0x20], rdi
            4889742428 mov [rsp+0x28], rsi
            488b5020 mov rdx, [rax+0x20]
            ffe2 jmp rdx";
        let spilled = |listing: &str| spill(&Body::decode(BASE, &assemble(listing)).expect("code")).ok();
        assert_eq!(spilled(framed), Some(SPILL));
        assert_eq!(spilled(jumping), Some(SPILL));
        for (what, from, to) in [
            ("no data", "4889742428 mov [rsp+0x28], rsi", ""),
            ("itab replaced", "48897c2420", "4889f7 mov rdi, rsi\n48897c2420"),
            ("stored after the jump", "48895c2410 mov [rsp+0x10], rbx", "ffe2 jmp rdx"),
            ("below the return address", "4889742428 mov [rsp+0x28], rsi", "48897424d8 mov [rsp-0x28], rsi"),
            ("a frame of unknown size", "48895c2410 mov [rsp+0x10], rbx", "4829c4 sub rsp, rax"),
            ("another order", "4889742428 mov [rsp+0x28], rsi", "4889742410 mov [rsp+0x10], rsi"),
        ] {
            assert_eq!(spilled(&jumping.replace(from, to)), None, "{what}");
        }
    }
}
