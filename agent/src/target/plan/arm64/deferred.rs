//! Whether a deferred call is the one that runs last.
//!
//! The compiler keeps a byte of bits in the frame, one for each `defer` of the function in their order; on the way out, or on a panic,
//! they run from the highest to the lowest (`cmd/compile/internal/ssagen`, open-coded defers). So the one that sets bit 0 runs last.

use super::{
    super::Doubt,
    body::Body,
    instruction::{Instruction, X},
};

/// Checks that `function` takes the address of `deferred` once, and then sets the defer bits from none to the lowest.
pub(super) fn runs_last(function: &Body, deferred: u64) -> Result<(), Doubt> {
    let count = function.instructions().len();
    let takes_it = |index: &usize| function.address_made(*index).is_some_and(|(_, address)| address == deferred);
    let mut places = (0..count).filter(takes_it);
    let (Some(taken), None) = (places.next(), places.next()) else {
        return Err(Doubt::at("the deferred call is not registered exactly once", function.address()));
    };
    let doubt = Doubt::at("the deferred call is not the first one, so it does not run last", function.address_of(taken));
    let (place, bits) = (taken..count).find_map(|index| frame_byte(function, index)).ok_or(doubt.clone())?;
    let mut before = (0..taken).filter_map(|index| frame_byte(function, index)).filter(|(at, _)| *at == place).peekable();
    let starts_empty = before.peek().is_some() && before.all(|(_, bits)| bits == Some(0));
    if bits == Some(1) && starts_empty { Ok(()) } else { Err(doubt) }
}

/// `strb register, [sp, #place]`: the place, and what the register holds if that is plain.
fn frame_byte(function: &Body, index: usize) -> Option<(i64, Option<u64>)> {
    let Instruction::Memory(access) = function.instructions()[index] else { return None };
    let [Some(register), None] = access.registers else { return None };
    let place = access.offset.filter(|_| !access.is_load && access.bytes == 1 && access.base == X::SP && access.writeback.is_none())?;
    let value = match function.last_write(register, index) {
        _ if register == X::ZERO => Some(0),
        Some((_, Instruction::Set { value, .. })) => Some(*value),
        _ => None,
    };
    Some((place, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::arm64::listing::{BASE, assemble};

    const SERVE: &str = "
        3900dfff strb xzr, [sp, #0x37]
        90000004 adr x4, 0x1000
        910c8084 add x4, x4, #0x320
        f9008fe4 str x4, [sp, #0x118]
        b24003e4 mov x4, #0x1
        3900dfe4 strb x4, [sp, #0x37]
        90000005 adr x5, 0x1000
        910a80a5 add x5, x5, #0x2a0
        b24007e4 mov x4, #0x3
        3900dfe4 strb x4, [sp, #0x37]
        d63f0080 blr x4
        b24003e4 mov x4, #0x1
        3900dfe4 strb x4, [sp, #0x37]
        d63f0080 blr x4
        3900dfff strb xzr, [sp, #0x37]
        d63f0080 blr x4
        d65f03c0 br";
    const FIRST: u64 = BASE + 0x320;
    const SECOND: u64 = BASE + 0x2a0;

    fn doubt(listing: &str, deferred: u64) -> Option<String> {
        runs_last(&Body::decode(BASE, &assemble(listing)).expect("code"), deferred).err().map(|doubt| doubt.to_string())
    }

    #[test]
    fn only_the_first_deferred_call_runs_last() {
        assert_eq!(doubt(SERVE, FIRST), None);
        let not_last = "it does not run last";
        let not_once = "not registered exactly once";
        let start = "3900dfff strb xzr, [sp, #0x37]";
        let starts_set = SERVE.replacen(start, "b24007e4 mov x4, #0x3\n3900dfe4 strb x4, [sp, #0x37]", 1);
        let starts_unknown = SERVE.replacen(start, "3900dfe4 strb x4, [sp, #0x37]", 1);
        let no_start = SERVE.replacen(start, "d503201f nop", 1);
        let unknown = SERVE.replacen("b24003e4 mov x4, #0x1", "f9406fe4 ldr x4, [sp, #0xd8]", 1);
        let twice = SERVE.replace("910a80a5 add x5, x5, #0x2a0", "910c80a5 add x5, x5, #0x320");
        for (what, listing, deferred, expected) in [
            ("the second", SERVE, SECOND, not_last),
            ("another bit was set", &starts_set, FIRST, not_last),
            ("it is not known which were set", &starts_unknown, FIRST, not_last),
            ("no bits before", &no_start, FIRST, not_last),
            ("it is not known what is set", &unknown, FIRST, not_last),
            ("no bits after", "90000004 adr x4, 0x1000\n910c8084 add x4, x4, #0x320\nd65f03c0 br", FIRST, not_last),
            ("not registered", SERVE, FIRST + 4, not_once),
            ("registered twice", &twice, FIRST, not_once),
        ] {
            let said = doubt(listing, deferred);
            assert!(said.as_ref().is_some_and(|said| said.contains(expected)), "{what}: {said:?}");
        }
    }
}
