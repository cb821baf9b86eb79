//! The tarball: the tree of a package below one folder, to be unpacked into `/` without it.

use std::io;

use anyhow::{Context as _, Result};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::contents::{Item, What};

/// The bytes of `FOLDER/…` as `tar.gz`. Folders that the package does not own are not in it, so that those of the system stay as they are.
pub(super) fn tarball(folder: &str, items: &[Item], epoch: u64) -> Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    let mut tar = Builder::new(gzip);
    for Item { path, what } in items {
        let path = format!("{folder}/{path}");
        let added = match what {
            What::Folder => tar.append_data(&mut header(EntryType::Directory, 0o755, 0, epoch), format!("{path}/"), io::empty()),
            What::Program(content) => add(&mut tar, &path, 0o755, content, epoch),
            What::File(content) | What::Settings(content) => add(&mut tar, &path, 0o644, content, epoch),
            What::Link(target) => tar.append_link(&mut header(EntryType::Symlink, 0o777, 0, epoch), &path, target),
        };
        added.with_context(|| format!("{path} does not go into a tarball"))?;
    }
    tar.into_inner().and_then(GzEncoder::finish).context("the tarball cannot be packed")
}

fn add(tar: &mut Builder<impl io::Write>, path: &str, mode: u32, content: &[u8], epoch: u64) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, mode, content.len() as u64, epoch), path, content)
}

/// Of root, at the given time.
fn header(kind: EntryType, mode: u32, size: u64, epoch: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    #[test]
    fn the_same_input_gives_the_same_bytes_and_everything_is_roots() {
        let items = [
            Item { path: "etc/kubewitness".into(), what: What::Folder },
            Item { path: "usr/bin/a".into(), what: What::Link("b") },
            Item { path: "usr/bin/b".into(), what: What::Program(b"program".to_vec()) },
        ];
        let made = tarball("kubewitness-1", &items, 7).expect("made");
        assert_eq!(made, tarball("kubewitness-1", &items, 7).expect("made"));
        assert_ne!(made, tarball("kubewitness-1", &items, 8).expect("made"));
        let mut archive = Archive::new(GzDecoder::new(&made[..]));
        let mut seen = Vec::new();
        for entry in archive.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let header = entry.header();
            let (bits, time) = (header.mode().expect("a mode"), header.mtime().expect("a time"));
            assert_eq!((header.uid().expect("a uid"), time), (0, 7));
            let path = entry.path().expect("a path").display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("a content");
            seen.push((path, bits, content));
        }
        let expected = [
            ("kubewitness-1/etc/kubewitness/", 0o755, ""),
            ("kubewitness-1/usr/bin/a", 0o777, ""),
            ("kubewitness-1/usr/bin/b", 0o755, "program"),
        ];
        assert_eq!(seen, expected.map(|(path, mode, content)| (path.to_owned(), mode, content.to_owned())));
    }
}
