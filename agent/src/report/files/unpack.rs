//! What a file holds, whatever it is packed with.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Broken {
    /// It cannot be read on.
    Source,
    /// It cannot be unpacked.
    Packing,
}

/// What is read at once: it stays in the processor's cache until its lines are read.
const CHUNK: usize = 256 * 1024;

/// Unpacks a source chunk by chunk, in buffers that `empty` gives, until `hand_on` wants no more. Along with each chunk it is told how many
/// bytes of the source were read by then; all of them are returned. How the source is packed shows in its first bytes, whatever its name is.
pub(super) fn unpack(source: impl Read, empty: impl Fn() -> Vec<u8>, mut hand_on: impl FnMut(Result<Vec<u8>, Broken>, u64) -> bool) -> u64 {
    let count = Cell::new(0);
    let mut counted = Counted { source, count: &count };
    let mut head = Vec::new();
    if counted.by_ref().take(4).read_to_end(&mut head).is_err() {
        hand_on(Err(Broken::Source), count.get());
        return count.get();
    }
    let (packing, broken) = (Packing::of(&head), if Packing::of(&head) == Packing::None { Broken::Source } else { Broken::Packing });
    let mut source = BufReader::with_capacity(CHUNK, Cursor::new(head).chain(counted));
    let mut unpacked: Box<dyn Read + '_> = match packing {
        Packing::None => Box::new(&mut source),
        Packing::Gzip => Box::new(MultiGzDecoder::new(&mut source)),
        Packing::Zstd => Box::new(Frames::new(&mut source)),
    };
    loop {
        let mut chunk = empty();
        chunk.resize(CHUNK, 0);
        let chunk = match unpacked.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => Err(broken),
            Ok(0) => return count.get(),
            Ok(length) => {
                chunk.truncate(length);
                Ok(chunk)
            }
        };
        let over = chunk.is_err();
        if !hand_on(chunk, count.get()) || over {
            return count.get();
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
