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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::x86::listing::{BASE, assemble};

    /// A function with a large frame; with a small one SP itself is compared.
    const LARGE: &str = "
        4c8da424e8feffff lea r12, [rsp-0x118]
        4d3b6610 cmp r12, [r14+0x10]
        7608 jbe
        55 push rbp
        4889e5 mov rbp, rsp
        488b5808 mov rbx, [rax+8]
        e8fbffffff call
        ebe3 jmp";
    const LEA: &str = "4c8da424e8feffff lea r12, [rsp-0x118]";
    const CMP: &str = "4d3b6610 cmp r12, [r14+0x10]";

    fn found(listing: &str) -> Result<u64, String> {
        let bytes = assemble(listing);
        let body = Body::decode(BASE, &bytes).map_err(|doubt| doubt.to_string())?;
        first_push(&body).map(|index| body.instructions()[index].ip()).map_err(|doubt| doubt.to_string())
    }

    #[test]
    fn the_first_push_after_the_stack_check_is_found() {
        assert_eq!(found(LARGE), Ok(BASE + 14));
        let small = LARGE.replace(LEA, "").replace(CMP, "493b6610 cmp rsp, [r14+0x10]").replace("ebe3", "ebeb");
        assert_eq!(found(&small), Ok(BASE + 6));
    }

    #[test]
    fn doubt_is_named() {
        for (what, from, to, doubt) in [
            ("no push", "55 push rbp", "90 nop", "no `push rbp`"),
            ("another push", "55 push rbp", "53 push rbx", "no `push rbp`"),
            ("no check", CMP, "4d3b6618 cmp r12, [r14+0x18]", "no stack check"),
            ("check without a jump", "7608 jbe", "6690 xchg ax, ax", "no stack check"),
            ("an argument changed", LEA, "488da424e8feffff lea rsp, [rsp-0x118]", "not part of a stack check"),
            ("a call before", LEA, "e800000000 call\n0f1f00 nop", "not part of a stack check"),
            ("a branch to the push", "ebe3 jmp", "ebf1 jmp", "a branch leads past the stack check"),
            ("a branch to the check", "ebe3 jmp", "ebeb jmp", "a branch leads past the stack check"),
        ] {
            let result = found(&LARGE.replace(from, to));
            assert!(result.as_ref().is_err_and(|said| said.contains(doubt)), "{what}: {result:?}");
        }
    }
}
