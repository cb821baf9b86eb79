//! The archive that a kernel unpacks as its first file system: `newc` of cpio (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// `Documentation/admin-guide/devices.txt`
const CONSOLE: (u32, u32) = (5, 1);
/// The last entry.
const TRAILER: &str = "TRAILER!!!";

/// Writes an archive entry by entry; nothing but the entry at hand is in memory.
#[derive(Debug)]
pub(super) struct Archive<W> {
    to: W,
    /// Numbers the entries: those with the same number would be links to one file.
    entries: u32,
    written: usize,
}

impl<W: Write> Archive<W> {
    /// An archive with `/dev/console` in it, without which the first process has no output.
    pub(super) fn new(to: W) -> io::Result<Self> {
        let mut this = Self { to, entries: 0, written: 0 };
        this.folder("dev")?;
        this.entry("dev/console", CHARACTER_DEVICE, CONSOLE, &[])?;
        Ok(this)
    }

    /// A folder; those above it must be there.
    pub(super) fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, FOLDER, (0, 0), &[])
    }

    /// A file that may be executed.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, (0, 0), content)
    }

    /// The same, with the content of a file of this machine.
    pub(super) fn copy(&mut self, name: &str, from: &Path) -> io::Result<()> {
        let mut content = Vec::new();
        File::open(from)?.read_to_end(&mut content)?;
        self.file(name, &content)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.entry(TRAILER, 0, (0, 0), &[])?;
        self.to.flush()
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(|_| io::Error::other(format!("{name} has more than 4 GiB")))?;
        let name_size = u32::try_from(name.len() + 1).map_err(|_| io::Error::other("a name is too long"))?;
        // Number, mode, owner, group, links, time, size, device of the file (two), device that it is (two), bytes of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(content)?;
        self.pad()
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.wrapping_neg() % 4;
        self.put(&[0; 3][..missing])
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.to.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_begins_at_a_multiple_of_four_and_is_told_by_its_head() {
        for content in [&b""[..], b"a", b"ab", b"abc", b"abcd", b"abcde"] {
            let mut bytes = Vec::new();
            let mut archive = Archive::new(&mut bytes).unwrap();
            archive.folder("bin").unwrap();
            archive.file("bin/it", content).unwrap();
            archive.finish().unwrap();
            assert_eq!(names(&bytes), ["dev", "dev/console", "bin", "bin/it", TRAILER], "{content:?}");
        }
    }

    /// Reads an archive as the kernel does (`init/initramfs.c`).
    fn names(bytes: &[u8]) -> Vec<String> {
        let (mut at, mut names) = (0, Vec::new());
        let number = |at: usize| usize::from_str_radix(std::str::from_utf8(&bytes[at..at + 8]).unwrap(), 16).unwrap();
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701", "at {at}");
            let (size, name_size) = (number(at + 6 + 6 * 8), number(at + 6 + 11 * 8));
            let name = at + 110;
            names.push(String::from_utf8(bytes[name..name + name_size - 1].to_vec()).unwrap());
            assert_eq!(bytes[name + name_size - 1], 0);
            let content = (name + name_size).next_multiple_of(4);
            at = (content + size).next_multiple_of(4);
        }
        names
    }
}
