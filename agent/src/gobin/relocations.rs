//! The pointers of a position-independent executable: they exist only as relocations that the loader applies.

use super::image::{Architecture, Section};

/// The relative relocations of an executable, to be looked up one by one.
///
/// A kubelet has 340,000 of them. Go's linker writes them package by package, in no order of addresses, so an index is needed: eight
/// bytes for each entry of 24 that is really in the file.
pub(super) struct Relocations<'a> {
    entries: &'a [[u8; ENTRY]],
    /// Where each writes, and which it is; sorted. Go links below 4 GiB; what claims to write above is left out.
    index: Vec<(u32, u32)>,
}

/// Bytes of an `Elf64_Rela`: place, type and symbol, addend.
const ENTRY: usize = 24;

impl<'a> Relocations<'a> {
    pub(super) fn index(sections: &[Section<'a>], architecture: Architecture) -> Self {
        let relative = match architecture {
            Architecture::X86_64 => object::elf::R_X86_64_RELATIVE,
            Architecture::Aarch64 => object::elf::R_AARCH64_RELATIVE,
        };
        let section = sections.iter().find(|s| s.name == ".rela" || s.name == ".rela.dyn");
        let (entries, _) = section.map_or(&[][..], |s| s.bytes).as_chunks();
        let numbered = entries.iter().zip(0u32..).filter(|(entry, _)| words(entry)[1] == u64::from(relative.0));
        let mut index: Vec<_> = numbered.filter_map(|(entry, number)| Some((u32::try_from(words(entry)[0]).ok()?, number))).collect();
        index.sort_unstable();
        Self { entries, index }
    }

    /// What the loader will write at an address.
    pub(super) fn addend_at(&self, address: u64) -> Option<u64> {
        let place = u32::try_from(address).ok()?;
        let first = self.index.partition_point(|(at, _)| *at < place);
        self.index.get(first).filter(|(at, _)| *at == place).and_then(|(_, number)| self.addend(*number))
    }

    /// Every address where the loader will write `target`.
    pub(super) fn places_of(&self, target: u64) -> impl Iterator<Item = u64> {
        self.index.iter().filter(move |(_, number)| self.addend(*number) == Some(target)).map(|(place, _)| u64::from(*place))
    }

    fn addend(&self, number: u32) -> Option<u64> {
        self.entries.get(usize::try_from(number).ok()?).map(|entry| words(entry)[2])
    }
}

fn words(entry: &[u8; ENTRY]) -> [u64; 3] {
    let (words, _) = entry.as_chunks::<8>();
    [0, 1, 2].map(|index| u64::from_le_bytes(words[index]))
}
