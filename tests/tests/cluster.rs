//! The testbed tried on itself. Needs root and builds what is not built yet: `cargo xtask test --only e2e`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubewitness_tests::build::{OwnProgram, Release};
use kubewitness_tests::cluster::{CONTAINER, Cluster, ClusterError, Options, POD};

/// Ends the cluster with the test, whichever way the test ends.
struct Guard(Cluster);

impl Drop for Guard {
    fn drop(&mut self) {
        Cluster::down(self.0.name()).expect("the cluster goes down");
    }
}

/// A name that no other run on this machine has: namespaces and cgroups are the machine's, and `down` asks nobody.
fn unique(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

/// Standard output and whether the command ended well.
fn output(command: &mut Command) -> (String, bool) {
    let output = command.output().expect("the command starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

/// Everything on this machine whose name or command line says that it belongs to a cluster: processes, mounts, cgroups, folders.
fn traces(cluster: &str) -> Vec<String> {
    let state = format!("kubewitness-testbed/{cluster}");
    let label = format!("kw-{cluster}");
    let mut traces: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| Some((entry.file_name(), fs::read(entry.path().join("cmdline")).ok()?)))
        .filter(|(_, line)| String::from_utf8_lossy(line).contains(&format!("{state}/")))
        .map(|(pid, _)| format!("process {}", pid.display()))
        .collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    traces.extend(
        mounts.lines().filter(|line| line.contains(&format!("{state}/")) || line.contains(&format!("/{label} "))).map(str::to_owned),
    );
    let (cgroups, _) = output(Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &label]));
    traces.extend(cgroups.lines().map(str::to_owned));
    for path in [format!("/run/netns/{label}"), format!("/var/lib/{state}")] {
        traces.extend(Path::new(&path).exists().then_some(path));
    }
    let links = fs::read_dir("/var/log/containers").into_iter().flatten().flatten().filter_map(|link| fs::read_link(link.path()).ok());
    traces.extend(links.filter(|target| target.to_string_lossy().contains(&state)).map(|target| target.display().to_string()));
    traces
}

#[test]
fn a_cluster_comes_up_serves_and_leaves_nothing() {
    let name = unique("smoke");
    let mut options = Options::named(&name);
    options.kubelet_config = serde_json::json!({"readOnlyPort": 10255});
    options.image_files = vec![OwnProgram::SpdyExec.recipe().build().unwrap()];
    let cluster = Guard(Cluster::up(&options).unwrap());
    assert!(matches!(Cluster::up(&options), Err(ClusterError::AlreadyUp(_))));
    let cluster = &cluster.0;
    assert!(!traces(&name).is_empty(), "the search for traces finds a cluster that is up");

    assert_eq!(output(&mut cluster.kubectl(["exec", POD, "--", "echo", "hello"])), ("hello\n".to_owned(), true));
    assert!(output(&mut cluster.kubectl(["logs", POD])).0.starts_with("tick\n"));
    let kubelet = cluster.kubelet_pid().unwrap();
    let inode = cluster.network_namespace_inode().unwrap();
    assert_eq!(fs::read_link(format!("/proc/{kubelet}/ns/net")).unwrap(), PathBuf::from(format!("net:[{inode}]")));
    assert_eq!(fs::read_link(format!("/proc/{kubelet}/exe")).unwrap(), cluster.kubelet_binary());
    assert!(fs::read_to_string(cluster.audit_log()).unwrap().contains(r#""subresource":"exec""#));

    the_hole_is_there(cluster);

    cluster.restart_kubelet().unwrap();
    assert_ne!(cluster.kubelet_pid().unwrap(), kubelet);
    assert_eq!(output(&mut cluster.kubectl(["exec", POD, "--", "echo", "again"])), ("again\n".to_owned(), true));
    assert_eq!(Cluster::open(&name).unwrap().kubelet_pid(), cluster.kubelet_pid());

    Cluster::down(&name).unwrap();
    assert_eq!(traces(&name), Vec::<String>::new());
    assert!(matches!(Cluster::open(&name), Err(ClusterError::NotUp(_))));
}

/// A token that holds `get nodes/proxy` runs commands over SPDY with GET, also from inside a pod; without the right it cannot.
fn the_hole_is_there(cluster: &Cluster) {
    cluster.service_account("legacy").unwrap();
    cluster.grant("legacy", &["get"], &["nodes/proxy"]).unwrap();
    cluster.start_pod("agent", "legacy").unwrap();
    let file = std::env::temp_dir().join(cluster.name());
    fs::write(&file, cluster.token("legacy", Some("agent")).unwrap().expose()).unwrap();
    let server = format!("https://{}:10250", cluster.address());
    let call = |method: &str| {
        let mut command = cluster.command(OwnProgram::SpdyExec.recipe().path());
        command.args(["--method", method, "--server", &server, "--insecure", "--pod", POD, "--container", CONTAINER]);
        command.arg("--token-file").arg(&file).args(["--", "echo", "hole"]);
        output(&mut command)
    };
    assert_eq!(call("GET"), ("hole\n".to_owned(), true));
    assert_eq!(call("POST"), (String::new(), false));
    fs::remove_file(&file).unwrap();
    let (help, _) = output(&mut cluster.kubectl(["exec", "agent", "--", "sh", "-c", "spdyexec 2>&1; true"]));
    assert!(help.starts_with("usage: spdyexec"), "{help}");
}

#[test]
fn clusters_of_other_releases_run_side_by_side() {
    let up = |release: Release| {
        std::thread::spawn(move || {
            let name = unique(&format!("side{}", release.minor()));
            Guard(Cluster::up(&Options { kubelet: release, ..Options::named(&name) }).unwrap())
        })
    };
    let clusters: Vec<_> = [Release::V1_30, Release::V1_37].map(up).into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_ne!(clusters[0].0.address(), clusters[1].0.address());
    for cluster in &clusters {
        let (version, _) = output(&mut cluster.0.kubectl(["get", "nodes", "--output=jsonpath={.items[*].status.nodeInfo.kubeletVersion}"]));
        assert_eq!(version, format!("v{}", cluster.0.release().version()));
    }
    let mut clusters = clusters.into_iter();
    drop(clusters.next());
    let remaining = clusters.next().unwrap();
    assert_eq!(output(&mut remaining.0.kubectl(["exec", POD, "--", "echo", "untouched"])), ("untouched\n".to_owned(), true));
    drop(remaining);
    assert_eq!(["side30", "side37"].map(|what| traces(&unique(what))), [Vec::<String>::new(), Vec::new()]);
}
