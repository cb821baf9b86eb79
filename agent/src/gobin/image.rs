//! The ELF file as memory: bytes by virtual address.

use std::{cell::Cell, ops::Range};

use object::{
    LittleEndian as Le,
    elf::{EM_AARCH64, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PF_W, PF_X, PT_LOAD, SHT_NOBITS},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

use super::{
    Error, Source,
    relocations::{ADDEND, Relocations},
    source::Refusal,
};

/// What an executable was compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Architecture {
    /// amd64
    #[serde(rename = "amd64")]
    X86_64,
    /// arm64
    #[serde(rename = "arm64")]
    Aarch64,
}

impl Architecture {
    /// What this program itself was compiled for.
    pub const OWN: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// As Go calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

pub(super) struct Image<'a> {
    source: Source<'a>,
    architecture: Architecture,
    segments: Vec<Segment>,
    sections: Vec<Section<'a>>,
    /// Only in a position-independent executable, whose pointers exist nowhere else.
    relocations: Option<Relocations<'a>>,
    /// What was asked for so far, see [`MAX_WORK`].
    work: Cell<u64>,
}

/// A part of the file that is mapped; `offset + size` is within the file.
struct Segment {
    address: u64,
    offset: u64,
    size: u64,
    executable: bool,
    writable: bool,
}

/// A named part of the file; `offset + size` is within the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// More than any linker writes.
const MAX_HEADERS: u32 = 1024;

/// What may be asked of an executable in all: its bytes, and for each question [`READ`]. A kubelet takes 15 million; tables that lie so that
/// reading them takes an hour are given up after less than a second.
const MAX_WORK: u64 = 256 << 20;
/// What a question costs, however short the answer.
const READ: u64 = 64;

impl<'a> Image<'a> {
    pub(super) fn parse(source: Source<'a>) -> Result<Self, Error> {
        // Why something cannot be read is lost in what follows.
        source.read(0, 64).map_err(|refusal| if refusal == Refusal::Outside { Error::NotElf } else { refusal.at(0) })?;
        let header = FileHeader64::<Le>::parse(source).map_err(|_| Error::NotElf)?;
        let kind = header.e_type.get(Le);
        if !header.is_little_endian() || (kind != ET_EXEC && kind != ET_DYN) {
            return Err(Error::NotElf);
        }
        let architecture = match header.e_machine.get(Le) {
            EM_X86_64 => Architecture::X86_64,
            EM_AARCH64 => Architecture::Aarch64,
            _ => return Err(Error::Unsupported("executables for other machines than amd64 and arm64 are not supported")),
        };
        let segments = segments(header, source)?;
        let sections = sections(header, source)?;
        if sections.is_empty() {
            return Err(Error::Unsupported(
                "the executable has no section headers, so Go's tables cannot be found; use one that was not packed or stripped by sstrip",
            ));
        }
        let relocations = (kind == ET_DYN).then(|| Relocations::index(source, &sections, architecture)).transpose()?;
        Ok(Self { source, architecture, segments, sections, relocations, work: Cell::new(0) })
    }

    pub(super) fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The section of that name, which in a position-independent executable may begin with `.data.rel.ro`.
    pub(super) fn section(&self, name: &str) -> Option<Section<'a>> {
        self.sections.iter().find(|s| s.name == name || s.name.strip_prefix(".data.rel.ro") == Some(name)).copied()
    }

    /// The relocations of a position-independent executable.
    pub(super) fn relocations(&self) -> Option<&Relocations<'a>> {
        self.relocations.as_ref()
    }

    /// Bytes at a virtual address, as they are in the file.
    pub(super) fn bytes(&self, address: u64, len: u64) -> Result<&'a [u8], Error> {
        let offset = self.file_offset(address, len).ok_or(Error::malformed("a reference to outside of the file", address))?;
        self.read(offset, len).map_err(|refusal| refusal.at(address))
    }

    /// Bytes at an offset in the file.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<&'a [u8], Refusal> {
        self.spend(len)?;
        self.source.read(offset, len)
    }

    /// All bytes of a section.
    pub(super) fn contents(&self, section: &Section<'a>) -> Result<&'a [u8], Error> {
        self.read(section.offset, section.size).map_err(|refusal| refusal.at(section.address))
    }

    /// Shows the bytes of a part of a section in pieces, see [`Source::scan`].
    pub(super) fn scan(&self, section: &Section<'a>, part: Range<u64>, see: impl FnMut(u64, &[u8])) -> Result<(), Error> {
        let is_part = part.start <= part.end && part.end <= section.size;
        let spent = if is_part { self.spend(part.end - part.start) } else { Err(Refusal::Outside) };
        let range = section.offset.saturating_add(part.start)..section.offset.saturating_add(part.end);
        spent.and_then(|()| self.source.scan(range, see)).map_err(|refusal| refusal.at(section.address))
    }

    /// Notes that so much was asked.
    pub(super) fn spend(&self, len: u64) -> Result<(), Refusal> {
        let cost = len.saturating_add(READ).saturating_add(self.segments.len() as u64);
        let spent = self.work.get().saturating_add(cost);
        self.work.set(spent);
        if spent > MAX_WORK { Err(Refusal::TooMuch) } else { Ok(()) }
    }

    /// Where `len` bytes at a virtual address are in the file: by the program headers, as the kernel maps them.
    pub(super) fn file_offset(&self, address: u64, len: u64) -> Option<u64> {
        self.segments.iter().find_map(|s| s.offset_of(address, len))
    }

    /// Whether an address is mapped executable.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.segments.iter().any(|s| s.executable && s.offset_of(address, 1).is_some())
    }

    /// The section `.rodata`, if it is mapped where nothing can write.
    pub(super) fn constants(&self) -> Option<Range<u64>> {
        let section = self.sections.iter().find(|section| section.name == ".rodata")?;
        let is_fixed = self.segments.iter().any(|s| !s.writable && s.offset_of(section.address, section.size).is_some());
        is_fixed.then(|| section.address..section.address + section.size)
    }

    pub(super) fn half(&self, address: u64) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array(address)?))
    }

    pub(super) fn int(&self, address: u64) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(address)?))
    }

    pub(super) fn word(&self, address: u64) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(address)?))
    }

    /// The pointer at an address, relocated to the addresses that the file states; 0 is nil.
    pub(super) fn pointer(&self, address: u64) -> Result<u64, Error> {
        match self.relocations.as_ref().and_then(|r| r.entry_at(address)) {
            Some(entry) => {
                let addend = self.read(entry + ADDEND, 8).map_err(|refusal| refusal.at(address))?;
                Ok(u64::from_le_bytes(addend.try_into().map_err(|_| Error::malformed("a short read", address))?))
            }
            None => self.word(address),
        }
    }

    fn array<const N: usize>(&self, address: u64) -> Result<[u8; N], Error> {
        let bytes = self.bytes(address, N as u64)?;
        bytes.try_into().map_err(|_| Error::malformed("a short read", address))
    }
}

impl Segment {
    fn offset_of(&self, address: u64, len: u64) -> Option<u64> {
        let within = address.checked_sub(self.address)?;
        let end = within.checked_add(len)?;
        (end <= self.size).then(|| self.offset + within)
    }
}

fn segments(header: &FileHeader64<Le>, source: Source<'_>) -> Result<Vec<Segment>, Error> {
    let broken = |_| Error::malformed("the program headers", 0);
    if header.phnum(Le, source).map_err(broken)? > MAX_HEADERS {
        return Err(Error::malformed("too many program headers", 0));
    }
    let headers = header.program_headers(Le, source).map_err(broken)?;
    let mut segments = Vec::new();
    for p in headers.iter().filter(|p| p.p_type(Le) == PT_LOAD) {
        let (address, offset, size) = (p.p_vaddr(Le), p.p_offset(Le), p.p_filesz(Le));
        let end = offset.checked_add(size).filter(|end| *end <= source.len());
        if end.is_none() || address.checked_add(size).is_none() {
            return Err(Error::malformed("a segment that ends outside of the file", offset));
        }
        segments.push(Segment { address, offset, size, executable: p.p_flags(Le).contains(PF_X), writable: p.p_flags(Le).contains(PF_W) });
    }
    Ok(segments)
}

fn sections<'a>(header: &FileHeader64<Le>, source: Source<'a>) -> Result<Vec<Section<'a>>, Error> {
    let broken = |_| Error::malformed("the section headers", header.e_shoff.get(Le));
    if header.shnum(Le, source).map_err(broken)? > MAX_HEADERS {
        return Err(Error::malformed("too many sections", header.e_shoff.get(Le)));
    }
    let table = header.sections(Le, source).map_err(broken)?;
    let mut sections = Vec::new();
    for s in table.iter().filter(|s| s.sh_type(Le) != SHT_NOBITS) {
        let name = table.section_name(Le, s).ok().and_then(|name| std::str::from_utf8(name).ok());
        let (offset, size) = (s.sh_offset(Le), s.sh_size(Le));
        if offset.checked_add(size).is_none_or(|end| end > source.len()) {
            return Err(Error::malformed("a section that ends outside of the file", offset));
        }
        if let Some(name) = name {
            sections.push(Section { name, address: s.sh_addr(Le), offset, size });
        }
    }
    Ok(sections)
}
