//! Executables that are probed while nobody runs them. The kernel lets nobody write to a file that is executed (ETXTBSY), but to one that is
//! not it does, and it never compares what a probe replaces with what it was: probes that were planned on what was there before would break
//! whatever is there now. So the first byte that is written takes them off.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::inotify::{self, CreateFlags, Reader, WatchFlags},
    io::Errno,
};

/// Watches files for writes.
pub(super) struct Rewritten {
    /// `None` where the kernel gives no more of them: then no file can be watched.
    inotify: Option<OwnedFd>,
}

/// A file that is watched, until [`Rewritten::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched(i32);

impl Default for Rewritten {
    fn default() -> Self {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        if let Err(error) = &inotify {
            tracing::warn!("no file can be watched for writes: {error}; a kubelet that is restarted is seen a moment late");
        }
        Self { inotify: inotify.ok() }
    }
}

impl Rewritten {
    /// Watches the file at a path. `None` where that cannot be done.
    pub(super) fn watch(&self, path: &Path) -> Option<Watched> {
        inotify::add_watch(self.inotify.as_ref()?, path, WatchFlags::MODIFY).ok().map(Watched)
    }

    /// No longer watches a file.
    pub(super) fn forget(&self, watched: Watched) {
        if let Some(inotify) = &self.inotify {
            // It is gone already if the file is.
            let _gone = inotify::remove_watch(inotify, watched.0);
        }
    }

    /// What becomes readable when a file was written to.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(|inotify| inotify.as_fd())
    }

    /// The files that were written to since the last time.
    pub(super) fn take(&self) -> Vec<Watched> {
        let Some(inotify) = &self.inotify else { return Vec::new() };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut written = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => written.push(Watched(event.wd())),
                Err(Errno::INTR) => {}
                Err(_) => return written,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    #[test]
    fn a_write_is_told_and_a_rename_is_not() {
        let folder = std::env::temp_dir().join(format!("kubewitness-rewritten-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [file, other, aside] = ["file", "other", "aside"].map(|name| folder.join(name));
        fs::write(&file, "one").unwrap();
        fs::write(&other, "two").unwrap();
        let files = Rewritten::default();
        let watched = files.watch(&file).unwrap();
        assert_eq!(files.watch(&folder.join("none")), None);
        fs::rename(&file, &aside).unwrap();
        fs::rename(&other, &file).unwrap();
        fs::read(&aside).unwrap();
        assert_eq!(files.take(), []);
        fs::File::options().append(true).open(&aside).unwrap().write_all(b"more").unwrap();
        assert_eq!(files.take(), [watched]);
        fs::File::options().write(true).truncate(true).open(&aside).unwrap();
        assert_eq!(files.take(), [watched]);
        files.forget(watched);
        fs::write(&aside, "more").unwrap();
        assert!(!files.take().contains(&Watched(watched.0 + 1)));
        fs::remove_dir_all(&folder).unwrap();
    }
}
