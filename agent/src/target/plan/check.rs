//! Site *check*: the conditional jump right after the call of `Authorize`, where its results are still in their registers.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::{
    Doubt,
    body::{Body, copy, load, plain_memory, store, writes},
};

/// Where the two words of `attr` are at the site, in bytes from SP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The itab.
    pub itab: i32,
    /// The data.
    pub data: i32,
    /// Whose memory it is.
    pub place: Place,
}

/// Whose memory `attr` is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Slots of the caller's frame, from which the arguments were loaded.
    Frame,
    /// Above the return address, where `(*KubeletAuth).Authorize` stored its arguments.
    Spill,
}

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
    for i in wrapper.instructions() {
        if i.mnemonic() == Mnemonic::Call || i.is_jmp_near_indirect() || i.mnemonic() == Mnemonic::Ret {
            break;
        }
        match (store(i), i.mnemonic()) {
            (Some((Register::RSP, at, Register::RDI)), _) => itab = itab.or(Some(at - depth)),
            (Some((Register::RSP, at, Register::RSI)), _) => data = data.or(Some(at - depth)),
            (_, Mnemonic::Push) => depth += 8,
            (_, Mnemonic::Sub) if i.op0_register() == Register::RSP => depth += i.immediate(1).cast_signed(),
            _ if (itab.is_none() && writes(i, Register::RDI)) || (data.is_none() && writes(i, Register::RSI)) => break,
            _ if writes(i, Register::RSP) => break,
            _ => {}
        }
    }
    // The return has popped its address.
    let seen = |at: Option<i64>| at.map(|at| at - 8).filter(|at| (0..SPILL_AREA).contains(at)).and_then(|at| i32::try_from(at).ok());
    match (seen(itab), seen(data)) {
        (Some(itab), Some(data)) if data == itab + 8 => Ok(Attributes { itab, data, place: Place::Spill }),
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
