//! Where a goroutine notes that it panics: `g._panic`, which is nil while deferred calls run on a normal return.
//!
//! `runtime.g` has no type descriptor, but `recover` begins with `if p := getg()._panic; p != nil` (`runtime/panic.go`, Go 1.21 to 1.27):
//! a load from x28, which is `g`, and the test of what was loaded.

use super::{
    super::Doubt,
    body::Body,
    instruction::{Branch, Instruction, X},
};

/// `g.stackguard0`, which the stack check of every function compares.
const STACK_GUARD: i64 = 0x10;

/// Bytes from `g` to `g._panic`, from the body of `runtime.gorecover`.
pub(super) fn find(body: &Body) -> Result<u32, Doubt> {
    let from_g = body.instructions().windows(2).find_map(|pair| match pair[0] {
        Instruction::Memory(access) if access.is_load && access.base == X::G => {
            let (register, offset) = access.words().next()?;
            (offset != STACK_GUARD).then_some((register, offset, pair[1]))
        }
        _ => None,
    });
    match from_g {
        Some((loaded, offset, Instruction::Branch(Branch::Zero(tested) | Branch::NotZero(tested), _))) if loaded == tested => {
            u32::try_from(offset).ok()
        }
        _ => None,
    }
    .ok_or(Doubt::at("no load of g._panic", body.address()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::arm64::listing::{BASE, assemble};

    fn found(listing: &str) -> Option<u32> {
        find(&Body::decode(BASE, &assemble(listing)).unwrap()).ok()
    }

    #[test]
    fn the_first_word_of_g_that_is_tested_is_the_panic() {
        // As in 1.36.3.
        let with_a_frame = "
            f9400b90 ldr x16, [x28, #0x10]
            eb3063ff cmp sp, x16
            540004e9 b.ls
            f9401382 ldr x2, [x28, #0x20]
            b40003a2 cbz x2
            d65f03c0 br";
        assert_eq!(found(with_a_frame), Some(0x20));
        assert_eq!(found("f9401782 ldr x2, [x28, #0x28]\nb50003a2 cbnz x2\nd65f03c0 br"), Some(0x28));
    }

    #[test]
    fn anything_else_is_doubtful() {
        for listing in [
            "d65f03c0 br",
            "f9401382 ldr x2, [x28, #0x20]\nd65f03c0 br",
            "f9401382 ldr x2, [x28, #0x20]\nb40003a3 cbz x3\nd65f03c0 br",
            "f9400b82 ldr x2, [x28, #0x10]\nb40003a2 cbz x2\nd65f03c0 br",
            "f9401362 ldr x2, [x27, #0x20]\nb40003a2 cbz x2\nd65f03c0 br",
        ] {
            assert_eq!(found(listing), None, "{listing}");
        }
    }
}
