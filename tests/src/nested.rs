//! A PID namespace inside a cluster's network namespace: a node that is itself a container has one (kind), and process ids there are
//! not those of the machine.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::cluster::Cluster;

const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// A PID namespace; all processes in it end when it is dropped.
#[derive(Debug)]
pub struct PidNamespace {
    /// `unshare`, whose end ends process 1 of the namespace, and so all others.
    outside: Child,
    /// Process 1, by its id on the machine.
    first: u32,
}

impl PidNamespace {
    /// Makes one, with a `/proc` of its own.
    pub fn new(cluster: &Cluster) -> io::Result<Self> {
        let mut command = cluster.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "600"]).stdin(Stdio::null());
        let mut this = Self { outside: command.spawn()?, first: 0 };
        let begun = Instant::now();
        while this.first == 0 {
            if begun.elapsed() > STARTS_WITHIN {
                return Err(io::Error::other(format!("unshare has not started a process within {STARTS_WITHIN:?}")));
            }
            thread::sleep(Duration::from_millis(10));
            // Before it becomes `sleep` it has not mounted its /proc yet.
            let ready = |child: &u32| fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm == "sleep\n");
            this.first = child_of(this.outside.id()).filter(ready).unwrap_or_default();
        }
        Ok(this)
    }

    /// A command that will run in it. The child that is started waits for the program, which is a child of its own.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.enter(&["--net"], program.as_ref())
    }

    /// The same, as a pod with `hostPID` and without `hostNetwork` is in it: in another network namespace than its process 1.
    pub fn command_of_a_pod(&self, program: impl AsRef<Path>) -> Command {
        self.enter(&[], program.as_ref())
    }

    fn enter(&self, more: &[&str], program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--pid", "--mount"]).args(more).arg("--").arg(program);
        command
    }
}

/// The only child of a process, by its id on the machine.
pub fn child_of(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.trim().parse().ok()
}

impl Drop for PidNamespace {
    fn drop(&mut self) {
        // Nothing is left to do where it fails: `Cluster::down` ends every process in the cluster's network namespace.
        let _gone = self.outside.kill();
        let _gone = self.outside.wait();
    }
}
