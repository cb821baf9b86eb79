//! The agent's own executable in memory.

use std::io;

use procfs::process::{MMPermissions, MMapPath, Process};

/// Where this process has its executable mapped, code and constants, and never wrote to it.
#[derive(Debug, Default)]
pub struct OwnPages(Vec<(u64, u64)>);

impl OwnPages {
    /// Finds them. The mappings of an executable are as they are from its start on.
    pub fn find() -> io::Result<Self> {
        let process = Process::myself().map_err(io::Error::other)?;
        let executable = process.exe().map_err(io::Error::other)?;
        let maps = process.smaps().map_err(io::Error::other)?;
        let own = maps.iter().filter(|map| {
            let is_readable = map.perms.contains(MMPermissions::READ | MMPermissions::PRIVATE) && !map.perms.contains(MMPermissions::WRITE);
            // What was relocated and made read-only afterwards has pages that no file has.
            let is_as_in_file = map.extension.map.get("Anonymous") == Some(&0);
            is_readable && is_as_in_file && matches!(&map.pathname, MMapPath::Path(path) if *path == executable)
        });
        Ok(Self(own.map(|map| map.address).collect()))
    }

    /// Gives the pages back. What is used comes back from the page cache by itself, in tenths of a millisecond; most of it was used once, when
    /// the agent started or planned.
    pub fn give_back(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|range| give_back(*range))
    }
}

fn give_back((start, end): (u64, u64)) -> io::Result<()> {
    let place = |address: u64| usize::try_from(address).map_err(io::Error::other);
    let (start, length) = (place(start)?, place(end - start)?);
    let first = std::ptr::with_exposed_provenance_mut(start);
    #[expect(unsafe_code, reason = "madvise is unsafe, since it can empty memory that is written to")]
    // SAFETY: the range is a private mapping of the executable that cannot be written to, and of which the kernel told that no page differs from
    // the file (`OwnPages::find`); nothing in this program makes such a mapping writable. So each page that is touched again is read from the file
    // as it was, and a file that is run cannot be written to (`ETXTBSY`).
    let result = unsafe { libc::madvise(first, length, libc::MADV_DONTNEED) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_program_runs_on_without_its_pages() {
        let pages = OwnPages::find().unwrap();
        assert!(pages.0.len() > 1, "code and constants: {pages:?}");
        // Not the process's own count, which the kernel brings up to date now and then.
        let mapped = || -> u64 {
            let maps = Process::myself().unwrap().smaps().unwrap();
            let own = maps.iter().filter(|map| pages.0.contains(&map.address));
            own.filter_map(|map| map.extension.map.get("Rss")).sum()
        };
        // Much code and text that is not used again.
        let help = || crate::cli::Cli::command().render_long_help().to_string();
        let (said, before) = (help(), mapped());
        pages.give_back().unwrap();
        let after = mapped();
        assert!(after < before, "{after} bytes are mapped, before {before}");
        assert_eq!(help(), said);
    }
}
