//! One function, from its first word to its last.

use super::{
    super::Doubt,
    instruction::{Instruction, X},
};

/// The instructions of a function; they are four bytes each, so none can hide in another.
pub(super) struct Body {
    address: u64,
    instructions: Vec<Instruction>,
    words: Vec<u32>,
    /// Which of them branches of the function itself lead to, sorted.
    targets: Vec<usize>,
}

/// The longest function that is disassembled, in bytes. The longest of those that are probed has 4,576.
const MAX_BODY: usize = 1 << 16;

impl Body {
    pub(super) fn decode(address: u64, bytes: &[u8]) -> Result<Self, Doubt> {
        let (words, rest) = bytes.as_chunks::<4>();
        if bytes.len() > MAX_BODY {
            return Err(Doubt::at("the function is too long to be what it seems", address));
        }
        if !rest.is_empty() || !address.is_multiple_of(4) {
            return Err(Doubt::at("a function that is not made of words", address));
        }
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let places = (0..).map(|index: u64| address.wrapping_add(4 * index));
        let instructions: Vec<_> = words.iter().zip(places).map(|(word, at)| Instruction::decode(*word, at)).collect();
        let target = |i: &Instruction| match i {
            Instruction::Branch(_, to) => usize::try_from(to.wrapping_sub(address) / 4).ok().filter(|index| *index < words.len()),
            _ => None,
        };
        let mut targets: Vec<_> = instructions.iter().filter_map(target).collect();
        targets.sort_unstable();
        Ok(Self { address, instructions, words, targets })
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Where the instruction at an index is.
    pub(super) fn address_of(&self, index: usize) -> u64 {
        self.address.wrapping_add(4 * index as u64)
    }

    /// Its bytes.
    pub(super) fn bytes_of(&self, index: usize) -> Vec<u8> {
        self.words.get(index).map(|word| word.to_le_bytes().to_vec()).unwrap_or_default()
    }

    /// Whether a branch of the function leads to one of these instructions.
    pub(super) fn is_entered(&self, range: std::ops::RangeInclusive<usize>) -> bool {
        let first = self.targets.partition_point(|target| target < range.start());
        self.targets.get(first).is_some_and(|target| range.contains(target))
    }

    /// The next instruction at or after an index that does something.
    pub(super) fn skip_nops(&self, index: usize) -> Option<usize> {
        (index..self.instructions.len()).find(|index| self.instructions[*index] != Instruction::Nop)
    }

    /// The instruction that last wrote a register before `index`, where nothing but straight code lies between; the index and it.
    pub(super) fn last_write(&self, register: X, index: usize) -> Option<(usize, &Instruction)> {
        for (at, instruction) in self.instructions.get(..index)?.iter().enumerate().rev() {
            if !instruction.is_straight() || self.is_entered(at + 1..=at + 1) {
                return None;
            }
            if instruction.writes(register) {
                return Some((at, instruction));
            }
        }
        None
    }

    /// The address that a register holds after the instruction at `index`, if that and one before put it there: `adrp` and `add`.
    pub(super) fn address_made(&self, index: usize) -> Option<(X, u64)> {
        match self.instructions.get(index)? {
            // A page of its own is no address of anything.
            Instruction::Address(to, address) => Some((*to, *address)),
            Instruction::Add { to, from, value } => match self.last_write(*from, index)? {
                (_, Instruction::Address(_, page)) => Some((*to, page.wrapping_add_signed(*value))),
                _ => None,
            },
            _ => None,
        }
    }
}
