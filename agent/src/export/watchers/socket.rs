//! The socket on which those who watch connect: a file that root alone can reach.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use thiserror::Error;

/// Where the agent's socket is, if nobody says otherwise.
pub const SOCKET: &str = "/run/kubewitness/watch.sock";

/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;
/// Bits of a mode that let others put files in the place of ours.
const OTHERS_WRITE: u32 = 0o022;

/// A socket that this agent alone listens on. It goes when this is dropped; what an agent leaves that was killed is replaced by the next.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    file: SocketFile,
}

/// The name of the socket, and the lock that makes it ours until the process ends.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    _lock: File,
}

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another agent has it.
    #[error("another agent listens on {}: `kubewitness watch` reads from that one; --watch-socket names another place", .0.display())]
    Taken(PathBuf),
    /// Somebody could put another socket in its place.
    #[error("others may write to {}, where the socket would be: make it a directory of mode 0700, or name another with --watch-socket", .0.display())]
    Open(PathBuf),
    /// It is not ours to replace.
    #[error("{} is not a socket, and stays: remove it, or name another place with --watch-socket", .0.display())]
    NoSocket(PathBuf),
    /// The system says no.
    #[error("{what} {} failed: {source}; name a place that the agent may write to with --watch-socket, or none", path.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl Socket {
    /// Listens. The directory is made where it does not exist, for its owner alone.
    pub fn open(path: &Path) -> Result<Self, SocketError> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        guard(directory)?;
        // Held until this process ends, however it does: who has it may replace what an earlier one left.
        let lock = beside(path, ".lock");
        let locked = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let locked = locked.map_err(system("opening", &lock))?;
        match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SocketError::Taken(path.to_owned())),
            Err(error) => return Err(system("locking", &lock)(error.into())),
        }
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        // It gets its name when nobody else can connect any more.
        let unnamed = beside(path, ".new");
        let _of_a_killed_agent = fs::remove_file(&unnamed);
        let listener = UnixListener::bind(&unnamed).map_err(system("listening on", &unnamed))?;
        fs::set_permissions(&unnamed, Permissions::from_mode(0o600)).map_err(system("closing to others", &unnamed))?;
        fs::rename(&unnamed, path).map_err(system("naming", path))?;
        Ok(Self { listener, file: SocketFile { path: path.to_owned(), _lock: locked } })
    }

    pub(super) fn split(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Who cannot remove it leaves what a killed agent leaves.
        let _left = fs::remove_file(&self.path);
    }
}

/// Whether whoever is at the other end is root, or who this process is.
pub fn is_trusted(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == geteuid())
}

/// Makes sure of a directory in which nobody else can put files.
fn guard(directory: &Path) -> Result<(), SocketError> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(system("making", directory)(error)),
    }
    let found = fs::metadata(directory).map_err(system("looking at", directory))?;
    let is_ours = found.uid() == geteuid().as_raw();
    if is_ours && found.mode() & OTHERS != 0 && is_empty(directory) {
        // A volume of Kubernetes that begins as everybody's.
        return fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(system("closing to others", directory));
    }
    let is_roots = found.uid() == 0;
    if found.mode() & OTHERS_WRITE == 0 && (is_ours || is_roots) { Ok(()) } else { Err(SocketError::Open(directory.to_owned())) }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::System { what, path, source }
}
