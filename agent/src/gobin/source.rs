//! Where the bytes of an executable are: in memory, or in a file of which only what is asked for is read.

use std::ops::Range;

use object::read::ReadRef;

/// An executable's bytes. What is read twice is the same both times, whatever becomes of the file meanwhile.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// All of them.
    Bytes(&'a [u8]),
    /// A file that is read piece by piece.
    Pages(&'a dyn Pages),
}

/// A file that is read piece by piece. What was read once stays as it was.
pub trait Pages {
    /// How long it is.
    fn size(&self) -> u64;

    /// Bytes that are kept until the end: there is a limit to how many.
    fn keep(&self, range: Range<u64>) -> Result<&[u8], Refusal>;

    /// Bytes that are looked at once. As many as fit into `into`.
    fn look(&self, offset: u64, into: &mut [u8]) -> Result<(), Refusal>;
}

/// Why bytes cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// They are not in the file.
    Outside,
    /// More was asked for than an executable may cost.
    TooMuch,
    /// The file cannot be read, or became shorter meanwhile.
    Unreadable,
}

/// A section's name, the longest that is looked for.
const MAX_NAME: u64 = 256;
/// What is looked at once is read in pieces of so many bytes.
const PIECE: u64 = 64 << 10;

impl<'a> Source<'a> {
    /// How long the file is.
    pub(super) fn len(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pages(pages) => pages.size(),
        }
    }

    /// Some bytes of it.
    pub(crate) fn read(self, offset: u64, len: u64) -> Result<&'a [u8], Refusal> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len()).ok_or(Refusal::Outside)?;
        match self {
            Self::Bytes(bytes) => within(bytes, offset..end).ok_or(Refusal::Outside),
            Self::Pages(pages) => pages.keep(offset..end),
        }
    }

    /// Shows all bytes of a range to `see`, in pieces, with the offset of each in the range. Every piece but the last has a length that can be
    /// divided by 24 and by 8, so that no word and no relocation lies in two of them.
    pub(super) fn scan(self, range: Range<u64>, mut see: impl FnMut(u64, &[u8])) -> Result<(), Refusal> {
        if range.start > range.end || range.end > self.len() {
            return Err(Refusal::Outside);
        }
        match self {
            Self::Bytes(bytes) => see(0, within(bytes, range).ok_or(Refusal::Outside)?),
            Self::Pages(pages) => {
                let mut buffer = vec![0; usize::try_from((range.end - range.start).min(PIECE / 24 * 24)).unwrap_or_default()];
                let mut at = range.start;
                while at < range.end {
                    let len = (buffer.len() as u64).min(range.end - at);
                    let piece = buffer.get_mut(..usize::try_from(len).unwrap_or_default()).ok_or(Refusal::Outside)?;
                    pages.look(at, piece)?;
                    see(at - range.start, piece);
                    at += len;
                }
            }
        }
        Ok(())
    }
}

fn within(bytes: &[u8], range: Range<u64>) -> Option<&[u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Source<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Source<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// For the headers, which `object` reads. It has no word for why something cannot be read.
impl<'a> ReadRef<'a> for Source<'a> {
    fn len(self) -> Result<u64, ()> {
        Ok(Source::len(self))
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.read(offset, size).map_err(|_| ())
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let end = range.end.min(range.start.saturating_add(MAX_NAME)).min(Source::len(self));
        let bytes = self.read(range.start, end.checked_sub(range.start).ok_or(())?).map_err(|_| ())?;
        memchr::memchr(delimiter, bytes).and_then(|len| bytes.get(..len)).ok_or(())
    }
}
