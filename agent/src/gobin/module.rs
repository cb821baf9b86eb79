//! `runtime.moduledata`: where text and types begin (`runtime/symtab.go`).

use super::{
    Error,
    image::Image,
    pclntab::Header,
    relocations::{Relocations, entries},
};

/// What is needed of moduledata.
#[derive(Debug)]
pub(super) struct Module {
    /// Functions' addresses count from here; not always the beginning of `.text`.
    pub(super) text: u64,
    /// Names' and types' offsets count from here.
    pub(super) types: u64,
    /// The end of types.
    pub(super) end_of_types: u64,
    pub(super) links: Links,
}

/// How the types and itabs that can be looked up are listed.
#[derive(Debug)]
pub(super) enum Links {
    /// Go 1.26 and before: offsets of types, sorted by the type's string, and pointers to itabs.
    Listed { types: List, itabs: List },
    /// Since Go 1.27: one after the other, types from `types` on for so many bytes, itabs in a range of addresses.
    Walked { types_size: u64, itabs: (u64, u64) },
}

/// So many entries at an address, all of them in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) address: u64,
    pub(super) count: u64,
}

/// Offsets in moduledata, the same from Go 1.20 to 1.27 up to `types`.
const MINPC: u64 = 160;
const MAXPC: u64 = 168;
const TEXT: u64 = 176;
const ETEXT: u64 = 184;
const TYPES: u64 = 296;
/// Go 1.27 puts `typedesclen` before `etypes`, and the itabs' place after it.
const ETYPES: u64 = 304;
const ETYPES_127: u64 = 312;
/// `typelinks` and behind it `itablinks`: Go 1.26 has put `epclntab` before them.
const TYPELINKS: [u64; 2] = [352, 360];
const SLICE: u64 = 24;
const ITABS_127: u64 = 320;
const ITABS_SIZE_127: u64 = 328;

impl Module {
    pub(super) fn find(image: &Image<'_>, header: &Header<'_>) -> Result<Self, Error> {
        let places = candidates(image, header.address)?;
        places
            .into_iter()
            .find_map(|address| Self::read(image, header, address).ok().flatten())
            .ok_or(Error::Unsupported("the executable's moduledata was not found or has an unknown form; Go 1.20 to 1.27 are supported"))
    }

    /// The module at an address, if everything that can be checked about it is true.
    fn read(image: &Image<'_>, header: &Header<'_>, address: u64) -> Result<Option<Self>, Error> {
        let at = |offset: u64| image.pointer(address.wrapping_add(offset));
        let (text, end_of_text) = (at(TEXT)?, at(ETEXT)?);
        let (first, end) = header.code;
        let is_true = at(0)? == header.address
            && at(MINPC)? == text.wrapping_add(u64::from(first))
            && at(MAXPC)? == text.wrapping_add(u64::from(end))
            && at(MAXPC)? <= end_of_text
            && (header.text_start == 0 || header.text_start == text)
            && image.is_code(text);
        if !is_true {
            return Ok(None);
        }
        let types = at(TYPES)?;
        let (end_of_types, links) = if let Some(links) = listed(image, address)? {
            (at(ETYPES)?, links)
        } else {
            let types_size = image.word(address.wrapping_add(ETYPES))?;
            let start = types.wrapping_add(image.word(address.wrapping_add(ITABS_127))?);
            let end = start.wrapping_add(image.word(address.wrapping_add(ITABS_SIZE_127))?);
            let end_of_types = at(ETYPES_127)?;
            let ordered = types.checked_add(types_size).is_some_and(|t| t <= start) && start <= end && end <= end_of_types;
            // Where a linker other than Go's has not put it into a larger one.
            if image.section(".go.type").is_some_and(|s| s.address != types) || !ordered {
                return Ok(None);
            }
            (end_of_types, Links::Walked { types_size, itabs: (start, end) })
        };
        let size = end_of_types.checked_sub(types).filter(|size| *size > 0);
        let mapped = size.is_some_and(|size| image.file_offset(types, size).is_some());
        Ok(mapped.then_some(Self { text, types, end_of_types, links }))
    }
}

/// The lists of types and itabs, if the moduledata at an address has them. They are read from there and not found as sections: the linker of a C
/// compiler puts `.data.rel.ro.typelink` into `.data.rel.ro`.
fn listed(image: &Image<'_>, address: u64) -> Result<Option<Links>, Error> {
    let list = |offset: u64, size: u64| -> Result<Option<List>, Error> {
        let place = address.wrapping_add(offset);
        let (start, count, room) = (image.pointer(place)?, image.word(place.wrapping_add(8))?, image.word(place.wrapping_add(16))?);
        let is_there = count > 0 && count == room && count.checked_mul(size).is_some_and(|bytes| image.file_offset(start, bytes).is_some());
        Ok(is_there.then_some(List { address: start, count }))
    };
    for offset in TYPELINKS {
        if let (Some(types), Some(itabs)) = (list(offset, 4)?, list(offset + SLICE, 8)?) {
            return Ok(Some(Links::Listed { types, itabs }));
        }
    }
    Ok(None)
}

/// Where moduledata may be: its own section since Go 1.26; before, wherever in the data a pointer to the function table is.
fn candidates(image: &Image<'_>, pclntab: u64) -> Result<Vec<u64>, Error> {
    if let Some(section) = image.section(".go.module") {
        return Ok(vec![section.address]);
    }
    let mut places = Vec::new();
    let mut take = |place: u64| {
        if places.len() < MAX_CANDIDATES {
            places.push(place);
        }
    };
    if let Some(section) = image.relocations().and_then(Relocations::section) {
        let whole = section.size / 24 * 24;
        image.scan(section, 0..whole, |_, piece| {
            entries(piece).filter(|[_, _, addend]| *addend == pclntab).for_each(|[place, ..]| take(place));
        })?;
    }
    for section in [".noptrdata", ".data"].into_iter().filter_map(|name| image.section(name)) {
        image.scan(&section, 0..section.size, |start, piece| {
            let (words, _) = piece.as_chunks::<8>();
            let hits = words.iter().zip(0u64..).filter(|(word, _)| u64::from_le_bytes(**word) == pclntab);
            hits.for_each(|(_, index)| take(section.address.wrapping_add(start + 8 * index)));
        })?;
    }
    Ok(places)
}

/// A real executable has one or two pointers to its function table.
const MAX_CANDIDATES: usize = 64;
