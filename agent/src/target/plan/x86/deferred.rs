//! Whether a deferred call is the one that runs last.
//!
//! The compiler keeps a byte of bits in the frame, one for each `defer` of the function in their order; on the way out, or on a panic,
//! they run from the highest to the lowest (`cmd/compile/internal/ssagen`, open-coded defers). So the one that sets bit 0 runs last.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::{
    Doubt,
    body::{Body, load, plain_memory},
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

/// Whether the compiler made the function to wrap a call: before anything else such a function tests whether its goroutine panics, because
/// the panic must know the frame of the wrapped call (`cmd/internal/obj/x86`, `preprocess`: "if g._panic != nil"). `panicking` is where a
/// goroutine notes that, in bytes from `g`.
pub(super) fn is_wrapper(function: &Body<'_>, panicking: u32) -> bool {
    let before_any_call = function.instructions().iter().take_while(|i| i.mnemonic() != Mnemonic::Call);
    let loads: Vec<_> = before_any_call.filter_map(load).collect();
    loads.contains(&(Register::R14, i64::from(panicking)))
}

/// `mov byte [rsp + place], value`
fn frame_byte(instruction: &Instruction) -> Option<(i64, u64)> {
    let is_it = instruction.code() == Code::Mov_rm8_imm8 && instruction.op0_kind() == OpKind::Memory;
    let (base, place) = is_it.then(|| plain_memory(instruction))??;
    (base == Register::RSP).then(|| (place, instruction.immediate(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::x86::listing::{BASE, assemble};

    const SERVE: &str = "
        c644242700 mov byte [rsp+0x27], 0
        488d1500010000 lea rdx
        c644242701 mov byte [rsp+0x27], 1
        488d3500020000 lea rsi
        c644242703 mov byte [rsp+0x27], 3
        ffd2 call rdx
        c644242701 mov byte [rsp+0x27], 1
        ffd2 call rdx
        c644242700 mov byte [rsp+0x27], 0
        ffd2 call rdx
        c3 ret";
    /// What the two `lea` take: relative to the instruction after them.
    const FIRST: u64 = BASE + 12 + 0x100;
    const SECOND: u64 = BASE + 24 + 0x200;

    fn doubt(listing: &str, deferred: u64) -> Option<String> {
        let bytes = assemble(listing);
        runs_last(&Body::decode(BASE, &bytes).expect("code"), deferred).err().map(|doubt| doubt.to_string())
    }

    #[test]
    fn a_wrapper_is_told_by_its_look_at_the_panic() {
        // As in 1.29.6 with Go 1.21.
        let wrapper = "
            55 push rbp
            4889e5 mov rbp, rsp
            4d8b6620 mov r12, [r14+0x20]
            4d85e4 test r12, r12
            7500 jne
            488b4a08 mov rcx, [rdx+8]
            ffd1 call rcx
            c3 ret";
        let is_it = |listing: &str, panicking| is_wrapper(&Body::decode(BASE, &assemble(listing)).expect("code"), panicking);
        assert!(is_it(wrapper, 0x20));
        assert!(!is_it(wrapper, 0x28), "another word of g");
        assert!(!is_it(&wrapper.replace("4d8b6620 mov r12, [r14+0x20]", "4c8b6020 mov r12, [rax+0x20]"), 0x20), "not of g");
        assert!(!is_it(&format!("ffd1 call rcx{wrapper}"), 0x20), "after a call");
    }

    #[test]
    fn only_the_first_deferred_call_runs_last() {
        assert_eq!(doubt(SERVE, FIRST), None);
        let not_last = "it does not run last";
        let not_once = "not registered exactly once";
        let starts_set = SERVE.replacen("c644242700 mov byte [rsp+0x27], 0", "c644242702 mov byte [rsp+0x27], 2", 1);
        let no_start = SERVE.replacen("c644242700 mov byte [rsp+0x27], 0", "0f1f440000 nop", 1);
        let twice = SERVE.replace("488d3500020000 lea rsi", "488d35f4000000 lea rsi");
        for (what, listing, deferred, expected) in [
            ("the second", SERVE, SECOND, not_last),
            ("another bit was set", &starts_set, FIRST, not_last),
            ("no bits before", &no_start, FIRST, not_last),
            ("no bits after", "488d1500010000 lea rdx\nc3 ret", BASE + 7 + 0x100, not_last),
            ("not registered", SERVE, FIRST + 1, not_once),
            ("registered twice", &twice, FIRST, not_once),
        ] {
            let said = doubt(listing, deferred);
            assert!(said.as_ref().is_some_and(|said| said.contains(expected)), "{what}: {said:?}");
        }
    }
}
