//! Functions by name, from `.gopclntab` (`runtime/symtab.go`: `pcHeader`, `functab`, `_func`).

use super::{Error, image::Image};

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
    names: &'a [u8],
    table: &'a [u8],
    count: usize,
}

/// `abi.Go120PCLnTabMagic`: Go 1.20 to at least 1.27.
const MAGIC: u32 = 0xffff_fff1;
/// Go 1.2, 1.16 and 1.18.
const OLD_MAGICS: [u32; 3] = [0xffff_fffb, 0xffff_fffa, 0xffff_fff0];
/// More than anybody asks for.
const MAX_FUNCTIONS: usize = 256;

impl<'a> Header<'a> {
    pub(super) fn find(image: &Image<'a>) -> Result<Self, Error> {
        let section = image.section(".gopclntab").ok_or(Error::NotGo)?;
        let (bytes, address) = (section.bytes, section.address);
        let broken = |what| Error::Malformed { what, address };
        let short = || broken("a function table that ends early");
        let magic = u32_at(bytes, 0).ok_or_else(short)?;
        if OLD_MAGICS.contains(&magic) {
            return Err(Error::Unsupported("the executable was built with Go 1.19 or older; Go 1.20 or newer is needed"));
        }
        if magic != MAGIC {
            return Err(Error::Unsupported("the function table has a form that is newer than Go 1.27; use a newer release of this agent"));
        }
        if bytes.get(7) != Some(&8) {
            return Err(broken("a pointer size that is not 8"));
        }
        // After nfunc, nfiles and textStart come the offsets of the names, the units, the files, the pc tables and the functions.
        let field = |index: usize| u64_at(bytes, 8 + 8 * index).ok_or_else(short);
        let part = |from: u64, to: u64| {
            let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
            bytes.get(from..to)
        };
        let names = part(field(3)?, field(4)?).ok_or_else(|| broken("function names that lie outside of the table"))?;
        let table = part(field(7)?, bytes.len() as u64).ok_or_else(|| broken("functions that lie outside of the table"))?;
        let count = usize::try_from(field(0)?).ok().filter(|n| *n > 0 && *n < table.len() / 8).ok_or_else(|| broken("a function count"))?;
        let first = u32_at(table, 0).ok_or_else(short)?;
        let end = u32_at(table, 8 * count).ok_or_else(short)?;
        let text_start = image.pointer(address.wrapping_add(24))?;
        Ok(Self { address, text_start, code: (first, end), names, table, count })
    }
}

/// The functions of an executable whose text is known.
pub(super) struct Functions<'a> {
    names: &'a [u8],
    table: &'a [u8],
    count: usize,
    text: u64,
}

impl<'a> Functions<'a> {
    pub(super) fn new(image: &Image<'a>, header: &Header<'a>, text: u64) -> Result<Self, Error> {
        if !image.is_code(text) {
            return Err(Error::malformed("a text that is not executable", text));
        }
        Ok(Self { names: header.names, table: header.table, count: header.count, text })
    }

    /// The functions whose names are wanted.
    ///
    /// Reads all names, which lie together, and then only the entries on the way to the functions: reading each function's entry
    /// would touch twice as many pages.
    pub(super) fn named(&self, image: &Image<'a>, wanted: impl Fn(&str) -> bool) -> Result<Vec<Function<'a>>, Error> {
        let mut found = Vec::new();
        let (mut searched, mut offset) = (0, 0);
        for name in self.names.split(|byte| *byte == 0) {
            if let Some(name) = std::str::from_utf8(name).ok().filter(|name| wanted(name)) {
                searched += 1;
                if searched > MAX_FUNCTIONS {
                    return Err(Error::malformed("too many functions that answer to a name", self.text));
                }
                if let Some(index) = self.index_of(offset) {
                    found.push(self.function(image, name, index)?);
                }
            }
            offset += name.len() + 1;
        }
        Ok(found)
    }

    fn function(&self, image: &Image<'a>, name: &'a str, index: usize) -> Result<Function<'a>, Error> {
        let broken = || Error::malformed("a function without a body", self.text);
        let start = self.entry(index).ok_or_else(broken)?;
        let end = self.entry(index + 1).filter(|end| *end > start).ok_or_else(broken)?;
        let address = self.text.checked_add(u64::from(start)).filter(|a| image.is_code(*a)).ok_or_else(broken)?;
        let len = u64::from(end - start);
        let file_offset = image.file_offset(address, len).ok_or_else(broken)?;
        Ok(Function { name, address, file_offset, bytes: image.bytes(address, len)? })
    }

    /// The function whose name begins at an offset; `None` for the name of one that exists only inlined into others.
    ///
    /// The linker writes names in the order of functions, but for the 1 % that were named before because an earlier function inlined
    /// them. A binary search that looks at the highest of a few neighbours nearly always arrives; where it does not, all are read.
    fn index_of(&self, name: usize) -> Option<usize> {
        let wanted = u32::try_from(name).ok()?;
        let highest_near = |index: usize| (index..self.count.min(index + 8)).filter_map(|i| self.name_offset(i)).max().unwrap_or(0);
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if highest_near(middle) < wanted { low = middle + 1 } else { high = middle }
        }
        let is_wanted = |index: &usize| self.name_offset(*index) == Some(wanted);
        (low..self.count.min(low + 16)).find(is_wanted).or_else(|| (0..self.count).find(is_wanted))
    }

    fn entry(&self, index: usize) -> Option<u32> {
        u32_at(self.table, 8 * index)
    }

    fn name_offset(&self, index: usize) -> Option<u32> {
        let function = usize::try_from(u32_at(self.table, 8 * index + 4)?).ok()?;
        u32_at(self.table, function.checked_add(4)?)
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}
