//! Processes that would like to be taken for the node's kubelet.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kubewitness_tests::{
    build::{OwnProgram, Recipe},
    cluster::Cluster,
};

/// A process; it is killed when this is dropped.
pub(crate) struct Impostor(Child);

impl Impostor {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The program of `tests/go-spoof`, started by `command`, which gets its path and arguments; returns when it listens.
    pub(crate) fn spoof(mut command: Command, address: &str, name: &str) -> Self {
        command
            .arg(spoof())
            .args(["--listen", address, "--name", name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        Self(child)
    }

    /// A kubelet with the arguments of the cluster's, in a pod's cgroup; does not wait until it listens.
    pub(crate) fn kubelet(cluster: &Cluster, pod: &Groups, file: &Path, arguments: &[String]) -> Self {
        let mut command = pod.command(cluster);
        let log = fs::File::options().append(true).open(cluster.log("kubelet")).unwrap();
        command.arg(file).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        // Where it has ended by itself nothing is left to do.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn spoof() -> PathBuf {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("go-spoof");
    let like = OwnProgram::KubeletCall.recipe();
    let folder = format!("go/spoof-{}", like.toolchain);
    Recipe { name: "kubelet-spoof", package: "k8s.io/kubernetes/cmd/kubelet".to_owned(), module, folder, ..like }.build().unwrap()
}

/// The cgroups of a pod's process, as folders.
pub(crate) struct Groups(Vec<PathBuf>);

impl Groups {
    pub(crate) fn of(pid: u32) -> Self {
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        // Not of the devices: a pod that may do what a kubelet does has them all, and this one has not.
        let of_pods = lines.lines().filter(|line| line.contains("/pod") && !line.contains(":devices:"));
        let folder = |line: &str| {
            let fields: Vec<_> = line.splitn(3, ':').collect();
            let root = match fields[1] {
                "" if Path::new("/sys/fs/cgroup/cgroup.procs").exists() => "/sys/fs/cgroup".to_owned(),
                "" => "/sys/fs/cgroup/unified".to_owned(),
                controllers => format!("/sys/fs/cgroup/{}", controllers.trim_start_matches("name=")),
            };
            PathBuf::from(root + fields[2])
        };
        let groups: Vec<_> = of_pods.map(folder).filter(|group| group.is_dir()).collect();
        assert!(!groups.is_empty(), "process {pid} is in no pod's cgroup: {lines}");
        Self(groups)
    }

    /// A command in the cluster's network namespace that goes into these groups and becomes the program that follows.
    pub(crate) fn command(&self, cluster: &Cluster) -> Command {
        let groups: Vec<_> = self.0.iter().map(|group| group.display().to_string()).collect();
        let mut command = cluster.command("sh");
        command.args(["-c", "for group in $0; do echo $$ > $group/cgroup.procs || exit 1; done; exec \"$@\""]).arg(groups.join(" "));
        command
    }
}
