//! The pointers of a position-independent executable: they exist only as relocations that the loader applies.

use super::image::{Architecture, Section};

/// The relative relocations of an executable, to be looked up one by one.
///
/// A kubelet has 340,000 of them. Go's linker writes them by symbol, and those of one symbol in any order: blocks of them are nearly
/// sorted, so a range for each block leads to the few where an address can be.
pub(super) struct Relocations<'a> {
    blocks: Vec<Block<'a>>,
    relative: u64,
}

struct Block<'a> {
    lowest: u64,
    highest: u64,
    entries: &'a [u8],
}

/// Bytes of an `Elf64_Rela`: place, type and symbol, addend.
const ENTRY: usize = 24;
const BLOCK: usize = 128 * ENTRY;

impl<'a> Relocations<'a> {
    pub(super) fn index(sections: &[Section<'a>], architecture: Architecture) -> Self {
        let kind = match architecture {
            Architecture::X86_64 => object::elf::R_X86_64_RELATIVE,
            Architecture::Aarch64 => object::elf::R_AARCH64_RELATIVE,
        };
        let named = |s: &&Section<'a>| s.name == ".rela" || s.name == ".rela.dyn";
        let blocks = sections.iter().filter(named).flat_map(|s| s.bytes.chunks(BLOCK)).filter_map(Block::of).collect();
        Self { blocks, relative: u64::from(kind.0) }
    }

    /// What the loader will write at an address.
    pub(super) fn addend_at(&self, address: u64) -> Option<u64> {
        let candidates = self.blocks.iter().filter(|b| b.lowest <= address && address <= b.highest);
        candidates.flat_map(|b| self.relative_in(b)).find(|(place, _)| *place == address).map(|(_, addend)| addend)
    }

    /// Every address where the loader will write `target`.
    pub(super) fn places_of(&self, target: u64) -> impl Iterator<Item = u64> {
        self.blocks.iter().flat_map(|b| self.relative_in(b)).filter(move |(_, addend)| *addend == target).map(|(place, _)| place)
    }

    fn relative_in(&self, block: &Block<'a>) -> impl Iterator<Item = (u64, u64)> + use<'_, 'a> {
        let relative = self.relative;
        entries(block.entries).filter(move |(_, info, _)| *info == relative).map(|(place, _, addend)| (place, addend))
    }
}

impl<'a> Block<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let places = || entries(bytes).map(|(place, ..)| place);
        Some(Self { lowest: places().min()?, highest: places().max()?, entries: bytes })
    }
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = (u64, u64, u64)> + use<'_> {
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    entries.iter().map(|entry| {
        let (words, _) = entry.as_chunks::<8>();
        (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]), u64::from_le_bytes(words[2]))
    })
}
