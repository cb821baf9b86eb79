//! Sites in x86-64 code.

mod answer;
mod body;
mod check;
mod deferred;
mod entry;
#[cfg(test)]
mod listing;
mod panicking;

use kubewitness_wire::Register;

use super::{
    Attributes, Doubt, Place,
    machine::{Landing, Machine},
};
use crate::gobin::Function;
use body::Body;

/// The instructions of x86-64.
pub(super) struct X86;

impl Machine for X86 {
    fn entry(&self, function: &Function<'_>) -> Result<Landing, Doubt> {
        let body = decode(function)?;
        let why =
            "the first push after the stack check: the arguments are still in their registers, and a growing stack does not hit it twice";
        landing(&body, entry::first_push(&body)?, why.to_owned())
    }

    fn check(&self, filter: &Function<'_>, slot: u64, wrapper: &Function<'_>) -> Result<(Landing, Attributes), Doubt> {
        let body = decode(filter)?;
        let (jump, attributes) = check::find(&body, slot, decode(wrapper).and_then(|wrapper| check::spill(&wrapper)))?;
        let why = format!(
            "the jump after the only call through itab slot {slot:#x}, which is Authorize, and the test of its error: \
             the results are in RAX, RBX, RCX, RDI, RSI, the attributes at [rsp+{:#x}] and [rsp+{:#x}], {}",
            attributes.itab,
            attributes.data,
            attributes.place.proof()
        );
        Ok((landing(&body, jump, why)?, attributes))
    }

    fn answer(&self, function: &Function<'_>) -> Result<(Landing, Register), Doubt> {
        let body = decode(function)?;
        let (jump, register) = answer::find(&body)?;
        let register = wire_register(register).ok_or(Doubt::at("the status is in no general register", body.address()))?;
        let why = format!("the jump after the comparison of {register:?} with 101, before that with 400: it holds the runtime's status");
        Ok((landing(&body, jump, why)?, register))
    }

    fn runs_last(&self, function: &Function<'_>, deferred: u64) -> Result<(), Doubt> {
        deferred::runs_last(&decode(function)?, deferred)
    }

    fn is_wrapper(&self, function: &Function<'_>, panicking: u32) -> bool {
        decode(function).is_ok_and(|body| deferred::is_wrapper(&body, panicking))
    }

    fn panicking(&self, recover: &Function<'_>) -> Result<u32, Doubt> {
        panicking::find(&decode(recover)?)
    }

    fn addresses(&self, function: &Function<'_>) -> Vec<u64> {
        let Ok(body) = decode(function) else { return Vec::new() };
        let named = body.instructions().iter().filter(|i| i.is_ip_rel_memory_operand());
        named.map(iced_x86::Instruction::ip_rel_memory_address).collect()
    }
}

fn decode<'a>(function: &Function<'a>) -> Result<Body<'a>, Doubt> {
    Body::decode(function.address, function.bytes)
}

fn landing(body: &Body<'_>, index: usize, why: String) -> Result<Landing, Doubt> {
    let instruction = &body.instructions()[index];
    let bytes = body.bytes_of(instruction).to_vec();
    if !is_emulated(&bytes) {
        return Err(Doubt::at("the instruction is not one that the kernel emulates", instruction.ip()));
    }
    Ok(Landing { address: instruction.ip(), text: body::text(instruction), bytes, why })
}

/// Whether x86 kernels emulate the instruction under a uprobe: `push`, short and near conditional jumps, without a prefix
/// (`arch/x86/kernel/uprobes.c`: `push_setup_xol_ops`, `branch_setup_xol_ops`).
fn is_emulated(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x57 | 0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..])
}

/// The general register of that name.
fn wire_register(register: iced_x86::Register) -> Option<Register> {
    use Register::{R8, R9, R10, R11, R12, R13, R14, R15, Rax, Rbp, Rbx, Rcx, Rdi, Rdx, Rsi, Rsp};
    let all = [Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15];
    register.is_gpr64().then(|| all.get(register.number()).copied())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_numbered_as_the_processor_does() {
        for (register, wire) in
            [(iced_x86::Register::RAX, Register::Rax), (iced_x86::Register::RDI, Register::Rdi), (iced_x86::Register::R15, Register::R15)]
        {
            assert_eq!(wire_register(register), Some(wire));
            assert_eq!(register.number(), wire as usize);
        }
        assert_eq!(wire_register(iced_x86::Register::EAX), None);
    }
}
