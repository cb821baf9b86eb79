//! The pointers of a position-independent executable: they exist only as relocations that the loader applies.

use super::{
    Error, Source,
    image::{Architecture, Section},
};

/// The relative relocations of an executable, to be looked up one by one.
///
/// A kubelet has 340,000 of them. Go's linker writes them package by package, in no order of addresses, so an index is needed: eight
/// bytes for each entry of 24 that is really in the file.
pub(super) struct Relocations<'a> {
    section: Option<Section<'a>>,
    /// Where each writes, and which it is; sorted. Go links below 4 GiB; what claims to write above is left out.
    index: Vec<(u32, u32)>,
}

/// Bytes of an `Elf64_Rela`: place, type and symbol, addend.
const ENTRY: usize = 24;
/// Where in it the addend is.
pub(super) const ADDEND: u64 = 16;
/// Three times as many as a kubelet has.
const MAX_ENTRIES: u64 = 1 << 20;

impl<'a> Relocations<'a> {
    pub(super) fn index(source: Source<'a>, sections: &[Section<'a>], architecture: Architecture) -> Result<Self, Error> {
        let relative = match architecture {
            Architecture::X86_64 => object::elf::R_X86_64_RELATIVE,
            Architecture::Aarch64 => object::elf::R_AARCH64_RELATIVE,
        };
        let Some(section) = sections.iter().find(|s| s.name == ".rela" || s.name == ".rela.dyn").copied() else {
            return Ok(Self { section: None, index: Vec::new() });
        };
        let count = section.size / ENTRY as u64;
        if count > MAX_ENTRIES {
            return Err(Error::malformed("too many relocations", section.address));
        }
        let mut index = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
        let mut number = 0u32;
        let range = section.offset..section.offset.saturating_add(count * ENTRY as u64);
        let scanned = source.scan(range, |_, piece| {
            for [place, kind, _] in entries(piece) {
                if let Some(place) = u32::try_from(place).ok().filter(|_| kind == u64::from(relative.0)) {
                    index.push((place, number));
                }
                number += 1;
            }
        });
        scanned.map_err(|refusal| refusal.at(section.address))?;
        index.sort_unstable();
        Ok(Self { section: Some(section), index })
    }

    /// The offset in the file of the relocation that writes at an address.
    pub(super) fn entry_at(&self, address: u64) -> Option<u64> {
        let place = u32::try_from(address).ok()?;
        let first = self.index.partition_point(|(at, _)| *at < place);
        let (_, number) = self.index.get(first).filter(|(at, _)| *at == place)?;
        Some(self.section?.offset + u64::from(*number) * ENTRY as u64)
    }

    /// Where they are.
    pub(super) fn section(&self) -> Option<&Section<'a>> {
        self.section.as_ref()
    }
}

/// The words of each whole entry of a piece: place, type and symbol, addend.
pub(super) fn entries(piece: &[u8]) -> impl Iterator<Item = [u64; 3]> {
    piece.as_chunks::<ENTRY>().0.iter().map(words)
}

fn words(entry: &[u8; ENTRY]) -> [u64; 3] {
    let (words, _) = entry.as_chunks::<8>();
    [0, 1, 2].map(|index| u64::from_le_bytes(words[index]))
}
