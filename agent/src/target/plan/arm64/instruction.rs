//! The instructions that Go's compiler puts around the sites, from their 32 bits (Arm Architecture Reference Manual, C4.1).
//!
//! Only those are told apart that a finder asks about. Of all others it is known which registers they write, or that it is not known:
//! then nothing is concluded across them.

use std::fmt;

use super::memory::Access;

/// A register of 64 bits, or its lower half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct X(pub(super) u8);

impl X {
    /// Reads as zero; what is written to it is gone.
    pub(super) const ZERO: Self = Self(31);
    /// The stack pointer, which is encoded like [`X::ZERO`].
    pub(super) const SP: Self = Self(32);
    /// Go's `g`.
    pub(super) const G: Self = Self(28);

    /// A field of five bits where 31 is zero.
    pub(super) const fn or_zero(word: u32, shift: u32) -> Self {
        Self((word >> shift & 31) as u8)
    }

    /// A field of five bits where 31 is the stack pointer.
    pub(super) const fn or_sp(word: u32, shift: u32) -> Self {
        let register = Self::or_zero(word, shift);
        if register.0 == Self::ZERO.0 { Self::SP } else { register }
    }

    const fn bit(self) -> u64 {
        if self.0 == Self::ZERO.0 { 0 } else { 1 << self.0 }
    }
}

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    Nop,
    /// To another address, always or if.
    Branch(Branch, u64),
    /// `bl`: what it leads to does not matter, but it comes back.
    Call,
    /// `blr`
    CallRegister(X),
    /// `br` and `ret`: where they lead to is not told.
    Leave,
    /// `adr`, `adrp`
    Address(X, u64),
    /// `add to, from, #value`, with a negative value `sub`, with 0 also `mov` to or from SP; 64 bits.
    Add {
        to: X,
        from: X,
        value: i64,
    },
    /// `mov to, from`; 64 bits.
    Copy {
        to: X,
        from: X,
    },
    /// `mov to, #value`
    Set {
        to: X,
        value: u64,
    },
    /// `cmp register, #value`; 32 or 64 bits.
    Compare {
        register: X,
        value: u64,
    },
    /// `cmp left, right`; 64 bits.
    CompareRegisters(X, X),
    Memory(Access),
    /// One that a finder does not ask about.
    Other(u32),
}

/// When a branch is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    Always,
    /// `b.cond`
    If(Condition),
    /// `cbz`; 32 or 64 bits.
    Zero(X),
    /// `cbnz`; 64 bits.
    NotZero(X),
    /// `tbz`, `tbnz`, and `cbnz` of 32 bits.
    Test,
}

/// The condition of a `b.cond`, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition(u8);

impl Condition {
    /// Equal.
    pub(super) const EQ: Self = Self(0);
    /// Unsigned lower or the same.
    pub(super) const LS: Self = Self(9);
    const NAMES: [&str; 16] = ["eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"];
}

impl Instruction {
    /// The instruction with these bits at an address.
    pub(super) fn decode(word: u32, address: u64) -> Self {
        let at = |offset: i64| address.wrapping_add_signed(offset);
        let (rd, rn) = (X::or_zero(word, 0), X::or_zero(word, 5));
        match word {
            0xd503_201f => Self::Nop,
            _ if word & 0xfc00_0000 == 0x1400_0000 => Self::Branch(Branch::Always, at(4 * signed(word, 0, 26))),
            _ if word & 0xfc00_0000 == 0x9400_0000 => Self::Call,
            _ if word & 0xff00_0010 == 0x5400_0000 => Self::Branch(Branch::If(Condition((word & 15) as u8)), at(4 * signed(word, 5, 19))),
            _ if word & 0x7e00_0000 == 0x3400_0000 => {
                let kind = match (word >> 24 & 1, word >> 31) {
                    (0, _) => Branch::Zero(rd),
                    (_, 1) => Branch::NotZero(rd),
                    _ => Branch::Test,
                };
                Self::Branch(kind, at(4 * signed(word, 5, 19)))
            }
            _ if word & 0x7e00_0000 == 0x3600_0000 => Self::Branch(Branch::Test, at(4 * signed(word, 5, 14))),
            _ if word & 0xffff_fc1f == 0xd63f_0000 => Self::CallRegister(rn),
            // `br`, `ret`, and their forms that check a signature.
            _ if word & 0xfe00_0000 == 0xd600_0000 => Self::Leave,
            _ if word & 0x1f00_0000 == 0x1000_0000 => {
                let offset = signed(word, 5, 19) << 2 | i64::from(word >> 29 & 3);
                let is_page = word >> 31 == 1;
                Self::Address(rd, if is_page { (address & !0xfff).wrapping_add_signed(offset << 12) } else { at(offset) })
            }
            _ if word & 0xbf80_0000 == 0x9100_0000 || word & 0xff80_0000 == 0xd100_0000 => {
                let value = immediate12(word);
                let value = if word >> 30 & 1 == 1 { -value } else { value };
                Self::Add { to: X::or_sp(word, 0), from: X::or_sp(word, 5), value }
            }
            _ if word & 0x7f80_001f == 0x7100_001f => {
                Self::Compare { register: X::or_sp(word, 5), value: immediate12(word).cast_unsigned() }
            }
            _ if word & 0xffe0_fc1f == 0xeb20_601f => Self::CompareRegisters(X::or_sp(word, 5), X::or_zero(word, 16)),
            _ if word & 0xffe0_fc1f == 0xeb00_001f => Self::CompareRegisters(rn, X::or_zero(word, 16)),
            _ if word & 0xffe0_ffe0 == 0xaa00_03e0 => Self::Copy { to: rd, from: X::or_zero(word, 16) },
            _ if word & 0x7f80_0000 == 0x5280_0000 => Self::Set { to: rd, value: u64::from(word >> 5 & 0xffff) << (16 * (word >> 21 & 3)) },
            // `orr` with zero, of ones from the lowest bit on.
            _ if word & 0x7fff_03e0 == 0x3200_03e0 && word >> 10 & 63 < 31 => {
                Self::Set { to: X::or_sp(word, 0), value: (2 << (word >> 10 & 63)) - 1 }
            }
            _ if word & 0xffff_03e0 == 0xb240_03e0 && word >> 10 & 63 < 63 => {
                Self::Set { to: X::or_sp(word, 0), value: (2 << (word >> 10 & 63)) - 1 }
            }
            _ => Access::decode(word).map_or(Self::Other(word), Self::Memory),
        }
    }

    /// Whether the next instruction in memory is what comes next, and nothing else has run in between.
    pub(super) fn is_straight(&self) -> bool {
        !matches!(self, Self::Branch(..) | Self::Call | Self::CallRegister(_) | Self::Leave)
    }

    /// Whether it may change a register: yes, where that is not known.
    pub(super) fn writes(&self, register: X) -> bool {
        self.written() & register.bit() != 0
    }

    /// A bit for each register that it may change.
    fn written(&self) -> u64 {
        match self {
            Self::Nop | Self::Branch(..) | Self::Leave | Self::Compare { .. } | Self::CompareRegisters(..) => 0,
            Self::Call | Self::CallRegister(_) => u64::MAX,
            Self::Address(to, _) | Self::Add { to, .. } | Self::Copy { to, .. } | Self::Set { to, .. } => to.bit(),
            Self::Memory(access) => access.written().fold(0, |all, register| all | register.bit()),
            Self::Other(word) => written_by(*word).map_or(u64::MAX, X::bit),
        }
    }

    /// Whether it may change any of these bytes from SP on.
    pub(super) fn stores_at(&self, slot: i64, bytes: i64) -> bool {
        match self {
            Self::Memory(access) => access.stores_at(slot, bytes),
            // What is not among the loads and stores writes no memory.
            Self::Other(word) => word >> 25 & 0b0101 == 0b0100,
            _ => false,
        }
    }
}

/// The register that an instruction changes which works on registers alone; `None` where that is not known.
fn written_by(word: u32) -> Option<X> {
    let is_add = word >> 23 & 0b11_1111 == 0b10_0010 || word >> 21 & 0xff == 0b0101_1001;
    let sets_flags = word >> 29 & 1 == 1;
    let is_logical = word >> 23 & 0b11_1111 == 0b10_0100;
    match word >> 25 & 0b1111 {
        0b1000 | 0b1001 | 0b0101 | 0b1101 => {
            let may_be_sp = (is_add && !sets_flags) || (is_logical && word >> 29 & 3 != 3);
            Some(if may_be_sp { X::or_sp(word, 0) } else { X::or_zero(word, 0) })
        }
        _ => None,
    }
}

/// A field of so many bits whose highest one is the sign.
pub(super) fn signed(word: u32, shift: u32, bits: u32) -> i64 {
    let up = 32 - bits - shift;
    i64::from((word << up).cast_signed() >> (up + shift))
}

fn immediate12(word: u32) -> i64 {
    i64::from(word >> 10 & 0xfff) << (12 * (word >> 22 & 1))
}

impl fmt::Display for X {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ZERO => f.write_str("xzr"),
            Self::SP => f.write_str("sp"),
            Self(number) => write!(f, "x{number}"),
        }
    }
}

impl fmt::Display for Instruction {
    /// As Arm writes it, but each access by the plain name of its kind, and each register whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nop => f.write_str("nop"),
            Self::Branch(Branch::Always, to) => write!(f, "b {to:#x}"),
            Self::Branch(Branch::If(condition), to) => write!(f, "b.{} {to:#x}", Condition::NAMES[usize::from(condition.0 & 15)]),
            Self::Branch(Branch::Zero(register), to) => write!(f, "cbz {register}, {to:#x}"),
            Self::Branch(Branch::NotZero(register), to) => write!(f, "cbnz {register}, {to:#x}"),
            Self::Branch(Branch::Test, to) => write!(f, "tb {to:#x}"),
            Self::Call => f.write_str("bl"),
            Self::CallRegister(register) => write!(f, "blr {register}"),
            Self::Leave => f.write_str("br"),
            Self::Address(to, address) => write!(f, "adr {to}, {address:#x}"),
            Self::Add { to, from, value } if value < 0 => write!(f, "sub {to}, {from}, #{:#x}", -value),
            Self::Add { to, from, value } => write!(f, "add {to}, {from}, #{value:#x}"),
            Self::Copy { to, from } => write!(f, "mov {to}, {from}"),
            Self::Set { to, value } => write!(f, "mov {to}, #{value:#x}"),
            Self::Compare { register, value } => write!(f, "cmp {register}, #{value:#x}"),
            Self::CompareRegisters(left, right) => write!(f, "cmp {left}, {right}"),
            Self::Memory(access) => access.fmt(f),
            Self::Other(word) => write!(f, ".inst {word:#010x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(word: u32) -> String {
        Instruction::decode(word, 0x1000).to_string()
    }

    /// Words and texts from a kubelet 1.36.3, as GNU objdump reads them.
    #[test]
    fn what_finders_ask_about_is_told_apart() {
        for (word, says) in [
            (0xd503_201f, "nop"),
            (0x17ff_ff0f, "b 0xc3c"),
            (0x978c_f846, "bl"),
            (0x5400_1d09, "b.ls 0x13a0"),
            (0x5400_0780, "b.eq 0x10f0"),
            (0x5400_074a, "b.ge 0x10e8"),
            (0x54ff_f721, "b.ne 0xee4"),
            (0xb500_0143, "cbnz x3, 0x1028"),
            (0xb400_0104, "cbz x4, 0x1020"),
            (0x3500_0143, "tb 0x1028"),
            (0x3600_0261, "tb 0x104c"),
            (0xd63f_00a0, "blr x5"),
            (0xd61f_00a0, "br"),
            (0xd65f_03c0, "br"),
            (0xd65f_00a0, "br"),
            (0x9000_0004, "adr x4, 0x1000"),
            (0xf000_6e06, "adr x6, 0xdc4000"),
            (0x1000_0044, "adr x4, 0x1008"),
            (0x910c_8084, "add x4, x4, #0x320"),
            (0xd106_c3f4, "sub x20, sp, #0x1b0"),
            (0x9100_029f, "add sp, x20, #0x0"),
            (0x9146_c3f4, "add x20, sp, #0x1b0000"),
            (0xaa03_03e0, "mov x0, x3"),
            (0xaa1f_03e0, "mov x0, xzr"),
            (0xb240_03e4, "mov x4, #0x1"),
            (0xb240_07e4, "mov x4, #0x3"),
            (0x3200_03e4, "mov x4, #0x1"),
            (0xd280_0125, "mov x5, #0x9"),
            (0xd2a0_0125, "mov x5, #0x90000"),
            (0x5280_0025, "mov x5, #0x1"),
            (0xf101_94bf, "cmp x5, #0x65"),
            (0x7101_94bf, "cmp x5, #0x65"),
            (0xf106_40bf, "cmp x5, #0x190"),
            (0xeb30_63ff, "cmp sp, x16"),
            (0xeb10_023f, "cmp x17, x16"),
            (0xb27d_03e4, ".inst 0xb27d03e4"),
            (0x0000_0000, ".inst 0x00000000"),
        ] {
            assert_eq!(text(word), says, "{word:#010x}");
        }
    }

    #[test]
    fn the_register_that_is_written_is_known_or_all_are() {
        for (word, what, register) in [
            (0xb27d_03e4, "orr x4, xzr, #8", X(4)),
            (0xb27d_03ff, "orr sp, xzr, #8", X::SP),
            (0x9a85_1084, "csel x4, x4, x5, ne", X(4)),
            (0xd37c_ed4a, "lsl x10, x10, #4", X(10)),
            (0x8b0a_010a, "add x10, x8, x10", X(10)),
            (0x8b30_63ff, "add sp, sp, x16", X::SP),
            (0x7200_009f, "tst w4, #1", X::ZERO),
            (0x2a03_03e0, "mov w0, w3", X(0)),
        ] {
            let instruction = Instruction::decode(word, 0);
            for other in (0..=32).map(X) {
                assert_eq!(instruction.writes(other), other == register && register != X::ZERO, "{what}, {other}");
            }
        }
        for (word, what) in [(0x9e66_0003, "fmov x3, d0"), (0xd53b_d043, "mrs x3, tpidr_el0"), (0xf821_0043, "ldadd x1, x3, [x2]")] {
            assert!(Instruction::decode(word, 0).writes(X(3)), "{what}");
        }
    }

    proptest! {
        /// Whatever the bits, something is said of them.
        #[test]
        fn every_word_is_an_instruction(word: u32, address: u64) {
            let instruction = Instruction::decode(word, address & !3);
            prop_assert!(!instruction.to_string().is_empty());
            prop_assert_eq!(instruction.writes(X::ZERO), false);
            if let Instruction::Branch(_, target) = instruction {
                prop_assert_eq!(target % 4, 0);
            }
        }
    }
}
