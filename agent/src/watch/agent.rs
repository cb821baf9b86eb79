//! The socket of an agent that runs, here or in a container of this node.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::export::watchers::{SOCKET, is_trusted};

/// An agent cannot be read from although it may be there.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The socket is root's.
    #[error("the agent's socket {} is for root alone: run this as root", .0.display())]
    Denied(PathBuf),
    /// Somebody else listens.
    #[error("whoever listens on {} is neither root nor the user that runs this: nothing that comes from there is shown", .0.display())]
    Stranger(PathBuf),
    /// An agent runs in this container, and a second one has no room in it.
    #[error(
        "an agent runs in this container (process {0}) without a socket at {SOCKET}, and a second one could take its memory: mount a volume at \
         /run/kubewitness, as the chart does, and its log says what else is wrong"
    )]
    Unreachable(u32),
    /// The system says no.
    #[error("cannot connect to the agent's socket {}: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Connects to the agent at this path; `None` if none listens there. Where the path is the usual one, agents in containers are looked for too.
pub fn connect(path: &Path) -> Result<Option<UnixStream>, AgentError> {
    if let Some(stream) = connect_to(path)? {
        return Ok(Some(stream));
    }
    if path != Path::new(SOCKET) {
        return Ok(None);
    }
    let agents = agents();
    for agent in &agents {
        let inside = Path::new("/proc").join(agent.pid.to_string()).join("root").join(SOCKET.trim_start_matches('/'));
        // One that is not reached may have a neighbour that is.
        if let Ok(Some(stream)) = connect_to(&inside) {
            return Ok(Some(stream));
        }
    }
    match agents.iter().find(|agent| agent.is_here) {
        Some(agent) => Err(AgentError::Unreachable(agent.pid)),
        None => Ok(None),
    }
}

fn connect_to(path: &Path) -> Result<Option<UnixStream>, AgentError> {
    let path_of = || path.to_owned();
    match UnixStream::connect(path) {
        Ok(stream) if is_trusted(&stream) => Ok(Some(stream)),
        Ok(_) => Err(AgentError::Stranger(path_of())),
        // Nobody, or a name that a killed agent left.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(AgentError::Denied(path_of())),
        Err(source) => Err(AgentError::System { path: path_of(), source }),
    }
}

/// A process that is an agent by its command line.
struct Agent {
    pid: u32,
    /// In the same container as this process.
    is_here: bool,
}

/// The agents of this node. Those in another PID namespace are not believed: a pod that is not given the node's could only pretend.
fn agents() -> Vec<Agent> {
    let own = (std::process::id(), link("self", "ns/pid"), fs::read("/proc/self/cgroup").ok());
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let agent = |pid: u32| {
        let name = pid.to_string();
        let is_agent = pid != own.0 && is_agent(&fs::read(Path::new("/proc").join(&name).join("cmdline")).ok()?);
        let believed = is_agent && own.1.is_some() && link(&name, "ns/pid") == own.1;
        let cgroup = || fs::read(Path::new("/proc").join(&name).join("cgroup")).ok();
        believed.then(|| Agent { pid, is_here: own.2.is_some() && cgroup() == own.2 })
    };
    pids.filter_map(agent).collect()
}

fn link(process: &str, name: &str) -> Option<PathBuf> {
    fs::read_link(Path::new("/proc").join(process).join(name)).ok()
}

/// `kubewitness run`, whatever flags come before the command.
fn is_agent(command_line: &[u8]) -> bool {
    let mut words = command_line.split(|byte| *byte == 0);
    let program = words.next().map(|word| Path::new(OsStr::from_bytes(word)));
    program.and_then(Path::file_name).is_some_and(|name| name == "kubewitness") && words.any(|word| word == b"run")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn agents_are_told_by_their_command_line() {
        for (line, expected) in [
            (&b"/usr/local/bin/kubewitness\0run\0--events=-\0"[..], true),
            (b"kubewitness\0--log\0debug\0run\0", true),
            (b"kubewitness\0watch\0", false),
            (b"kubelet\0run\0", false),
            (b"", false),
        ] {
            assert_eq!(is_agent(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_name_that_was_left_is_nobody() {
        let folder = std::env::temp_dir().join(format!("kubewitness-watch-agent-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("watch.sock");
        assert!(connect(&path).unwrap().is_none());
        let listener = UnixListener::bind(&path).unwrap();
        assert!(connect(&path).unwrap().is_some());
        drop(listener);
        assert!(connect(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(connect(&path.join("x")).unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
    }
}
