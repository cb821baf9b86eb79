//! Manifests from files, directories and standard input.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Manifests, STDIN};

/// The largest input, in bytes. All RBAC objects of a cluster of 5,000 roles are a tenth of it.
const LARGEST: u64 = 128 << 20;
/// The files of all directories together.
const FILES: usize = 100_000;
/// Directories in directories.
const DEPTH: u8 = 64;

/// An input that cannot be read at all.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum InputError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is larger than {} MiB: split it, or leave out all but ClusterRoles and ClusterRoleBindings", path.display(), LARGEST >> 20)]
    TooLarge { path: PathBuf },
    #[error("{} holds no *.yaml, *.yml or *.json: nothing was looked at; name the files themselves", path.display())]
    NoFiles { path: PathBuf },
    #[error("standard input was empty: nothing was looked at; did the command before the pipe fail?")]
    NoInput,
    #[error("{} holds more than {FILES} manifests, or directories more than {DEPTH} deep: name those that matter", path.display())]
    TooMany { path: PathBuf },
}

/// Reads files, directories (their `.yaml`, `.yml` and `.json`, hidden directories left out) and, for `-`, standard input.
pub fn read(paths: &[PathBuf]) -> Result<Manifests, InputError> {
    read_and_tell(paths, |_| {})
}

/// The same, and tells after each file how many there were.
pub fn read_and_tell(paths: &[PathBuf], mut tell: impl FnMut(u64)) -> Result<Manifests, InputError> {
    let mut read = 0;
    let mut manifests = Manifests::default();
    for path in paths {
        if path.as_os_str() == "-" {
            let text = bounded(io::stdin().lock(), path)?;
            if text.is_empty() {
                return Err(InputError::NoInput);
            }
            manifests.take(STDIN, &text);
            continue;
        }
        let mut files = Vec::new();
        if path.is_dir() {
            find(path, path, DEPTH, &mut files)?;
            if files.is_empty() {
                return Err(InputError::NoFiles { path: path.clone() });
            }
        } else {
            files.push(path.clone());
        }
        for file in files {
            let opened = File::open(&file).map_err(|source| InputError::Unreadable { path: file.clone(), source })?;
            manifests.take(&file.to_string_lossy(), &bounded(opened, &file)?);
            read += 1;
            tell(read);
        }
    }
    Ok(manifests)
}

fn bounded(from: impl Read, path: &Path) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    let read = from.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|source| InputError::Unreadable { path: path.to_owned(), source })?;
    if bytes.len() as u64 > LARGEST { Err(InputError::TooLarge { path: path.to_owned() }) } else { Ok(bytes) }
}

/// The manifests of a directory, in the order of their names. Links to directories are not followed: they may lead in circles.
fn find(top: &Path, directory: &Path, depth: u8, files: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let unreadable = |source| InputError::Unreadable { path: directory.to_owned(), source };
    let mut entries: Vec<_> = fs::read_dir(directory).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_directory = entry.file_type().map_err(unreadable)?.is_dir();
        if is_directory && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            let depth = depth.checked_sub(1).ok_or_else(|| InputError::TooMany { path: top.to_owned() })?;
            find(top, &path, depth, files)?;
        } else if !is_directory && is_manifest(&path) && path.is_file() {
            if files.len() >= FILES {
                return Err(InputError::TooMany { path: top.to_owned() });
            }
            files.push(path);
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}
