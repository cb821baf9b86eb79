//! Functions by name, from `.gopclntab` (`runtime/symtab.go`: `pcHeader`, `functab`, `_func`).

use std::{collections::BTreeMap, ops::Range};

use super::{
    Error, MAX_TEXT,
    image::{Image, Section},
    source::Refusal,
};

/// A function of the executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name, with the import path of its package.
    pub name: &'a str,
    /// Where it begins.
    pub address: u64,
    /// Where its first byte is in the file.
    pub file_offset: u64,
    /// Its instructions and the padding up to the next function.
    pub bytes: &'a [u8],
}

/// The fixed part of the table.
pub(super) struct Header<'a> {
    /// Where the table is.
    pub(super) address: u64,
    /// The beginning of the text as the header states it; 0 since Go 1.26, and in position-independent executables.
    pub(super) text_start: u64,
    /// Offsets of the first function and of the end of the last, from the beginning of the text.
    pub(super) code: (u32, u32),
    tables: Tables<'a>,
}

/// The parts of the table that are read.
#[derive(Clone)]
struct Tables<'a> {
    section: Section<'a>,
    /// Where the names are, in bytes from the beginning of the section.
    names: Range<u64>,
    /// Where the functions are; to the end of the section.
    functions: u64,
    count: u64,
}

/// `abi.Go120PCLnTabMagic`: Go 1.20 to at least 1.27.
const MAGIC: u32 = 0xffff_fff1;
/// Go 1.2, 1.16 and 1.18.
const OLD_MAGICS: [u32; 3] = [0xffff_fffb, 0xffff_fffa, 0xffff_fff0];
/// More than anybody asks for.
const MAX_FUNCTIONS: usize = 256;
/// Ten times as many functions as a kubelet has.
const MAX_SEARCHED: u64 = 1 << 20;
/// Bytes of the fixed part.
const HEADER: u64 = 72;
/// What a name costs beside its bytes, see `Image::spend`.
const NAME: u64 = 16;

/// Where the table may be: its own section, or, where the linker of a C compiler has put that into a larger one, wherever in it there is a word
/// like the first of a table.
pub(super) fn candidates<'a>(image: &Image<'a>) -> Result<Vec<Section<'a>>, Error> {
    if let Some(section) = image.section(".gopclntab") {
        return Ok(vec![section]);
    }
    let is_go = [".go.buildinfo", ".note.go.buildid"].iter().any(|name| image.section(name).is_some());
    let merged = image.section(".data.rel.ro").filter(|_| is_go).ok_or(Error::NotGo)?;
    let mut places = Vec::new();
    image.scan(&merged, 0..merged.size, |start, piece| {
        let words = piece.as_chunks::<8>().0.iter().zip((start..).step_by(8));
        let starts = words.filter(|(word, _)| word[..6] == FIRST[..] && matches!(word[6], 1 | 4) && word[7] == 8);
        places.extend(starts.map(|(_, at)| at).take(MAX_CANDIDATES.saturating_sub(places.len())));
    })?;
    let rest = |at: u64| Section { address: merged.address.wrapping_add(at), offset: merged.offset + at, size: merged.size - at, ..merged };
    Ok(places.into_iter().map(rest).collect())
}

/// How a table begins: its magic and two zeros, and then the smallest instruction (1 or 4 bytes) and the size of pointers.
const FIRST: [u8; 6] = [0xf1, 0xff, 0xff, 0xff, 0, 0];
/// A real executable has one.
const MAX_CANDIDATES: usize = 8;

impl<'a> Header<'a> {
    /// The table at the beginning of a section.
    pub(super) fn read(image: &Image<'a>, section: Section<'a>) -> Result<Self, Error> {
        let address = section.address;
        let broken = |what| Error::Malformed { what, address };
        let head = image.read(section.offset, HEADER.min(section.size)).map_err(|refusal| refusal.at(address))?;
        let short = || broken("a function table that ends early");
        let magic = u32_at(head, 0).ok_or_else(short)?;
        if OLD_MAGICS.contains(&magic) {
            return Err(Error::Unsupported("the executable was built with Go 1.19 or older; Go 1.20 or newer is needed"));
        }
        if magic != MAGIC {
            return Err(Error::Unsupported("the function table has a form that is newer than Go 1.27; use a newer release of this agent"));
        }
        if head.get(7) != Some(&8) {
            return Err(broken("a pointer size that is not 8"));
        }
        // After nfunc, nfiles and textStart come the offsets of the names, the units, the files, the pc tables and the functions.
        let field = |index: usize| u64_at(head, 8 + 8 * index).ok_or_else(short);
        let names = field(3)?..field(4)?;
        if names.start > names.end || names.end > section.size {
            return Err(broken("function names that lie outside of the table"));
        }
        let (functions, count) = (field(7)?, field(0)?);
        let size = section.size.checked_sub(functions).ok_or_else(|| broken("functions that lie outside of the table"))?;
        if count == 0 || count >= size / 8 {
            return Err(broken("a function count"));
        }
        let tables = Tables { section, names, functions, count };
        let first = tables.int(image, 0)?.ok_or_else(short)?;
        let end = tables.int(image, 8 * count)?.ok_or_else(short)?;
        let text_start = image.pointer(address.wrapping_add(24))?;
        Ok(Self { address, text_start, code: (first, end), tables })
    }
}

impl Tables<'_> {
    /// The number so many bytes after the beginning of the functions; `None` if it is outside of the table.
    fn int(&self, image: &Image<'_>, at: u64) -> Result<Option<u32>, Error> {
        let offset = self.functions.checked_add(at).filter(|offset| offset.saturating_add(4) <= self.section.size);
        let Some(offset) = offset else { return Ok(None) };
        let bytes = image.read(self.section.offset.saturating_add(offset), 4).map_err(|refusal| refusal.at(self.section.address))?;
        Ok(u32_at(bytes, 0))
    }

    /// The functions of these names, by the names' offsets: looks at all of them, in the order of the file.
    fn search(&self, image: &Image<'_>, names: &[u64]) -> Result<BTreeMap<u64, u64>, Error> {
        if self.count > MAX_SEARCHED {
            return Err(Error::malformed("too many functions", self.section.address));
        }
        let mut places: Vec<(u32, u32)> = Vec::new();
        let mut index = 0;
        image.scan(&self.section, self.functions..self.functions + 8 * self.count, |_, piece| {
            for entry in piece.as_chunks::<8>().0 {
                places.extend(u32_at(entry, 4).map(|place| (place, index)));
                index += 1;
            }
        })?;
        places.sort_unstable();
        let mut found = BTreeMap::new();
        let mut next = 0;
        image.scan(&self.section, self.functions..self.section.size, |start, piece| {
            while let Some((place, index)) = places.get(next) {
                let at = (u64::from(*place) + 4).checked_sub(start).and_then(|at| usize::try_from(at).ok());
                if at.is_some_and(|at| at >= piece.len()) {
                    return;
                }
                next += 1;
                let name = at.and_then(|at| u32_at(piece, at)).map(u64::from).filter(|name| names.contains(name));
                name.map(|name| {
                    found.entry(name).and_modify(|known: &mut u64| *known = (*known).min((*index).into())).or_insert((*index).into())
                });
            }
        })?;
        Ok(found)
    }

    /// The offset from the text at which a function begins; of one after the last, where that ends.
    fn entry(&self, image: &Image<'_>, index: u64) -> Result<Option<u32>, Error> {
        self.int(image, 8 * index)
    }

    /// Where the name of a function begins, in bytes from the first name.
    fn name_offset(&self, image: &Image<'_>, index: u64) -> Result<Option<u32>, Error> {
        let Some(function) = self.int(image, 8 * index + 4)? else { return Ok(None) };
        self.int(image, u64::from(function) + 4)
    }
}

/// The functions of an executable whose text is known.
pub(super) struct Functions<'a> {
    tables: Tables<'a>,
    text: u64,
}

impl<'a> Functions<'a> {
    pub(super) fn new(image: &Image<'a>, header: &Header<'a>, text: u64) -> Result<Self, Error> {
        if !image.is_code(text) {
            return Err(Error::malformed("a text that is not executable", text));
        }
        Ok(Self { tables: header.tables.clone(), text })
    }

    /// The functions whose names are wanted.
    ///
    /// Looks at all names, which lie together, and then only at the entries on the way to the functions: reading each function's entry
    /// would touch twice as many pages.
    pub(super) fn named(&self, image: &Image<'a>, wanted: impl Fn(&str) -> bool) -> Result<Vec<Function<'a>>, Error> {
        let mut names = Vec::new();
        for (offset, len) in self.wanted(image, wanted)? {
            let start = self.tables.section.offset + self.tables.names.start + offset;
            let name = image.read(start, len).map_err(|refusal| refusal.at(self.tables.section.address))?;
            let name = std::str::from_utf8(name).map_err(|_| Error::malformed("a name that changes", self.tables.section.address))?;
            names.push((name, offset, self.near(image, offset)?));
        }
        let lost: Vec<u64> = names.iter().filter(|(.., index)| index.is_none()).map(|(_, offset, _)| *offset).collect();
        let late = if lost.is_empty() { BTreeMap::new() } else { self.tables.search(image, &lost)? };
        let mut found = Vec::new();
        for (name, offset, index) in names {
            // The name of one that exists only inlined into others is no function's.
            if let Some(index) = index.or_else(|| late.get(&offset).copied()) {
                found.push(self.function(image, name, index)?);
            }
        }
        Ok(found)
    }

    /// Offsets and lengths of the names that are wanted.
    fn wanted(&self, image: &Image<'_>, wanted: impl Fn(&str) -> bool) -> Result<Vec<(u64, u64)>, Error> {
        let mut found = Vec::new();
        let mut names = 0;
        // The beginning of a name whose end is in the next piece.
        let mut begun: Vec<u8> = Vec::new();
        let mut begins = 0;
        let mut take = |at: u64, name: &[u8]| {
            names += 1;
            if std::str::from_utf8(name).is_ok_and(&wanted) && found.len() <= MAX_FUNCTIONS {
                found.push((at, name.len() as u64));
            }
        };
        image.scan(&self.tables.section, self.tables.names.clone(), |start, piece| {
            let mut rest = piece;
            let mut at = start;
            while let Some(len) = memchr::memchr(0, rest) {
                let (name, after) = rest.split_at(len);
                if begun.is_empty() {
                    take(at, name);
                } else {
                    begun.extend(name);
                    take(begins, &begun);
                    begun.clear();
                }
                at += len as u64 + 1;
                rest = after.get(1..).unwrap_or_default();
            }
            if begun.is_empty() {
                begins = at;
            }
            // What is longer than any name is no name, and need not be kept.
            let room = MAX_TEXT.saturating_sub(begun.len() as u64);
            begun.extend(rest.iter().take(usize::try_from(room).unwrap_or_default()));
        })?;
        let work = image.spend(names * NAME);
        work.map_err(|refusal: Refusal| refusal.at(self.tables.section.address))?;
        if found.len() > MAX_FUNCTIONS {
            return Err(Error::malformed("too many functions that answer to a name", self.text));
        }
        Ok(found)
    }

    fn function(&self, image: &Image<'a>, name: &'a str, index: u64) -> Result<Function<'a>, Error> {
        let broken = || Error::malformed("a function without a body", self.text);
        let start = self.tables.entry(image, index)?.ok_or_else(broken)?;
        let end = self.tables.entry(image, index + 1)?.filter(|end| *end > start).ok_or_else(broken)?;
        let address = self.text.checked_add(u64::from(start)).filter(|a| image.is_code(*a)).ok_or_else(broken)?;
        let len = u64::from(end - start);
        let file_offset = image.file_offset(address, len).ok_or_else(broken)?;
        Ok(Function { name, address, file_offset, bytes: image.bytes(address, len)? })
    }

    /// The function whose name begins at an offset, if it is where it is looked for.
    ///
    /// The linker writes names in the order of functions, but for the 1 % that were named before because an earlier function inlined
    /// them. A binary search that looks at the highest of a few neighbours nearly always arrives.
    fn near(&self, image: &Image<'_>, name: u64) -> Result<Option<u64>, Error> {
        let Ok(wanted) = u32::try_from(name) else { return Ok(None) };
        let count = self.tables.count;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut highest = 0;
            for index in middle..count.min(middle + 8) {
                highest = highest.max(self.tables.name_offset(image, index)?.unwrap_or(0));
            }
            if highest < wanted { low = middle + 1 } else { high = middle }
        }
        for index in low..count.min(low + 16) {
            if self.tables.name_offset(image, index)? == Some(wanted) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}
