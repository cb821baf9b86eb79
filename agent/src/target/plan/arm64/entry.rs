//! Sites *request* and *end*: the branch of the stack check.
//!
//! It is the only instruction at the beginning of a function that the kernel emulates. Arguments are still in their registers there. Where
//! the stack must grow, or the goroutine must yield, the branch is taken and the function begins anew: a program that is attached there
//! counts a hit only if the flags say that the branch is *not* taken (`agent-ebpf/src/hit.rs`).

use super::{
    super::Doubt,
    body::Body,
    instruction::{Branch, Condition, Instruction, X},
};

/// What the stack check may use (`cmd/internal/obj/arm64`, `stacksplit`); everything else belongs to the caller.
const GUARD: X = X(16);
const LIMIT: X = X(17);
/// `g.stackguard0`
const STACK_GUARD: i64 = 0x10;

/// The index of the branch, if the function begins with a stack check.
pub(super) fn stack_check(body: &Body) -> Result<usize, Doubt> {
    let doubt = |what| Doubt::at(what, body.address());
    let (index, target) = match body.instructions() {
        [guard, cmp, Instruction::Branch(Branch::If(Condition::LS), to), ..]
            if loads_guard(guard) && *cmp == Instruction::CompareRegisters(X::SP, GUARD) =>
        {
            (2, to)
        }
        [guard, Instruction::Add { to: LIMIT, from: X::SP, value: ..0 }, cmp, Instruction::Branch(Branch::If(Condition::LS), to), ..]
            if loads_guard(guard) && *cmp == Instruction::CompareRegisters(LIMIT, GUARD) =>
        {
            (3, to)
        }
        _ => return Err(doubt("no stack check at the beginning")),
    };
    if body.is_entered(1..=index + 1) {
        return Err(doubt("a branch leads past the stack check"));
    }
    // Where it leads, arguments are stored, the stack grows, and the function begins anew.
    let grows = usize::try_from(target.wrapping_sub(body.address()) / 4).ok().and_then(|grow| body.instructions().get(grow..));
    let leaves = grows.and_then(|code| code.iter().find(|i| matches!(i, Instruction::Branch(..) | Instruction::Leave)));
    match leaves {
        Some(Instruction::Branch(Branch::Always, to)) if *to == body.address() => Ok(index),
        _ => Err(doubt("a stack check that does not begin the function anew")),
    }
}

fn loads_guard(instruction: &Instruction) -> bool {
    matches!(instruction, Instruction::Memory(access) if access.is_load && access.base == X::G && access.words().eq([(GUARD, STACK_GUARD)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::arm64::listing::{BASE, assemble};

    /// A function with a large frame; with a small one SP itself is compared.
    const LARGE: &str = "
        f9400b90 ldr x16, [x28, #0x10]
        d104c3f1 sub x17, sp, #0x130
        eb10023f cmp x17, x16
        54000089 b.ls
        f81c0ffe str x30, [sp, #-64]!
        d503201f nop
        d65f03c0 br
        a90087e0 stp x0, x1, [sp, #0x8]
        aa1e03e3 mov x3, x30
        978cf846 bl
        17fffff6 b";
    const LIMIT: &str = "d104c3f1 sub x17, sp, #0x130";
    const CMP: &str = "eb10023f cmp x17, x16";

    fn found(listing: &str) -> Result<u64, String> {
        let body = Body::decode(BASE, &assemble(listing)).map_err(|doubt| doubt.to_string())?;
        stack_check(&body).map(|index| body.address_of(index)).map_err(|doubt| doubt.to_string())
    }

    #[test]
    fn the_branch_of_the_stack_check_is_found() {
        assert_eq!(found(LARGE), Ok(BASE + 12));
        let small = LARGE.replace(LIMIT, "").replace(CMP, "eb3063ff cmp sp, x16").replace("17fffff6", "17fffff7");
        assert_eq!(found(&small), Ok(BASE + 8));
    }

    #[test]
    fn doubt_is_named() {
        let none = "no stack check";
        for (what, from, to, doubt) in [
            ("another word of g", "f9400b90 ldr x16, [x28, #0x10]", "f9400f90 ldr x16, [x28, #0x18]", none),
            ("not of g", "f9400b90 ldr x16, [x28, #0x10]", "f9400b70 ldr x16, [x27, #0x10]", none),
            ("into an argument", "f9400b90 ldr x16, [x28, #0x10]", "f9400b81 ldr x1, [x28, #0x10]", none),
            ("a limit above", LIMIT, "9104c3f1 add x17, sp, #0x130", none),
            ("another comparison", CMP, "eb11021f cmp x16, x17", none),
            ("another condition", "54000089 b.ls", "54000083 b.lo", none),
            ("work before the branch", CMP, "aa0303e0 mov x0, x3\neb10023f cmp x17, x16", none),
            ("a branch to the check", "d503201f nop", "17fffffe b", "a branch leads past the stack check"),
            ("a branch behind the check", "d503201f nop", "17ffffff b", "a branch leads past the stack check"),
            ("no return to the beginning", "17fffff6 b", "17fffff0 b", "does not begin the function anew"),
            ("another way out", "aa1e03e3 mov x3, x30", "d65f03c0 br", "does not begin the function anew"),
            ("a check that leads nowhere", "54000089 b.ls", "54700089 b.ls", "does not begin the function anew"),
        ] {
            let result = found(&LARGE.replace(from, to));
            assert!(result.as_ref().is_err_and(|said| said.contains(doubt)), "{what}: {result:?}");
        }
    }
}
