//! Bringing a cluster up, opening one that is up, and restarting its kubelet.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::image::{self, Executable, Image};
use super::layout::{Layout, all_programs};
use super::{Cluster, ClusterError, Options, POD, at, cgroups, config, controllers, down, network, pki, process, residue, run};
use crate::build::{ContainerdProgram, KubernetesProgram, etcd};
use crate::host::{self, Host};

/// How long a program may take to become ready on a busy machine. Usual are two to three seconds.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) fn up(options: &Options) -> Result<Cluster, ClusterError> {
    let layout = Layout::new(&options.name)?;
    let host = prepare(options)?;
    let begun = Instant::now();
    let _lock = layout.claim()?;
    if open(&options.name).is_ok() {
        return Err(ClusterError::AlreadyUp(options.name.clone()));
    }
    down::clear(&layout)?;
    residue::expect_kubelet_folder()?;
    let address = network::reserve_address(&layout)?;
    let cluster = Cluster { layout, address, kubelet: options.kubelet, api_server: options.api_server, controllers: options.controllers };
    match start(&cluster, options, &host) {
        Ok(()) => {
            eprintln!("the cluster {} is up after {:.1} s", options.name, begun.elapsed().as_secs_f32());
            Ok(cluster)
        }
        Err(error) => {
            // The first error is the one that explains; what cannot be removed now, the next `up` or `down` removes or names.
            let _ = down::clear(&cluster.layout).and_then(|()| down::remove_folder(&cluster.layout));
            Err(error)
        }
    }
}

pub(super) fn open(name: &str) -> Result<Cluster, ClusterError> {
    let layout = Layout::new(name)?;
    let cluster = fs::read(layout.record()).ok().and_then(|record| parse_record(layout.clone(), &record));
    let whole = |cluster: &Cluster| cluster.programs().all(|program| process::recorded(&cluster.layout, program).is_some());
    cluster.filter(whole).ok_or_else(|| ClusterError::NotUp(name.to_owned()))
}

pub(super) fn restart_kubelet(cluster: &Cluster) -> Result<(), ClusterError> {
    end_kubelet(cluster)?;
    start_kubelet(cluster, &[])?;
    await_pods(cluster)
}

pub(super) fn await_pods(cluster: &Cluster) -> Result<(), ClusterError> {
    let knows_its_pods = || Ok(succeeds(&mut cluster.kubectl(["exec", POD, "--", "true"])));
    wait(&cluster.layout, "the kubelet did not find its pods again", "kubelet", knows_its_pods)
}

pub(super) fn reconfigure_kubelet(cluster: &Cluster, config: &Value, arguments: &[&str]) -> Result<(), ClusterError> {
    end_kubelet(cluster)?;
    write(&cluster.layout.path("kubelet.json"), &config::kubelet(&cluster.layout, cluster.kubelet, config).to_string())?;
    start_kubelet(cluster, arguments)
}

pub(super) fn end_kubelet(cluster: &Cluster) -> Result<(), ClusterError> {
    end(cluster, "kubelet", Signal::TERM, 10250, "the kubelet did not end")
}

pub(super) fn kill_api_server(cluster: &Cluster) -> Result<(), ClusterError> {
    end(cluster, "kube-apiserver", Signal::KILL, 6443, "the API server did not end")
}

/// Ends a program that listens on a port, if it runs, and waits until it is gone.
fn end(cluster: &Cluster, program: &'static str, signal: Signal, port: u16, late: &str) -> Result<(), ClusterError> {
    let Some(process) = process::recorded(&cluster.layout, program) else { return Ok(()) };
    // Without its record it may end; with it, that would be taken for a crash.
    residue::remove_file(&cluster.layout.path(&format!("run/{program}")))?;
    process.signal(signal);
    // Its socket may outlive its first thread. It would take a connection that is meant for the next one, which needs the port.
    let holds_the_port = || process::recorded(&cluster.layout, "etcd").is_some_and(|etcd| listens(etcd.pid(), port));
    wait(&cluster.layout, late, program, || {
        process.reap();
        Ok(!process.is_alive() && !holds_the_port())
    })
}

pub(super) fn start_api_server(cluster: &Cluster) -> Result<(), ClusterError> {
    launch_api_server(cluster)?;
    await_api_server(cluster)
}

/// `PATH` for the programs: containerd finds its shim there.
pub(super) fn program_path() -> OsString {
    let shim = ContainerdProgram::Shim.recipe().path();
    let mut path = shim.parent().unwrap_or(&shim).as_os_str().to_owned();
    path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

pub(super) fn prepare(options: &Options) -> Result<Host, ClusterError> {
    let host = host::prepare()?;
    etcd().build()?;
    for program in [ContainerdProgram::Daemon, ContainerdProgram::Shim, ContainerdProgram::Ctr] {
        program.recipe().build()?;
    }
    options.api_server.program(KubernetesProgram::ApiServer).build()?;
    options.api_server.program(KubernetesProgram::Kubectl).build()?;
    options.kubelet.program(KubernetesProgram::Kubelet).build()?;
    if options.controllers {
        controllers::prepare(options)?;
    }
    Ok(host)
}

fn start(cluster: &Cluster, options: &Options, host: &Host) -> Result<(), ClusterError> {
    let (layout, address) = (&cluster.layout, cluster.address);
    write_files(cluster, options, host)?;
    network::create(layout, address)?;
    cgroups::create(&layout.label())?;
    process::start(layout, "etcd", &etcd().path(), &config::etcd_arguments(layout))?;
    let containerd = ContainerdProgram::Daemon.recipe().path();
    process::start(
        layout,
        "containerd",
        &containerd,
        &["--config".to_owned(), layout.path("containerd/config.toml").display().to_string()],
    )?;
    launch_api_server(cluster)?;
    import_images(layout, options, host)?;
    await_api_server(cluster)?;
    start_kubelet(cluster, &[])?;
    if cluster.controllers {
        controllers::start(cluster)?;
    }
    cluster.service_account("default")?;
    cluster.start_pod(POD, "default")?;
    let record = json!({"address": address, "kubelet": cluster.kubelet.to_string(), "apiServer": cluster.api_server.to_string(), "controllers": cluster.controllers});
    write(&layout.record(), &record.to_string())
}

fn write_files(cluster: &Cluster, options: &Options, host: &Host) -> Result<(), ClusterError> {
    let (layout, address) = (&cluster.layout, cluster.address);
    for folder in ["pki", "log", "run", "containerd/cni", "volume-plugins", "pod-logs"] {
        let folder = layout.path(folder);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
    }
    pki::create(layout, address)?;
    for user in ["admin", "node"] {
        write(&layout.kubeconfig(user), &config::kubeconfig(layout, address, user).to_string())?;
    }
    write(&layout.path("audit-policy.json"), &config::audit_policy().to_string())?;
    write(&layout.path("kubelet.json"), &config::kubelet(layout, options.kubelet, &options.kubelet_config).to_string())?;
    let plugins = if options.controllers { Some(controllers::write_files(layout, address)?) } else { None };
    write(&layout.path("containerd/config.toml"), &config::containerd(layout, &host.runc, plugins.as_deref()))
}

fn import_images(layout: &Layout, options: &Options, host: &Host) -> Result<(), ClusterError> {
    let read = |path: &Path| fs::read(path).map_err(at(path));
    let executable = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Executable { name, content: read(path)? })
    };
    let executables = options.image_files.iter().map(executable).collect::<Result<Vec<_>, ClusterError>>()?;
    let images = [
        Image { name: config::PAUSE_IMAGE, command: &["/bin/sleep", "2147483647"] },
        Image { name: config::IMAGE, command: &["/bin/sh", "-c", "while true; do echo tick; sleep 1; done"] },
    ];
    let archive = layout.path("images.tar");
    let bytes = image::archive(&read(&host.busybox)?, &executables, &images).map_err(at(&archive))?;
    fs::write(&archive, bytes).map_err(at(&archive))?;
    wait(layout, "containerd did not become ready", "containerd", || Ok(succeeds(&mut ctr(layout, &["version"]))))?;
    load_images(layout, &archive)
}

pub(super) fn load_images(layout: &Layout, archive: &Path) -> Result<(), ClusterError> {
    // `--local` imports from this process: the transfer service would need the plugin for it.
    run(ctr(layout, &["images", "import", "--local"]).arg(archive)).map(drop)
}

fn ctr(layout: &Layout, arguments: &[&str]) -> Command {
    let mut command = Command::new(ContainerdProgram::Ctr.recipe().path());
    command.arg("--address").arg(layout.containerd_socket()).args(["--namespace", "k8s.io"]).args(arguments);
    command
}

fn launch_api_server(cluster: &Cluster) -> Result<(), ClusterError> {
    let program = cluster.api_server.program(KubernetesProgram::ApiServer).path();
    process::start(
        &cluster.layout,
        "kube-apiserver",
        &program,
        &config::api_server_arguments(&cluster.layout, cluster.address, cluster.controllers),
    )
}

fn await_api_server(cluster: &Cluster) -> Result<(), ClusterError> {
    wait(&cluster.layout, "the API server did not become ready", "kube-apiserver", || {
        Ok(succeeds(&mut cluster.kubectl(["get", "--raw", "/readyz"])))
    })
}

/// `more` comes last on the command line, where the last of two equal flags is the one that counts.
pub(super) fn start_kubelet(cluster: &Cluster, more: &[&str]) -> Result<(), ClusterError> {
    let layout = &cluster.layout;
    let mut arguments = config::kubelet_arguments(layout, cluster.address);
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    process::start(layout, "kubelet", &cluster.kubelet_binary(), &arguments)?;
    wait(layout, "the kubelet did not listen on port 10250", "kubelet", || Ok(cluster.kubelet_pid().is_some_and(|pid| listens(pid, 10250))))
}

/// Whether something listens on a port in the network namespace of a process. Asking the kernel puts no request into what the tests
/// count.
fn listens(pid: u32, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).is_ok_and(|table| has_listener(&table, port)))
}

/// Whether a table as in `/proc/net/tcp` holds a socket in the state LISTEN (0A) on the port.
fn has_listener(table: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some("0A")
    })
}

/// Polls until `ready` says so. Fails at once when it fails or when a program of the cluster has ended, with the end of that program's log.
pub(super) fn wait(
    layout: &Layout,
    otherwise: &str,
    program: &'static str,
    mut ready: impl FnMut() -> Result<bool, ClusterError>,
) -> Result<(), ClusterError> {
    let begun = Instant::now();
    while !ready()? {
        let mut expected = all_programs().filter(|name| layout.path(&format!("run/{name}")).exists());
        if let Some(dead) = expected.find(|name| process::recorded(layout, name).is_none()) {
            return Err(not_ready(layout, format!("{dead} has ended"), dead));
        }
        if begun.elapsed() > PATIENCE {
            return Err(not_ready(layout, format!("{otherwise} in {} s", PATIENCE.as_secs()), program));
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn not_ready(layout: &Layout, what: String, program: &'static str) -> ClusterError {
    let log = fs::read(layout.log(program)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    ClusterError::NotReady { what, program, log: lines[lines.len().saturating_sub(25)..].join("\n") }
}

fn parse_record(layout: Layout, record: &[u8]) -> Option<Cluster> {
    let record: Value = serde_json::from_slice(record).ok()?;
    let text = |field: &str| record[field].as_str();
    let address: Ipv4Addr = text("address")?.parse().ok()?;
    let (kubelet, api_server) = (text("kubelet")?.parse().ok()?, text("apiServer")?.parse().ok()?);
    Some(Cluster { layout, address, kubelet, api_server, controllers: record["controllers"] == true })
}

pub(super) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

pub(super) fn write(path: &Path, content: &str) -> Result<(), ClusterError> {
    fs::write(path, content).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_told_from_a_connection_and_from_other_ports() {
        let line = |local: &str, remote: &str, state: &str| {
            format!("  sl  local_address rem_address   st\n   0: {local} {remote} {state} 0:0 0:0\n")
        };
        for (local, remote, state, expected) in [
            ("0100A8C0:280A", "00000000:0000", "0A", true),
            ("00000000000000000000000000000000:280A", "00000000000000000000000000000000:0000", "0A", true),
            ("0100A8C0:280A", "0100A8C0:D431", "01", false),
            ("0100A8C0:D431", "0100A8C0:280A", "01", false),
            ("0100A8C0:192B", "00000000:0000", "0A", false),
        ] {
            assert_eq!(has_listener(&line(local, remote, state), 10250), expected, "{local} {state}");
        }
        assert!(!has_listener("", 10250));
    }
}
