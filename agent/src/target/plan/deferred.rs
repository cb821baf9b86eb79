//! Whether a deferred call is the one that runs last.
//!
//! The compiler keeps a byte of bits in the frame, one for each `defer` of the function in their order; on the way out, or on a panic,
//! they run from the highest to the lowest (`cmd/compile/internal/ssagen`, open-coded defers). So the one that sets bit 0 runs last.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::{
    Doubt,
    body::{Body, plain_memory},
};

/// Checks that `function` takes the address of `deferred` once, and then sets the defer bits from none to the lowest.
pub(super) fn runs_last(function: &Body<'_>, deferred: u64) -> Result<(), Doubt> {
    let all = function.instructions();
    let takes_it = |i: &Instruction| i.mnemonic() == Mnemonic::Lea && i.is_ip_rel_memory_operand() && i.ip_rel_memory_address() == deferred;
    let mut places = all.iter().enumerate().filter(|(_, i)| takes_it(i)).map(|(index, _)| index);
    let (Some(taken), None) = (places.next(), places.next()) else {
        return Err(Doubt::at("the deferred call is not registered exactly once", function.address()));
    };
    let doubt = Doubt::at("the deferred call is not the first one, so it does not run last", all[taken].ip());
    let (place, bits) = all[taken..].iter().find_map(frame_byte).ok_or(doubt.clone())?;
    let mut before = all[..taken].iter().filter_map(frame_byte).filter(|(at, _)| *at == place).peekable();
    let starts_empty = before.peek().is_some() && before.all(|(_, bits)| bits == 0);
    if bits == 1 && starts_empty { Ok(()) } else { Err(doubt) }
}

/// `mov byte [rsp + place], value`
fn frame_byte(instruction: &Instruction) -> Option<(i64, u64)> {
    let is_it = instruction.code() == Code::Mov_rm8_imm8 && instruction.op0_kind() == OpKind::Memory;
    let (base, place) = is_it.then(|| plain_memory(instruction))??;
    (base == Register::RSP).then(|| (place, instruction.immediate(1)))
}
