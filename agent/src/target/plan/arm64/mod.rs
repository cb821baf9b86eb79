//! Sites in arm64 code.

mod answer;
mod body;
mod check;
mod deferred;
mod entry;
mod instruction;
#[cfg(test)]
mod listing;
mod memory;
mod panicking;

use kubewitness_wire::Register;

use super::{
    Attributes, Doubt,
    machine::{Landing, Machine},
};
use crate::gobin::Function;
use body::Body;
use instruction::{Branch, Instruction};

/// The instructions of arm64.
pub(super) struct Arm64;

impl Machine for Arm64 {
    fn entry(&self, function: &Function<'_>) -> Result<Landing, Doubt> {
        let body = decode(function)?;
        let why = "the branch of the stack check: the arguments are still in their registers, and where it is taken, because the stack must \
                   grow, the hit does not count";
        landing(&body, entry::stack_check(&body)?, why.to_owned())
    }

    fn check(&self, filter: &Function<'_>, slot: u64, wrapper: &Function<'_>) -> Result<(Landing, Attributes), Doubt> {
        let body = decode(filter)?;
        let (branch, attributes) = check::find(&body, slot, decode(wrapper).and_then(|wrapper| check::spill(&wrapper)))?;
        let why = format!(
            "the test of the error after the only call through itab slot {slot:#x}, which is Authorize: \
             the results are in x0 to x4, the attributes at [sp, #{:#x}] and [sp, #{:#x}], {}",
            attributes.itab,
            attributes.data,
            attributes.place.proof()
        );
        Ok((landing(&body, branch, why)?, attributes))
    }

    fn answer(&self, function: &Function<'_>) -> Result<(Landing, Register), Doubt> {
        let body = decode(function)?;
        let (branch, register) = answer::find(&body)?;
        let wire = Register::ARM64.get(usize::from(register.0)).copied();
        let wire = wire.ok_or(Doubt::at("the status is in no general register", body.address()))?;
        let why = format!("the branch after the comparison of {register} with 101, before that with 400: it holds the runtime's status");
        Ok((landing(&body, branch, why)?, wire))
    }

    fn runs_last(&self, function: &Function<'_>, deferred: u64) -> Result<(), Doubt> {
        deferred::runs_last(&decode(function)?, deferred)
    }

    fn panicking(&self, recover: &Function<'_>) -> Result<u32, Doubt> {
        panicking::find(&decode(recover)?)
    }

    fn addresses(&self, function: &Function<'_>) -> Vec<u64> {
        let Ok(body) = decode(function) else { return Vec::new() };
        let loaded = |index: usize| match body.instructions()[index] {
            Instruction::Memory(access) if access.is_load => {
                let (_, page) = body.last_write(access.base, index).and_then(|(at, _)| body.address_made(at))?;
                Some(page.wrapping_add_signed(access.offset?))
            }
            _ => body.address_made(index).map(|(_, address)| address),
        };
        (0..body.instructions().len()).filter_map(loaded).collect()
    }
}

fn decode(function: &Function<'_>) -> Result<Body, Doubt> {
    Body::decode(function.address, function.bytes)
}

fn landing(body: &Body, index: usize, why: String) -> Result<Landing, Doubt> {
    let instruction = &body.instructions()[index];
    if !is_emulated(instruction) {
        return Err(Doubt::at("the instruction is not one that the kernel emulates", body.address_of(index)));
    }
    Ok(Landing { address: body.address_of(index), text: instruction.to_string(), bytes: body.bytes_of(index), why })
}

/// Whether arm64 kernels emulate the instruction under a uprobe (`arch/arm64/kernel/probes/decode-insn.c`: `b.cond`, `cbz`, `cbnz`, among
/// others that no site is on).
fn is_emulated(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Branch(Branch::If(_) | Branch::Zero(_) | Branch::NotZero(_), _))
}

#[cfg(test)]
mod tests {
    use super::{instruction::X, *};

    #[test]
    fn registers_are_numbered_as_the_processor_does() {
        for (number, register) in (0..).zip(Register::ARM64) {
            assert_eq!(register as u32, Register::X0 as u32 + number);
            assert_eq!(format!("{register:?}").to_lowercase(), X(u8::try_from(number).expect("few")).to_string());
        }
        assert!(Register::ARM64.get(usize::from(X::ZERO.0)).is_none() && Register::ARM64.get(usize::from(X::SP.0)).is_none());
    }
}
