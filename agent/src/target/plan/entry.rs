//! Sites *request* and *end*: the first `push` of a function, after its stack check.
//!
//! Arguments are still in their registers there, and a stack that grows does not come by twice: it jumps back to before the check.

use iced_x86::{Code, Mnemonic, OpKind, Register};

use super::{
    Doubt,
    body::{Body, plain_memory, writes},
};

/// What may happen before the push: the stack check may use R12 and R13 only, everything else belongs to the caller.
const SCRATCH: [Register; 2] = [Register::R12, Register::R13];
const GENERAL: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
/// `g.stackguard0`
const STACK_GUARD: i64 = 0x10;

/// The index of the first push, if only a stack check comes before it.
pub(super) fn first_push(body: &Body<'_>) -> Result<usize, Doubt> {
    let all = body.instructions();
    let missing = || Doubt::at("no `push rbp` at the beginning", body.address());
    let push = all.iter().position(|i| i.mnemonic() == Mnemonic::Push).ok_or_else(missing)?;
    if all[push].code() != Code::Push_r64 || all[push].op0_register() != Register::RBP {
        return Err(missing());
    }
    let before = &all[..push];
    let compared = |i: &iced_x86::Instruction| {
        i.mnemonic() == Mnemonic::Cmp && i.op1_kind() == OpKind::Memory && plain_memory(i) == Some((Register::R14, STACK_GUARD))
    };
    let checked = before.windows(2).any(|pair| compared(&pair[0]) && pair[1].mnemonic() == Mnemonic::Jbe);
    if !checked {
        return Err(Doubt::at("no stack check before the first `push`", all[push].ip()));
    }
    let leaves = |i: &iced_x86::Instruction| !i.is_jcc_short_or_near() && i.flow_control() != iced_x86::FlowControl::Next;
    let spoils = |i: &iced_x86::Instruction| GENERAL.iter().any(|r| !SCRATCH.contains(r) && writes(i, *r));
    if let Some(strange) = before.iter().find(|i| leaves(i) || spoils(i)) {
        return Err(Doubt::at("an instruction before the first `push` that is not part of a stack check", strange.ip()));
    }
    if body.is_entered(1..=push) {
        return Err(Doubt::at("a branch leads past the stack check", all[push].ip()));
    }
    Ok(push)
}
