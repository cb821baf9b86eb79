//! The registers of a hit, as Go's ABIInternal uses them; one of the two for the machine that the programs are built for.
//!
//! The verifier wants each access at a constant offset, hence a function for each register.

use aya_ebpf::bindings::pt_regs;
use kubewitness_wire::Register;

/// The integer arguments and results from the first to the fifth: AX, BX, CX, DI, SI.
#[cfg(bpf_target_arch = "x86_64")]
mod machine {
    use super::{Register, pt_regs};

    #[inline(always)]
    pub fn words(regs: &pt_regs) -> [u64; 5] {
        [regs.rax, regs.rbx, regs.rcx, regs.rdi, regs.rsi]
    }

    /// The goroutine, which Go keeps in R14.
    #[inline(always)]
    pub fn goroutine(regs: &pt_regs) -> u64 {
        regs.r14
    }

    #[inline(always)]
    pub fn stack(regs: &pt_regs) -> u64 {
        regs.rsp
    }

    #[inline(always)]
    pub fn instruction(regs: &pt_regs) -> u64 {
        regs.rip
    }

    /// The probed `push` comes after the stack check, so it is passed once.
    #[inline(always)]
    pub fn has_entered(_regs: &pt_regs) -> bool {
        true
    }

    /// The value of a register that the plan names.
    #[inline(always)]
    pub fn named(regs: &pt_regs, number: u32) -> u64 {
        macro_rules! pick {
            ($($register:ident $field:ident),*) => {
                $(if number == Register::$register as u32 {
                    // SAFETY: the field of a reference.
                    return unsafe { core::ptr::read_volatile(&raw const regs.$field) };
                })*
            };
        }
        pick!(Rax rax, Rcx rcx, Rdx rdx, Rbx rbx, Rsi rsi, Rdi rdi, R8 r8, R9 r9, R10 r10, R11 r11, R12 r12, R13 r13, R15 r15);
        0
    }
}

/// The integer arguments and results from the first to the fifth: x0 to x4.
#[cfg(bpf_target_arch = "aarch64")]
mod machine {
    use super::{Register, pt_regs};

    #[inline(always)]
    pub fn words(regs: &pt_regs) -> [u64; 5] {
        let [x0, x1, x2, x3, x4, ..] = regs.regs;
        [x0, x1, x2, x3, x4]
    }

    /// The goroutine, which Go keeps in x28.
    #[inline(always)]
    pub fn goroutine(regs: &pt_regs) -> u64 {
        regs.regs[28]
    }

    #[inline(always)]
    pub fn stack(regs: &pt_regs) -> u64 {
        regs.sp
    }

    #[inline(always)]
    pub fn instruction(regs: &pt_regs) -> u64 {
        regs.pc
    }

    /// The probed `b.ls` is the stack check's. It is taken if C is clear or Z is set; then the stack grows, or the goroutine yields, and
    /// the function begins anew.
    #[inline(always)]
    pub fn has_entered(regs: &pt_regs) -> bool {
        const Z: u64 = 1 << 30;
        const C: u64 = 1 << 29;
        regs.pstate & (C | Z) == C
    }

    /// The value of a register that the plan names.
    #[inline(always)]
    pub fn named(regs: &pt_regs, number: u32) -> u64 {
        macro_rules! pick {
            ($($index:literal),*) => {
                $(if number == Register::ARM64[$index] as u32 {
                    // SAFETY: the field of a reference.
                    return unsafe { core::ptr::read_volatile(&raw const regs.regs[$index]) };
                })*
            };
        }
        pick!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30);
        0
    }
}

pub use machine::{goroutine, has_entered, instruction, named, stack, words};
