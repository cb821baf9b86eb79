//! The files of an image as one blob.

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType};

use crate::{add_file, header, sha256};

/// What may be in a layer. Paths are relative to the root; a folder comes before what is in it.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A folder that everybody may enter.
    Folder(&'a str),
    /// A file that everybody may read.
    File(&'a str, &'a [u8]),
    /// A file that everybody may run.
    Program(&'a str, &'a [u8]),
    /// A symbolic link: its path, and where it points.
    Link(&'a str, &'a str),
}

/// A layer: its blob, and the digest of what is in it before compression.
#[derive(Debug, Clone)]
pub struct Layer {
    blob: Vec<u8>,
    diff_id: String,
    media_type: &'static str,
}

impl Layer {
    /// A layer as it is: for images that stay on one machine.
    pub fn plain(entries: &[Entry<'_>]) -> io::Result<Self> {
        let blob = tar(entries)?;
        Ok(Self { diff_id: sha256(&blob), blob, media_type: "application/vnd.oci.image.layer.v1.tar" })
    }

    /// A compressed layer: for images that travel.
    pub fn compressed(entries: &[Entry<'_>]) -> io::Result<Self> {
        let plain = Self::plain(entries)?;
        // The header tells neither a time nor a system nor a file's name.
        let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
        gzip.write_all(&plain.blob)?;
        Ok(Self { blob: gzip.finish()?, media_type: "application/vnd.oci.image.layer.v1.tar+gzip", ..plain })
    }

    /// Its bytes, as whoever pulls it fetches them.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// `sha256:…` of its tar.
    pub fn diff_id(&self) -> &str {
        &self.diff_id
    }

    pub(crate) fn media_type(&self) -> &str {
        self.media_type
    }
}

fn tar(entries: &[Entry<'_>]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for entry in entries {
        match *entry {
            Entry::Folder(path) => tar.append_data(&mut header(EntryType::Directory, 0o755, 0), format!("{path}/"), io::empty())?,
            Entry::File(path, content) => add_file(&mut tar, path, 0o644, content)?,
            Entry::Program(path, content) => add_file(&mut tar, path, 0o755, content)?,
            Entry::Link(path, target) => tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?,
        }
    }
    tar.into_inner()
}
