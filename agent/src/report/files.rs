//! Event files from the disk and from stdin, packed or not.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use thiserror::Error;

use super::{Collector, Observed};

/// How far the reading has come, in bytes as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Read so far.
    pub done: u64,
    /// All there is; `None` where that cannot be known, as for stdin.
    pub total: Option<u64>,
}

/// What the user must act on. All else that is wrong with the input becomes a note.
#[derive(Debug, Error)]
pub enum EventsError {
    /// A file or a directory was named that cannot be read.
    #[error("cannot read {}: {why}; name files or directories of events that this user may read, or `-` for stdin", path.display())]
    Unreadable {
        /// What was named.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// A directory was named that holds no events.
    #[error("{} holds no files *.jsonl, *.json or *.log, nor such with .gz or .zst: name the files themselves", path.display())]
    NoFiles {
        /// The directory.
        path: PathBuf,
    },
}

/// Reads events from files, directories (recursively, in the order of their names) and, for `-`, from stdin. Tells how far it has come
/// every quarter of a mebibyte.
pub fn read_events(paths: &[PathBuf], mut progress: impl FnMut(Progress)) -> Result<Observed, EventsError> {
    let sources: Vec<Source> = paths.iter().map(|path| sources(path)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let total = sources.iter().map(Source::size).sum();
    let mut collector = Collector::new();
    let mut before = 0;
    for source in &sources {
        collector.begin(&source.name());
        let mut tell = |done| progress(Progress { done: before + done, total });
        match source {
            Source::Stdin => before += read(io::stdin(), &mut collector, &mut tell),
            Source::File { path, .. } => match File::open(path) {
                Ok(file) => before += read(file, &mut collector, &mut tell),
                Err(_) => collector.unread(),
            },
            Source::Closed(_) => collector.unread(),
        }
        collector.end();
    }
    Ok(collector.finish())
}

/// What is read at once: it stays in the processor's cache until its lines are read.
const CHUNK: usize = 256 * 1024;

enum Source {
    Stdin,
    /// The size is that of regular files.
    File {
        path: PathBuf,
        size: Option<u64>,
    },
    /// A directory that cannot be listed.
    Closed(PathBuf),
}

impl Source {
    fn size(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File { size, .. } => *size,
            Self::Closed(_) => Some(0),
        }
    }

    /// For people; file names can hold anything, also what a terminal obeys.
    fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".into(),
            Self::File { path, .. } | Self::Closed(path) => path.display().to_string().replace(char::is_control, "\u{fffd}"),
        }
    }
}

/// What a path that was named stands for.
fn sources(path: &Path) -> Result<Vec<Source>, EventsError> {
    if path == "-" {
        return Ok(vec![Source::Stdin]);
    }
    let unreadable = |why| EventsError::Unreadable { path: path.to_owned(), why };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_dir() {
        // Whether it may be read shows now, not after gigabytes of others. Opening a pipe would wait for its writer.
        if metadata.is_file() {
            File::open(path).map_err(unreadable)?;
        }
        return Ok(vec![Source::File { path: path.to_owned(), size: metadata.is_file().then_some(metadata.len()) }]);
    }
    let mut found = Vec::new();
    list(path, &mut found).map_err(unreadable)?;
    if found.is_empty() { Err(EventsError::NoFiles { path: path.to_owned() }) } else { Ok(found) }
}

/// The files of events under a directory, in the order of their names. Links to files are followed, as `/var/log/containers` is made of
/// them; links to directories are not, so that there is an end.
fn list(directory: &Path, found: &mut Vec<Source>) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort_unstable();
    for path in paths {
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if is_directory {
            if list(&path, found).is_err() {
                found.push(Source::Closed(path));
            }
        } else if holds_events(&path) {
            // One that went away since has no metadata, and is told as unread. Pipes and sockets are none.
            let metadata = fs::metadata(&path).ok();
            if metadata.as_ref().is_none_or(fs::Metadata::is_file) {
                found.push(Source::File { path, size: metadata.map(|metadata| metadata.len()) });
            }
        }
    }
    Ok(())
}

/// By its name: `*.jsonl`, `*.json`, `*.log`, packed or not, and the rotated copies of those, such as `events.jsonl.1` and
/// `0.log.20260304-050607.gz`.
fn holds_events(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '-' | '.'));
    Path::new(name).extension().is_some_and(|kind| kind == "jsonl" || kind == "json" || kind == "log")
}

/// Reads a source to its end, and says how many bytes it had. A thread of its own reads and unpacks, so that the next bytes are there when
/// the lines of these are read.
fn read(source: impl Read + Send, collector: &mut Collector, tell: &mut dyn FnMut(u64)) -> u64 {
    let (filled, chunks) = mpsc::sync_channel(AHEAD);
    let (emptied, empty) = mpsc::channel();
    let mut read = 0;
    thread::scope(|scope| {
        scope.spawn(move || unpack(source, &filled, &empty));
        for (chunk, stored) in chunks {
            read = stored;
            match chunk {
                Ok(chunk) => {
                    collector.feed(&chunk);
                    // The reader may be through, and needs no more.
                    let _ = emptied.send(chunk);
                }
                Err(Broken::Source) => collector.unread(),
                Err(Broken::Packing) => collector.damaged(),
            }
            tell(read);
        }
    });
    read
}

/// Chunks that may wait to be taken.
const AHEAD: usize = 3;

/// What was unpacked, or why there is no more, and how many bytes of the source were read by then.
type Chunk = (Result<Vec<u8>, Broken>, u64);

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// It cannot be read on.
    Source,
    /// It cannot be unpacked.
    Packing,
}

/// Unpacks a source chunk by chunk, in buffers that come back empty. How it is packed shows in its first bytes, whatever its name is.
fn unpack(source: impl Read, filled: &SyncSender<Chunk>, empty: &Receiver<Vec<u8>>) {
    let count = Cell::new(0);
    let mut counted = Counted { source, count: &count };
    let mut head = Vec::new();
    if counted.by_ref().take(4).read_to_end(&mut head).is_err() {
        let _ = filled.send((Err(Broken::Source), count.get()));
        return;
    }
    let (packing, broken) = (Packing::of(&head), if Packing::of(&head) == Packing::None { Broken::Source } else { Broken::Packing });
    let mut source = BufReader::with_capacity(CHUNK, Cursor::new(head).chain(counted));
    let mut unpacked: Box<dyn Read + '_> = match packing {
        Packing::None => Box::new(&mut source),
        Packing::Gzip => Box::new(MultiGzDecoder::new(&mut source)),
        Packing::Zstd => Box::new(Frames::new(&mut source)),
    };
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let chunk = match unpacked.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => Err(broken),
            Ok(0) => return,
            Ok(length) => {
                chunk.truncate(length);
                Ok(chunk)
            }
        };
        let over = chunk.is_err();
        if filled.send((chunk, count.get())).is_err() || over {
            return;
        }
    }
}

/// How a source is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    /// By the magic numbers of RFC 1952, section 2.3.1, and RFC 8878, section 3.1; those of a frame to be skipped included.
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd,
            _ => Self::None,
        }
    }
}

struct Counted<'a, R> {
    source: R,
    count: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.count.set(self.count.get() + length as u64);
        Ok(length)
    }
}

/// The content of all frames of a Zstandard stream; `ruzstd` unpacks one.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), in_frame: false }
    }

    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.in_frame || self.begin()? {
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1)).map_err(io::Error::other)?;
            }
            let length = self.decoder.read(buffer)?;
            if length > 0 {
                return Ok(length);
            }
            self.in_frame = false;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests;
