//! A file as bytes, without reading what nobody looks at.

use std::{fs::File, io, ops::Deref, path::Path};

use memmap2::{Advice, Mmap};

/// A file, mapped for reading.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps a file; a kubelet is 84 MB and more, of which planning touches a few.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        #[expect(unsafe_code, reason = "mapping a file")]
        // SAFETY: the bytes may change under a mapping when somebody writes to the file, and vanish when it is truncated. The kernel
        // refuses both (ETXTBSY) while a process executes the file, which is what the daemon maps, or a file that was put in the place of
        // that and has not changed for a while; every offset that is read from the bytes is checked against the mapping's length, so other
        // bytes than before lead to an error, not out of bounds.
        let map = unsafe { Mmap::map(&file) }?;
        // Readahead would double the resident set; where the hint fails nothing else changes.
        let _hint = map.advise(Advice::Random);
        Ok(Self(map))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
