//! The agent's own code in memory.

use std::io;

use procfs::process::{MMPermissions, MMapPath, Process};

/// Gives back the pages of the executable's code that this process has mapped, and returns how many bytes it spans. What is used comes back from the
/// page cache by itself; most of it was used once, when the agent started or planned.
pub fn give_back_code() -> io::Result<u64> {
    let process = Process::myself().map_err(io::Error::other)?;
    let executable = process.exe().map_err(io::Error::other)?;
    let code = MMPermissions::READ | MMPermissions::EXECUTE | MMPermissions::PRIVATE;
    let mut given_back = 0;
    for map in process.maps().map_err(io::Error::other)? {
        // Whatever else is executable is not a file that could be read again, or is not the agent's.
        if map.perms == code && matches!(&map.pathname, MMapPath::Path(path) if *path == executable) {
            give_back(map.address)?;
            given_back += map.address.1 - map.address.0;
        }
    }
    Ok(given_back)
}

fn give_back((start, end): (u64, u64)) -> io::Result<()> {
    let place = |address: u64| usize::try_from(address).map_err(io::Error::other);
    let (start, length) = (place(start)?, place(end - start)?);
    let first = std::ptr::with_exposed_provenance_mut(start);
    #[expect(unsafe_code, reason = "madvise is unsafe, since it can empty memory that is written to")]
    // SAFETY: the range is a private mapping of a file that was never written to, for it is not writable and the code of this program is
    // position-independent without relocations in it; so each page that is touched again is read from the file as it was. A file that is run
    // cannot be written to (`ETXTBSY`).
    let result = unsafe { libc::madvise(first, length, libc::MADV_DONTNEED) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_code_runs_on_without_its_pages() {
        // Not the process's own count, which the kernel brings up to date now and then.
        let mapped = || -> u64 {
            let maps = Process::myself().unwrap().smaps().unwrap();
            let code = maps.iter().filter(|map| map.perms.contains(MMPermissions::EXECUTE));
            code.filter_map(|map| map.extension.map.get("Rss")).sum()
        };
        // Much code that is not used again.
        let help = || crate::cli::Cli::command().render_long_help().to_string();
        let (said, before) = (help(), mapped());
        assert!(give_back_code().unwrap() > 1 << 20);
        let after = mapped();
        assert!(after < before, "{after} bytes of code are mapped, before {before}");
        assert_eq!(help(), said);
    }
}
