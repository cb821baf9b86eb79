//! A hold on a probed executable that keeps writers waiting.
//!
//! The kernel never compares what a probe replaces with what it was when the probe was planned: a file that is written anew where it is, and
//! then run, would get breakpoints in the middle of its instructions. While a file is run nobody can write to it (ETXTBSY). While it is not, a
//! read lease (fcntl(2), `F_SETLEASE`) makes whoever opens it for writing wait until its holder lets go, 45 s at most
//! (`/proc/sys/fs/lease-break-time`): long enough to take the probes off, which takes the kernel up to half a second.

use std::{fs::File, io, os::fd::AsRawFd as _, path::Path};

/// `F_SETSIG` (`include/uapi/asm-generic/fcntl.h`), which libc does not name for every target.
const SET_SIGNAL: libc::c_int = 10;

/// A read lease on a file. Whoever waits for it goes on when it is dropped.
#[derive(Debug)]
pub struct Lease {
    file: File,
}

impl Lease {
    /// Takes a lease on the file at a path. It fails where somebody writes to the file now, where the file is another user's and the agent has
    /// no `CAP_LEASE`, and on file systems that know no leases.
    pub fn take(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // Nobody is told by a signal: [`Self::is_wanted`] is asked often enough. The usual one, SIGIO, would end the process; this one is ignored.
        fcntl(&file, SET_SIGNAL, libc::SIGURG)?;
        fcntl(&file, libc::F_SETLEASE, libc::F_RDLCK)?;
        Ok(Self { file })
    }

    /// Whether somebody waits to write to the file.
    pub fn is_wanted(&self) -> bool {
        // While a lease is being broken the kernel tells what it will be. A failure may hide that.
        !matches!(fcntl(&self.file, libc::F_GETLEASE, 0), Ok(libc::F_RDLCK))
    }
}

fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> io::Result<libc::c_int> {
    #[expect(unsafe_code, reason = "leases are not in rustix")]
    // SAFETY: these commands take an integer and touch no memory of this process; the descriptor is open as long as `file`.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread, time::Duration};

    use super::*;

    #[test]
    fn a_writer_waits_and_a_reader_does_not() {
        let path = std::env::temp_dir().join(format!("kubewitness-lease-{}", std::process::id()));
        fs::write(&path, "one").unwrap();
        let lease = match Lease::take(&path) {
            Ok(lease) => lease,
            // As on the overlay of some container runtimes.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(!lease.is_wanted());
        let to = path.clone();
        let writer = thread::spawn(move || fs::write(to, "two").unwrap());
        while !lease.is_wanted() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(fs::read(&path).unwrap(), b"one", "it waits, and nothing is truncated yet");
        drop(lease);
        writer.join().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let _open = File::options().append(true).open(&path).unwrap();
        assert!(Lease::take(&path).is_err(), "somebody may be writing");
        fs::remove_file(&path).unwrap();
    }
}
