//! An executable's file, read piece by piece.
//!
//! It is not mapped. Whoever owns the file can make it shorter at any time on filesystems that do not refuse that for a program that runs (network and FUSE
//! filesystems), or once the process has ended, and touching a mapping beyond the new end kills the agent with SIGBUS. And what was checked in a
//! mapping may be something else a moment later. What is read here is read once, and stays.

use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    ops::Range,
    path::Path,
};

use super::identity::FileId;
use crate::gobin::{Pages, Refusal, Source};

/// A file, and what was read of it.
pub struct ExecutableFile {
    file: File,
    id: FileId,
    len: u64,
    blocks: Box<[OnceCell<Box<[u8]>>]>,
    /// What lies in more than one block.
    pieces: Box<[OnceCell<Box<[u8]>>]>,
    next: Cell<usize>,
    kept: Cell<u64>,
    looked: Cell<u64>,
}

/// What is kept of a file is read in blocks of so many bytes, each with the beginning of the next behind it: hardly anything lies in two.
const BLOCK: u64 = 8 << 10;
/// The longest text that an executable may hold.
const OVERLAP: u64 = 4 << 10;
/// The longest file; a kubelet has 84 to 200 MB.
const MAX_FILE: u64 = 1 << 30;
/// Bytes that are kept, at most. A kubelet takes 6 MiB.
const MAX_KEPT: u64 = 24 << 20;
/// Bytes that are looked at, at most. A kubelet takes 20 MiB.
const MAX_LOOKED: u64 = 256 << 20;
/// Parts that lie in more than one block, at most. A kubelet has some fifty.
const MAX_PIECES: usize = 1024;

impl ExecutableFile {
    /// Opens a file, and reads nothing yet.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let blocks = if meta.len() > MAX_FILE { 0 } else { meta.len().div_ceil(BLOCK) };
        let cells = |count: usize| (0..count).map(|_| OnceCell::new()).collect();
        Ok(Self {
            file,
            id: FileId::from(&meta),
            len: meta.len(),
            blocks: cells(usize::try_from(blocks).unwrap_or_default()),
            pieces: cells(MAX_PIECES),
            next: Cell::new(0),
            kept: Cell::new(0),
            looked: Cell::new(0),
        })
    }

    /// What it is known by.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Whether it is still what it was when it was opened.
    pub fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| FileId::from(&meta) == self.id)
    }

    /// Bytes that are held in memory, and bytes that were looked at and forgotten.
    pub fn cost(&self) -> (u64, u64) {
        (self.kept.get(), self.looked.get())
    }

    fn fresh(&self, range: Range<u64>) -> Result<Box<[u8]>, Refusal> {
        spend(&self.kept, range.end - range.start, MAX_KEPT)?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(|_| Refusal::TooMuch)?];
        self.read(range.start, &mut bytes)?;
        Ok(bytes.into())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(into)).map_err(|_| Refusal::Unreadable)
    }
}

fn spend(spent: &Cell<u64>, more: u64, most: u64) -> Result<(), Refusal> {
    let sum = spent.get().saturating_add(more);
    if sum > most {
        return Err(Refusal::TooMuch);
    }
    spent.set(sum);
    Ok(())
}

/// The contents of a cell, which is filled if it is empty.
fn filled(cell: &OnceCell<Box<[u8]>>, fill: impl FnOnce() -> Result<Box<[u8]>, Refusal>) -> Result<&[u8], Refusal> {
    if let Some(bytes) = cell.get() {
        return Ok(bytes);
    }
    let bytes = fill()?;
    Ok(cell.get_or_init(|| bytes))
}

impl Pages for ExecutableFile {
    fn size(&self) -> u64 {
        self.len
    }

    fn keep(&self, range: Range<u64>) -> Result<&[u8], Refusal> {
        if self.len > MAX_FILE {
            return Err(Refusal::TooMuch);
        }
        let block = range.start / BLOCK;
        let start = block * BLOCK;
        let bytes = if range.end - start <= BLOCK + OVERLAP {
            let cell = self.blocks.get(usize::try_from(block).map_err(|_| Refusal::Outside)?).ok_or(Refusal::Outside)?;
            filled(cell, || self.fresh(start..(start + BLOCK + OVERLAP).min(self.len)))?
        } else {
            let cell = self.pieces.get(self.next.get()).ok_or(Refusal::TooMuch)?;
            self.next.set(self.next.get() + 1);
            return filled(cell, || self.fresh(range));
        };
        let within = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
        bytes.get(within(range.start)..within(range.end)).ok_or(Refusal::Outside)
    }

    fn look(&self, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        if self.len > MAX_FILE {
            return Err(Refusal::TooMuch);
        }
        spend(&self.looked, into.len() as u64, MAX_LOOKED)?;
        self.read(offset, into)
    }
}

impl<'a> From<&'a ExecutableFile> for Source<'a> {
    fn from(file: &'a ExecutableFile) -> Self {
        Self::Pages(file)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::PathBuf};

    use super::*;

    fn file(name: &str, len: usize) -> (PathBuf, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("kubewitness-file-{name}-{}", std::process::id()));
        let bytes: Vec<u8> = (0..len).map(|index| u8::try_from(index % 251).unwrap_or_default()).collect();
        fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    #[test]
    fn any_part_can_be_read() {
        let (path, bytes) = file("parts", 100_000);
        let file = ExecutableFile::open(&path).unwrap();
        for (start, end) in
            [(0, 0), (0, 64), (8191, 8193), (8192, 12_288), (8191, 12_288), (50_000, 90_000), (99_999, 100_000), (0, 100_000)]
        {
            assert_eq!(file.keep(start..end), Ok(&bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]), "{start}..{end}");
        }
        assert_eq!(Source::from(&file).read(99_999, 2), Err(Refusal::Outside));
        assert_eq!(Source::from(&file).read(u64::MAX, 2), Err(Refusal::Outside));
        fs::remove_file(path).unwrap();
    }

    /// With a mapping this would be SIGBUS, and the end of the agent.
    #[test]
    fn a_file_that_becomes_shorter_while_it_is_read_is_an_error() {
        let (path, bytes) = file("shorter", 100_000);
        let file = ExecutableFile::open(&path).unwrap();
        assert_eq!(file.keep(0..64), Ok(&bytes[..64]));
        let mut other = fs::File::options().write(true).open(&path).unwrap();
        other.write_all(&[0; 64]).unwrap();
        other.set_len(20_000).unwrap();
        assert_eq!(file.keep(0..64), Ok(&bytes[..64]), "what was read stays");
        assert_eq!(file.keep(50_000..50_010), Err(Refusal::Unreadable));
        assert_eq!(file.look(50_000, &mut [0; 8]), Err(Refusal::Unreadable));
        assert!(!file.is_unchanged());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let (path, _) = file("limit", 10);
        fs::File::options().write(true).open(&path).unwrap().set_len(MAX_KEPT * 2).unwrap();
        let file = ExecutableFile::open(&path).unwrap();
        assert!(file.keep(0..MAX_KEPT / 2).is_ok());
        assert_eq!(file.keep(0..MAX_KEPT), Err(Refusal::TooMuch));
        assert!(file.keep(MAX_KEPT..MAX_KEPT + 8).is_ok(), "there is room for less");
        fs::File::options().write(true).open(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert_eq!(ExecutableFile::open(&path).unwrap().keep(0..1), Err(Refusal::TooMuch));
        fs::remove_file(path).unwrap();
    }
}
