//! Lines that are read before it is their turn to be counted, so that several threads can read.

use memchr::memchr;

use super::chunks::LONGEST_LINE;
use super::line::{self, Line};

/// The next bytes of a source, cut anywhere, with the lines that lie whole in them read already.
#[derive(Debug)]
pub(in crate::report) struct Batch<'a> {
    /// The end of a line that began in earlier bytes, with its line feed; all bytes if there is no line feed in them.
    pub(super) head: &'a [u8],
    /// Lines that begin and end in these bytes.
    pub(super) lines: Vec<(&'a [u8], Line<'a>)>,
    /// What is behind these lines.
    pub(super) rest: &'a [u8],
}

/// Room for the lines of a batch, used again for the next: to ask the system for it each time costs as much as to read a few lines.
#[derive(Debug, Default)]
pub(in crate::report) struct Room(Vec<(&'static [u8], Line<'static>)>);

/// The most lines that are read ahead: a quarter of a mebibyte holds some hundreds, but if most are empty or junk it holds a hundred
/// thousand, each of which would take half a kibibyte.
const AHEAD: usize = 1024;

impl<'a> Batch<'a> {
    /// Reads lines.
    pub(in crate::report) fn read(bytes: &'a [u8], room: Room) -> Self {
        let head = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        let (head, mut rest) = bytes.split_at(head);
        let mut lines: Vec<(&'a [u8], Line<'a>)> = room.0;
        while lines.len() < AHEAD
            && let Some(end) = memchr(b'\n', rest).filter(|end| *end <= LONGEST_LINE)
        {
            lines.push((&rest[..end], line::read(&rest[..end])));
            rest = &rest[end + 1..];
        }
        Self { head, lines, rest }
    }

    /// The batch is counted.
    pub(in crate::report) fn room(mut self) -> Room {
        self.lines.clear();
        // Of nothing there is nothing to change, so that the room is what remains; the standard library keeps it where types are alike.
        Room(self.lines.into_iter().map(|_| (&[][..], Line::Blank)).collect())
    }
}
