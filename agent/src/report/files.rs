//! Event files from the disk and from stdin, packed or not.

pub(super) mod turns;
mod unpack;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Collector, Observed};
use turns::{Item, in_turns, workers};
use unpack::{Broken, unpack};

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
pub fn read_events(paths: &[PathBuf], mut progress: impl FnMut(Progress) + Send) -> Result<Observed, EventsError> {
    let sources = all_sources(paths)?;
    let total = sources.iter().map(Source::size).sum();
    let mut collector = Collector::new();
    let mut tell = |done| progress(Progress { done, total });
    in_turns(workers(), &mut collector, &mut tell, |empty, hand_on| {
        let mut before = 0;
        for source in &sources {
            hand_on(Item::Begin(source.name()), before);
            let read = source.open().map(|source| unpack(source, empty, |chunk, done| hand_on(Item::Chunk(chunk), before + done)));
            match read {
                Ok(read) => before += read,
                Err(_) => _ = hand_on(Item::Chunk(Err(Broken::Source)), before),
            }
            if !hand_on(Item::End, before) {
                return;
            }
        }
    });
    Ok(collector.finish())
}

/// What comes next of the sources.
pub(crate) enum Part<'a> {
    /// Bytes of the one that is read.
    Bytes(&'a [u8]),
    /// It cannot be read on; its name.
    Broken(String),
    /// It is over.
    End,
}

/// Hands on what [`read_events`] would read, in order and as soon as it is there, until `hand_on` wants no more.
pub(crate) fn read_parts(paths: &[PathBuf], mut hand_on: impl FnMut(Part) -> bool) -> Result<(), EventsError> {
    for source in &all_sources(paths)? {
        let mut goes_on = true;
        if let Ok(opened) = source.open() {
            unpack(opened, Vec::new, |chunk, _| {
                goes_on = match chunk {
                    Ok(bytes) => hand_on(Part::Bytes(&bytes)),
                    Err(Broken::Source | Broken::Packing) => hand_on(Part::Broken(source.name())),
                };
                goes_on
            });
        } else {
            goes_on = hand_on(Part::Broken(source.name()));
        }
        if !goes_on || !hand_on(Part::End) {
            return Ok(());
        }
    }
    Ok(())
}

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

    fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File { path, .. } => Box::new(File::open(path)?),
            Self::Closed(_) => return Err(io::ErrorKind::PermissionDenied.into()),
        })
    }

    /// For people; file names can hold anything, also what a terminal obeys.
    fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".into(),
            Self::File { path, .. } | Self::Closed(path) => path.display().to_string().replace(char::is_control, "\u{fffd}"),
        }
    }
}

fn all_sources(paths: &[PathBuf]) -> Result<Vec<Source>, EventsError> {
    Ok(paths.iter().map(|path| sources(path)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
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

#[cfg(test)]
mod tests;
