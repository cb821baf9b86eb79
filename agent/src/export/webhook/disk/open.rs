//! Finding out what an earlier agent left in the folder.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{ACKNOWLEDGED, DiskQueue, Position, Segment, path_of, record};

/// Why a folder cannot be used for the queue.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another agent uses it.
    #[error(
        "another process uses the queue in {0}: stop the other agent, or give each its own directory with --audit-webhook-queue DIRECTORY"
    )]
    Locked(PathBuf),
    /// Something cannot be read or written.
    #[error("{path}: {source}; --audit-webhook-queue needs a directory that the agent may write to, on a disk that lasts")]
    File {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskQueue {
    /// Opens the queue in a folder, which is made where there is none, and goes on with what is in it. `limit` is in bytes.
    pub(in super::super) fn open(folder: &Path, limit: u64) -> Result<Self, OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
        let lock = lock(folder)?;
        let path = folder.join(ACKNOWLEDGED);
        let delivered = match fs::read(&path) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&path)(error)),
        };
        let mut segments = segments(folder)?;
        while let (Some(oldest), Some(delivered)) = (segments.front(), delivered)
            && oldest.first < delivered.segment
        {
            let path = path_of(folder, oldest.first);
            fs::remove_file(&path).map_err(at(&path))?;
            segments.pop_front();
        }
        let (mut next, mut writer) = (delivered.map_or(0, |delivered| delivered.sequence), None);
        if let Some(last) = segments.back_mut() {
            let (file, records) = mend(folder, last)?;
            let end = last.first + records;
            // A power cut can take records that were delivered; what comes then begins a segment, so that names and numbers agree.
            writer = (end >= next).then_some(file);
            next = next.max(end);
        }
        let head = head(&segments, delivered, next);
        Ok(Self {
            folder: folder.to_owned(),
            limit,
            segments,
            writer,
            head,
            next,
            marks: Vec::new(),
            told: 0,
            finished: Vec::new(),
            dirty: false,
            _lock: lock,
        })
    }
}

/// Where the first record is that was not delivered.
fn head(segments: &VecDeque<Segment>, delivered: Option<Position>, next: u64) -> Position {
    let Some(oldest) = segments.front() else { return Position { sequence: next, segment: next, offset: 0 } };
    match delivered.filter(|delivered| delivered.segment == oldest.first) {
        Some(delivered) if delivered.offset <= oldest.bytes => delivered,
        // It was shortened: all that is left of it was delivered.
        Some(delivered) => Position { sequence: segments.get(1).map_or(next, |segment| segment.first), offset: oldest.bytes, ..delivered },
        None => Position { sequence: oldest.first, segment: oldest.first, offset: 0 },
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::File { path, source }),
    }
}

fn parse(bytes: &[u8]) -> Option<Position> {
    let text = str::from_utf8(record::decode(bytes.strip_suffix(b"\n")?)?).ok()?;
    let mut numbers = text.split(' ').map(|number| number.parse().ok());
    Some(Position { sequence: numbers.next()??, segment: numbers.next()??, offset: numbers.next()?? })
}

fn segments(folder: &Path) -> Result<VecDeque<Segment>, OpenError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".events")).filter(|digits| digits.len() == 20);
        if let Some(first) = first.and_then(|digits| digits.parse().ok()) {
            let path = entry.path();
            segments.push(Segment { first, bytes: entry.metadata().map_err(at(&path))?.len() });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments.into())
}

/// Opens the last segment to go on with it, without the record that a kill may have cut; the number of its records.
fn mend(folder: &Path, last: &mut Segment) -> Result<(File, u64), OpenError> {
    let path = path_of(folder, last.first);
    let content = fs::read(&path).map_err(at(&path))?;
    last.bytes = memchr::memrchr(b'\n', &content).map_or(0, |end| end as u64 + 1);
    let file = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
    if last.bytes < content.len() as u64 {
        file.set_len(last.bytes).map_err(at(&path))?;
    }
    Ok((file, memchr::memchr_iter(b'\n', &content).count() as u64))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::File { path, source }
}
