//! A file that lines are added to, and what happens when it is full.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::names::Names;
use super::writer::{Opened, Place};
use crate::export::metrics::Rotations;

/// After a file could not be put aside, it goes on to be written for this long; then it is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// When a file is full, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file may have; a longer line is in a file of its own. 0 for no limit.
    pub max_size: u64,
    /// Files, the one that is written included; the oldest are removed. 0 for no limit.
    pub max_files: usize,
}

/// A file by its name.
pub(super) struct FilePlace {
    path: PathBuf,
    names: Names,
    rotation: Rotation,
    metrics: Rotations,
    /// When it could not be put aside.
    failed: Option<Instant>,
}

impl FilePlace {
    pub(super) fn new(path: PathBuf, rotation: Rotation, metrics: Rotations) -> Self {
        Self { names: Names::of(&path), path, rotation, metrics, failed: None }
    }

    /// Puts the full file aside under a name of its own, removes what is too old, and begins a new one. A crash between any two steps leaves
    /// whole files under their right names, and one too many at most, which the next rotation removes.
    fn rotate(&self, full: &Metadata) -> io::Result<Opened<File>> {
        let mut kept = self.kept()?;
        // Somebody else may have put it aside already, such as logrotate, who has not told yet.
        let is_here = fs::metadata(&self.path).is_ok_and(|here| (here.dev(), here.ino()) == (full.dev(), full.ino()));
        if is_here {
            let aside = self.names.next(Timestamp::now(), kept.last().map(|(time, _)| *time));
            match fs::rename(&self.path, &aside) {
                Ok(()) => kept.extend(aside.file_name().and_then(|name| Some((self.names.time(name)?, name.to_owned())))),
                // In this very moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if self.rotation.max_files > 0 {
            let too_many = (kept.len() + 1).saturating_sub(self.rotation.max_files);
            for (_, name) in kept.drain(..too_many) {
                let old = self.names.folder().join(name);
                if let Err(error) = fs::remove_file(&old) {
                    tracing::warn!("{} cannot be removed, although it is too old: {error}", old.display());
                } else {
                    self.metrics.removed.inc();
                    tracing::info!("{} is removed: {} newer files are kept", old.display(), self.rotation.max_files);
                }
            }
        }
        self.open_to_append()
    }

    /// The full files, the oldest first.
    fn kept(&self) -> io::Result<Vec<(Timestamp, OsString)>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(self.names.folder())? {
            let name = entry?.file_name();
            kept.extend(self.names.time(&name).map(|time| (time, name)));
        }
        kept.sort_unstable();
        Ok(kept)
    }

    /// It is created where it does not exist, for its owner alone.
    fn open_to_append(&self) -> io::Result<Opened<File>> {
        let out = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        // A pipe or a device cannot be read back.
        let broken_line = if out.metadata()?.is_file() { Some(!self.ends_with_newline()?) } else { None };
        Ok(Opened { out, broken_line })
    }

    fn ends_with_newline(&self) -> io::Result<bool> {
        let mut file = File::open(&self.path)?;
        if file.seek(SeekFrom::End(0))? == 0 {
            return Ok(true);
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}

impl Place for FilePlace {
    type Out = File;

    fn open(&mut self) -> io::Result<Opened<File>> {
        self.open_to_append()
    }

    fn prepare(&mut self, out: &File, length: usize, now: Instant) -> (Option<Opened<File>>, usize) {
        let max_size = self.rotation.max_size;
        if max_size == 0 || self.failed.is_some_and(|failed| now.duration_since(failed) < AGAIN) {
            return (None, usize::MAX);
        }
        // Asked of the file each time: logrotate's `copytruncate` empties it, and an editor may add to it.
        let Some(metadata) = out.metadata().ok().filter(Metadata::is_file) else { return (None, usize::MAX) };
        let room = |size: u64| usize::try_from(max_size.saturating_sub(size)).unwrap_or(usize::MAX);
        if metadata.len() == 0 || metadata.len() + length as u64 <= max_size {
            return (None, room(metadata.len()));
        }
        match self.rotate(&metadata) {
            Ok(opened) => {
                self.metrics.rotated.inc();
                if self.failed.take().is_some() {
                    tracing::info!("{} could be put aside at last, and a new one is written", self.path.display());
                }
                (Some(opened), room(0))
            }
            Err(error) => {
                self.metrics.failed.inc();
                if self.failed.replace(now).is_none() {
                    tracing::error!(
                        "{} is full and no new one can be begun: {error}; it goes on to be written beyond --events-max-size, and a new one is tried every minute",
                        self.path.display()
                    );
                }
                (None, usize::MAX)
            }
        }
    }

    fn is_renewed(&self, out: &File) -> bool {
        out.metadata().is_ok_and(|metadata| metadata.is_file())
    }
}
