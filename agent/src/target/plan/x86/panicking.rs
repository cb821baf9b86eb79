//! Where a goroutine notes that it panics: `g._panic`, which is nil while deferred calls run on a normal return.
//!
//! `runtime.g` has no type descriptor, but `recover` begins with `if p := getg()._panic; p != nil` (`runtime/panic.go`, Go 1.21 to 1.27):
//! a load from R14, which is `g`, and the test of what was loaded.

use iced_x86::{Mnemonic, OpKind, Register};

use super::{
    Doubt,
    body::{Body, load},
};

/// `g.stackguard0`, which the stack check of every function compares.
const STACK_GUARD: i64 = 0x10;

/// Bytes from `g` to `g._panic`, from the body of `runtime.gorecover`.
pub(super) fn find(body: &Body<'_>) -> Result<u32, Doubt> {
    let all = body.instructions();
    let doubt = || Doubt::at("no load of g._panic", body.address());
    let from_g = |index: &usize| load(&all[*index]).is_some_and(|(base, offset)| base == Register::R14 && offset != STACK_GUARD);
    let index = (0..all.len()).find(from_g).ok_or_else(doubt)?;
    let (loaded, test) = (all[index].op0_register(), all.get(index + 1).ok_or_else(doubt)?);
    let is_test = test.mnemonic() == Mnemonic::Test
        && test.op0_kind() == OpKind::Register
        && test.op1_kind() == OpKind::Register
        && test.op0_register() == loaded
        && test.op1_register() == loaded;
    let offset = load(&all[index]).and_then(|(_, offset)| u32::try_from(offset).ok());
    offset.filter(|_| is_test).ok_or_else(doubt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::x86::listing::{BASE, assemble};

    fn found(listing: &str) -> Option<u32> {
        find(&Body::decode(BASE, &assemble(listing)).unwrap()).ok()
    }

    #[test]
    fn the_first_word_of_g_that_is_tested_is_the_panic() {
        // As in 1.36.3 and 1.30.14.
        let with_a_frame = "
            493b6610 cmp rsp, [r14+0x10]
            498b4e20 mov rcx, [r14+0x20]
            4885c9 test rcx, rcx
            7401 je
            90 nop
            c3 ret";
        assert_eq!(found(with_a_frame), Some(0x20));
        assert_eq!(found("498b4e20 mov rcx, [r14+0x20]\n4885c9 test rcx, rcx\nc3 ret"), Some(0x20));
        assert_eq!(found("498b4e28 mov rcx, [r14+0x28]\n4885c9 test rcx, rcx\nc3 ret"), Some(0x28));
    }

    #[test]
    fn anything_else_is_doubtful() {
        for listing in [
            "c3 ret",
            "498b4e20 mov rcx, [r14+0x20]\nc3 ret",
            "498b4e20 mov rcx, [r14+0x20]\n4885c0 test rax, rax\nc3 ret",
            "498b4e10 mov rcx, [r14+0x10]\n4885c9 test rcx, rcx\nc3 ret",
            "488b4820 mov rcx, [rax+0x20]\n4885c9 test rcx, rcx\nc3 ret",
        ] {
            assert_eq!(found(listing), None, "{listing}");
        }
    }
}
