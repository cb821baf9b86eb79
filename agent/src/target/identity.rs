//! What tells one file from another that is in its place later.

use std::{
    fs::{File, Metadata, metadata},
    io,
    path::Path,
    time::SystemTime,
};

/// What a file is known by: a new inode or another size or time is another executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device and inode; 0 where files have none.
    place: (u64, u64),
    size: u64,
    modified: Option<SystemTime>,
}

impl FileId {
    /// The identity of the file at a path.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&metadata(path)?))
    }

    /// The identity of an open file.
    pub fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }
}

impl From<&Metadata> for FileId {
    fn from(meta: &Metadata) -> Self {
        Self { place: place(meta), size: meta.len(), modified: meta.modified().ok() }
    }
}

#[cfg(unix)]
fn place(meta: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (meta.dev(), meta.ino())
}

#[cfg(not(unix))]
fn place(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
