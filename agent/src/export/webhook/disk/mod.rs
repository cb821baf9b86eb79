//! The queue on disk: files of records, and a small one that tells how far they were delivered.
//!
//! ```text
//! lock                         held by the agent that uses the folder
//! 00000000000000000000.events  records; the name is the number of the first one
//! 00000000000000004711.events
//! acknowledged                 the number of the first record that is not delivered, and where it is
//! ```
//! Records are only ever added at the end of the last file, with one `write` each, so a kill leaves at most one that is cut, of which nobody
//! was told that it is there. A file is removed when all of it was delivered. `acknowledged` is replaced as a whole; where it is stale or
//! broken, more is delivered again, and nothing less.

mod open;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    ops::Range,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

pub use self::open::OpenError;
use super::{
    queue::{AppendError, LONGEST_EVENT, Lost, Peeked, Queue, Waiting, Weight, room},
    record,
};

/// The files are this part of the room, so that what was delivered makes room soon.
const SEGMENTS: u64 = 16;
/// And this at most: the last one is read when the queue is opened.
const LARGEST_SEGMENT: u64 = 8 << 20;

/// A queue in a folder of its own.
#[derive(Debug)]
pub(super) struct DiskQueue {
    folder: PathBuf,
    limit: u64,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The end of the last segment; `None` where the next record begins a new one.
    writer: Option<File>,
    /// Where the first record is that was not delivered.
    head: Position,
    /// The number of the next record.
    next: u64,
    /// Where the events end that were peeked at.
    marks: Vec<Position>,
    /// Losses of records below this number were told.
    told: u64,
    /// Segments that are finished and may not have reached the disk.
    finished: Vec<File>,
    /// Whether something was added since it was last asked for.
    dirty: bool,
    /// The lock ends with the file.
    _lock: File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    /// The number of its first record.
    first: u64,
    /// Of whole records.
    bytes: u64,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    /// The number of the record behind it.
    sequence: u64,
    /// The segment's name.
    segment: u64,
    offset: u64,
}

impl Queue for DiskQueue {
    fn append(&mut self, event: &[u8], weight: Weight) -> Result<(), AppendError> {
        if event.len() > LONGEST_EVENT {
            return Err(AppendError::TooLong(event.len()));
        }
        let mut bytes = Vec::with_capacity(event.len() + record::OVERHEAD);
        record::encode(event, &mut bytes);
        room(self.used(), bytes.len(), self.limit, weight)?;
        self.write(&bytes)?;
        self.next += 1;
        self.dirty = true;
        Ok(())
    }

    fn peek(&mut self, events: usize, bytes: usize) -> Peeked {
        let mut scan = Scan { at: self.head, found: Vec::new(), marks: Vec::new(), size: 0, events, bytes, lost: 0, why: String::new() };
        while self.advance(&mut scan) {}
        self.told = self.told.max(scan.at.sequence);
        if scan.marks.is_empty() {
            // Nothing but damage lay between. What cannot be removed now is removed with what comes after it.
            self.head = scan.at;
            let _later = self.tidy();
        }
        self.marks = scan.marks;
        let lost = (scan.lost > 0).then_some(Lost { events: scan.lost, why: scan.why });
        Peeked { events: scan.found, lost }
    }

    fn acknowledge(&mut self, events: usize) -> io::Result<()> {
        let Some(last) = events.checked_sub(1) else { return Ok(()) };
        self.head = self.marks[last];
        self.marks.drain(..events);
        let written = self.write_head();
        // Also where the head could not be written: what is there no more is not delivered again.
        self.tidy().and(written)
    }

    fn waiting(&self) -> Waiting {
        Waiting { events: self.next.saturating_sub(self.head.sequence), bytes: self.used().saturating_sub(self.head.offset) }
    }

    fn unsynced(&mut self) -> Vec<File> {
        let mut files = std::mem::take(&mut self.finished);
        if std::mem::take(&mut self.dirty) {
            files.extend(self.writer.as_ref().and_then(|file| file.try_clone().ok()));
            // A file is only there after a power cut if its name is.
            files.extend(File::open(&self.folder));
        }
        files
    }
}

impl DiskQueue {
    /// Bytes on disk, delivered ones in the first segment included.
    fn used(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let largest = (self.limit / SEGMENTS).min(LARGEST_SEGMENT);
        if self.writer.is_none() || self.segments.back().is_none_or(|segment| segment.bytes >= largest) {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else { return Ok(()) };
        if let Err(error) = file.write_all(record) {
            // Where half of it cannot be taken away again the segment ends before it.
            if file.set_len(segment.bytes).is_err() {
                self.writer = None;
            }
            return Err(error);
        }
        segment.bytes += record.len() as u64;
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path_of(&self.folder, self.next))?;
        // A first record that failed may have left a part of itself.
        file.set_len(0)?;
        self.finished.extend(self.writer.replace(file));
        if self.segments.is_empty() {
            self.head = Position { sequence: self.next, segment: self.next, offset: 0 };
        }
        if self.segments.back().is_none_or(|segment| segment.first != self.next) {
            self.segments.push_back(Segment { first: self.next, bytes: 0 });
        }
        Ok(())
    }

    /// Removes the segments that are done with. One that cannot be removed is forgotten, and removed when the queue is opened again.
    fn tidy(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        while let (Some(&oldest), Some(&following)) = (self.segments.front(), self.segments.get(1)) {
            if self.head.segment == oldest.first {
                if self.head.offset < oldest.bytes || self.head.sequence != following.first {
                    break;
                }
                self.head = Position { sequence: following.first, segment: following.first, offset: 0 };
            }
            self.segments.pop_front();
            match fs::remove_file(path_of(&self.folder, oldest.first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                _ => {}
            }
        }
        result
    }

    /// Takes a step forward in what is stored; false at its end, or when enough was found.
    fn advance(&self, scan: &mut Scan) -> bool {
        let Some(index) = self.segments.iter().position(|segment| segment.first == scan.at.segment) else { return false };
        let segment = self.segments[index];
        let following = self.segments.get(index + 1).map(|segment| segment.first);
        let rest = segment.bytes.saturating_sub(scan.at.offset);
        if rest == 0 {
            let sequence = following.unwrap_or(self.next);
            scan.lost += self.untold(scan.at.sequence..sequence);
            scan.at.sequence = sequence;
            if let Some(segment) = following {
                scan.at = Position { sequence, segment, offset: 0 };
            }
            return following.is_some();
        }
        let path = path_of(&self.folder, segment.first);
        let size = usize::try_from(rest).unwrap_or(usize::MAX).min(scan.bytes.saturating_add(LONGEST_EVENT + record::OVERHEAD));
        let chunk = match read(&path, scan.at.offset, size) {
            Ok(chunk) if !chunk.is_empty() => chunk,
            Ok(_) => return scan.skip(&segment, format!("{} ends too early", path.display())),
            Err(error) => return scan.skip(&segment, format!("{}: {error}", path.display())),
        };
        let mut unread = &chunk[..];
        while let Some(length) = memchr::memchr(b'\n', unread) {
            match record::decode(&unread[..length]) {
                Some(event) if scan.fits(event) => scan.found.push(event.to_vec()),
                Some(_) => return false,
                None => {
                    scan.lost += self.untold(scan.at.sequence..scan.at.sequence + 1);
                    scan.why = format!("{} is damaged at byte {}", path.display(), scan.at.offset);
                }
            }
            unread = &unread[length + 1..];
            scan.at.offset += length as u64 + 1;
            scan.at.sequence += 1;
            if scan.found.len() > scan.marks.len() {
                scan.marks.push(scan.at);
            }
            if scan.found.len() == scan.events {
                return false;
            }
        }
        if unread.len() == chunk.len() {
            // No record is so long, or its end is missing. Where it has an end further on, that is damaged.
            scan.at.offset += chunk.len() as u64;
        }
        true
    }

    /// How many of these records were not told to be lost.
    fn untold(&self, sequence: Range<u64>) -> u64 {
        sequence.end.saturating_sub(sequence.start.max(self.told))
    }

    fn write_head(&self) -> io::Result<()> {
        let Position { sequence, segment, offset } = self.head;
        let mut bytes = Vec::new();
        record::encode(format!("{sequence} {segment} {offset}").as_bytes(), &mut bytes);
        let (new, old) = (self.folder.join("acknowledged.new"), self.folder.join(ACKNOWLEDGED));
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(&bytes)?;
        fs::rename(new, old)
    }
}

/// A look at what waits.
struct Scan {
    at: Position,
    found: Vec<Vec<u8>>,
    /// Where each of them ends.
    marks: Vec<Position>,
    /// Their bytes.
    size: usize,
    /// As many as are wanted.
    events: usize,
    bytes: usize,
    lost: u64,
    why: String,
}

impl Scan {
    /// Whether an event is still wanted, and then counts it.
    fn fits(&mut self, event: &[u8]) -> bool {
        let fits = self.found.is_empty() || self.size + event.len() <= self.bytes;
        self.size += if fits { event.len() } else { 0 };
        fits
    }

    /// Leaves out the rest of a segment. Its records are lost, which shows by the number of the one that follows.
    fn skip(&mut self, segment: &Segment, why: String) -> bool {
        self.at.offset = segment.bytes;
        self.why = why;
        true
    }
}

/// The file that tells how far it was delivered.
const ACKNOWLEDGED: &str = "acknowledged";

fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.events"))
}

/// At most so many bytes; fewer at the end of the file.
fn read(path: &Path, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
