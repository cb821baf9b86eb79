//! Loads and stores.

use std::fmt;

use super::instruction::{X, signed};

/// A load or store of one register or two, at a base and an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) is_load: bool,
    /// The registers, in the order of their memory; none where they are vectors or the access is a hint.
    pub(super) registers: [Option<X>; 2],
    pub(super) base: X,
    /// Bytes from the base, which a following one changes afterwards; `None` if a register tells.
    pub(super) offset: Option<i64>,
    /// How much each register has of it.
    pub(super) bytes: i64,
    /// Whether the base becomes the address, before or after.
    pub(super) writeback: Option<i64>,
}

impl Access {
    /// `None` where it is another instruction, or an access of a rarer form: exclusive, atomic, literal, of vectors with a structure.
    pub(super) fn decode(word: u32) -> Option<Self> {
        if word >> 25 & 0b0101 != 0b0100 {
            return None;
        }
        let is_vector = word >> 26 & 1 == 1;
        let base = X::or_sp(word, 5);
        let first = X::or_zero(word, 0);
        match word >> 27 & 0b111 {
            0b101 => {
                let bytes = match (is_vector, word >> 30) {
                    (true, size @ 0..=2) => 4 << size,
                    (false, 0 | 1) => 4,
                    (false, 2) => 8,
                    _ => return None,
                };
                let is_load = word >> 22 & 1 == 1;
                let offset = bytes * signed(word, 15, 7);
                let (offset, writeback) = match word >> 23 & 3 {
                    1 => (0, Some(offset)),
                    3 => (offset, Some(offset)),
                    _ => (offset, None),
                };
                let registers = if is_vector { [None; 2] } else { [Some(first), Some(X::or_zero(word, 10))] };
                Some(Self { is_load, registers, base, offset: Some(offset), bytes, writeback })
            }
            0b111 => {
                let (size, operation) = (word >> 30, word >> 22 & 3);
                let bytes = if is_vector && operation >= 2 { 16 } else { 1 << size };
                let is_load = if is_vector { operation & 1 == 1 } else { operation != 0 };
                let is_hint = !is_vector && size == 3 && operation == 2;
                let (offset, writeback) = match (word >> 24 & 3, word >> 21 & 1, word >> 10 & 3) {
                    (1, _, _) => (Some(bytes * i64::from(word >> 10 & 0xfff)), None),
                    (0, 0, 0) => (Some(signed(word, 12, 9)), None),
                    (0, 0, 1) => (Some(0), Some(signed(word, 12, 9))),
                    (0, 0, 3) => (Some(signed(word, 12, 9)), Some(signed(word, 12, 9))),
                    (0, 1, 2) => (None, None),
                    _ => return None,
                };
                let registers = if is_vector || is_hint { [None; 2] } else { [Some(first), None] };
                Some(Self { is_load, registers, base, offset, bytes, writeback })
            }
            _ => None,
        }
    }

    /// The registers that it changes.
    pub(super) fn written(self) -> impl Iterator<Item = X> {
        let loaded = self.registers.into_iter().flatten().filter(move |_| self.is_load);
        loaded.chain(self.writeback.map(|_| self.base))
    }

    /// Each register with the place of its memory from the base, if the access is of whole registers and leaves the base alone.
    pub(super) fn words(self) -> impl Iterator<Item = (X, i64)> {
        let first = self.offset.filter(|_| self.bytes == 8 && self.writeback.is_none());
        let places = first.into_iter().flat_map(|first| [first, first + 8]);
        self.registers.into_iter().flatten().zip(places)
    }

    /// Whether it may change any of these bytes from SP on. A pointer that the stack is reached by otherwise is not thought of: no such
    /// pointer is known to the code that spills registers.
    pub(super) fn stores_at(self, slot: i64, bytes: i64) -> bool {
        let Some(offset) = self.offset else { return !self.is_load && self.base == X::SP };
        !self.is_load && self.base == X::SP && offset < slot + bytes && slot < offset + 2 * self.bytes
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_load { "ld" } else { "st" };
        let (form, size) = match (self.registers, self.bytes) {
            ([_, Some(_)], _) => ("p", ""),
            (_, 1) => ("r", "b"),
            (_, 2) => ("r", "h"),
            (_, 4) => ("r", "w"),
            _ => ("r", ""),
        };
        write!(f, "{name}{form}{size}")?;
        for (index, register) in self.registers.iter().flatten().enumerate() {
            write!(f, "{} {register}", if index == 0 { "" } else { "," })?;
        }
        match (self.offset, self.writeback) {
            (Some(0), None) => write!(f, ", [{}]", self.base),
            (Some(offset), None) => write!(f, ", [{}, #{offset:#x}]", self.base),
            (Some(0), Some(after)) => write!(f, ", [{}], #{after}", self.base),
            (Some(_), Some(before)) => write!(f, ", [{}, #{before}]!", self.base),
            (None, _) => write!(f, ", [{}, …]", self.base),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words from a kubelet 1.36.3, as GNU objdump reads them but for the names of the forms.
    #[test]
    fn loads_and_stores_are_read() {
        for (word, says) in [
            (0xf940_0b90, "ldr x16, [x28, #0x10]"),
            (0xf904_004a, "str x10, [x2, #0x800]"),
            (0xf900_33e3, "str x3, [sp, #0x60]"),
            (0xf85f_83fd, "ldr x29, [sp, #0xfffffffffffffff8]"),
            (0xf81c_0ffe, "str x30, [sp, #-64]!"),
            (0xf844_07fe, "ldr x30, [sp], #64"),
            (0xa93f_fa9d, "stp x29, x30, [x20, #0xfffffffffffffff8]"),
            (0xa942_0005, "ldp x5, x0, [x0, #0x20]"),
            (0xa8c1_7bfd, "ldp x29, x30, [sp], #16"),
            (0x3900_dfff, "strb xzr, [sp, #0x37]"),
            (0x3940_dbe6, "ldrb x6, [sp, #0x36]"),
            (0x7900_0be1, "strh x1, [sp, #0x4]"),
            (0xb900_0be1, "strw x1, [sp, #0x8]"),
            (0xf86a_690b, "ldr x11, [x8, …]"),
            (0x3d80_07e0, "str, [sp, #0x10]"),
        ] {
            assert_eq!(Access::decode(word).map(|access| access.to_string()), Some(says.to_owned()), "{word:#010x}");
        }
        for (word, what) in [
            (0xc8df_fce8, "ldar x8, [x7]"),
            (0x5800_0041, "ldr x1, literal"),
            (0xf821_0043, "ldadd"),
            (0x8b0a_010a, "add"),
            (0x2a03_03e0, "mov"),
        ] {
            assert_eq!(Access::decode(word), None, "{what}");
        }
    }

    #[test]
    fn a_store_is_where_it_is() {
        let stores = |word: u32, slot| Access::decode(word).expect("an access").stores_at(slot, 8);
        for (word, what, first, end) in [
            (0xf900_33e3, "str x3, [sp, #0x60]", 0x59, 0x70),
            (0xa906_13e3, "stp x3, x4, [sp, #0x60]", 0x59, 0x70),
            (0x3901_83e3, "strb w3, [sp, #0x60]", 0x59, 0x62),
            (0xf940_33e3, "ldr x3, [sp, #0x60]", 0, 0),
            (0xf900_3003, "str x3, [x0, #0x60]", 0, 0),
        ] {
            for slot in 0..0x100 {
                assert_eq!(stores(word, slot), (first..end).contains(&slot), "{what}, {slot:#x}");
            }
        }
        assert!(stores(0xf82a_6beb, 0x60), "str x11, [sp, x10]");
    }
}
