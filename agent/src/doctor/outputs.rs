//! Where events and metrics go: whether `run` could open it. Nothing is written, and what is opened is closed again.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use procfs::process::Process;
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use super::{Finding, Fix, Group, gate, gate::Told, text::counted};
use crate::{
    export::{
        guard::{Certificate, Tls},
        policy::PolicyFile,
        sink::{Rotation, Target},
        webhook::{self, reach},
    },
    rbac::cluster::{ConnectOptions, Connection, Elsewhere},
    target::{listeners, own_netns},
};

const GROUP: Group = Group::Outputs;

/// What was asked for.
pub struct Wanted {
    /// Where events go.
    pub events: Target,
    /// Where those who watch meet the agent.
    pub socket: Option<PathBuf>,
    /// Which become events.
    pub policy: Option<PathBuf>,
    /// Where they are sent.
    pub webhook: Option<webhook::Options>,
    /// Where the metrics are served.
    pub metrics: SocketAddr,
    /// Whether those who read them have to show a token.
    pub guarded: bool,
    /// The certificate that they are served with.
    pub certificate: Option<Certificate>,
    /// The kubelet whose count is compared, and how to be let in there.
    pub coverage: Option<(Elsewhere, ConnectOptions)>,
}

/// What was found.
pub struct Found {
    /// The preconditions.
    pub findings: Vec<Finding>,
    /// Whether the kubelet asks for finer rights, if it or an agent that runs here tells.
    pub gate: Option<Told>,
}

/// Looks, in some seconds at most.
pub async fn look(wanted: &Wanted) -> Found {
    let mut findings = vec![events(&wanted.events), policy(wanted.policy.as_deref())];
    let (port, agent) = metrics_port(wanted.metrics);
    findings.extend(webhook(wanted.webhook.as_ref(), agent.is_some()).await);
    findings.push(socket(wanted.socket.as_deref()));
    findings.push(port);
    findings.push(readers(wanted));
    let (counts, told) = coverage(wanted.coverage.as_ref()).await;
    findings.push(counts);
    let told = match (told, agent, &wanted.certificate) {
        (Some(told), ..) => Some(told),
        (None, Some(address), None) if !wanted.guarded => own_page(address).await.and_then(|page| gate::by_checks(&page)),
        _ => None,
    };
    Found { findings, gate: told }
}

fn events(target: &Target) -> Finding {
    const WHAT: &str = "events";
    let Target::File(path, rotation) = target else { return Finding::ok(GROUP, WHAT, "to standard output") };
    match writable(path) {
        Ok(()) => space(WHAT, path, needed(*rotation)),
        Err(error) => Finding::fail(
            GROUP,
            WHAT,
            format!("{} cannot be written: {error}", path.display()),
            "name a file in a directory that exists and that the agent may write to",
        )
        .fix(Fix::Command(format!("mkdir -p {}", folder(path).display())))
        .fix(Fix::Flag("--events FILE".to_owned()))
        .fix(Fix::Helm("events.sink=file, events.file.hostPath=DIRECTORY".to_owned())),
    }
}

/// Bytes that files of events take together; `None` where there is no limit.
fn needed(rotation: Rotation) -> Option<u64> {
    let files = u64::try_from(rotation.max_files).unwrap_or(u64::MAX);
    Some(rotation.max_size.saturating_mul(files)).filter(|bytes| *bytes > 0)
}

/// Opens what is there, without changing it; of what is not, whether it could be made.
fn writable(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        // Opening a pipe would wait for its reader.
        Ok(metadata) if metadata.is_file() => OpenOptions::new().append(true).open(path).map(drop),
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => allowed(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => allowed(folder(path)),
        Err(error) => Err(error),
    }
}

fn allowed(path: &Path) -> io::Result<()> {
    Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the file system has room for this many bytes.
fn space(what: &'static str, path: &Path, needed: Option<u64>) -> Finding {
    let there = statvfs(folder(path)).map(|system| system.f_bavail.saturating_mul(system.f_frsize));
    let shown = path.display();
    match (there, needed) {
        (Err(error), _) => {
            Finding::warn(GROUP, what, format!("{shown} can be written; its room cannot be told: {error}"), "look at the file system")
        }
        (Ok(there), Some(needed)) if there < needed => Finding::warn(
            GROUP,
            what,
            format!("{shown} can be written, but there are {} MiB, and up to {} MiB are wanted", there >> 20, needed >> 20),
            "make room, or keep less: what cannot be written is dropped, and counted",
        )
        .fix(Fix::Flag("--events-max-size SIZE, --events-max-files COUNT, --audit-webhook-queue-size SIZE".to_owned()))
        .fix(Fix::Helm("events.file.maxSize=SIZE, events.file.maxFiles=COUNT, webhook.queue.size=SIZE".to_owned())),
        (Ok(there), Some(needed)) => {
            Finding::ok(GROUP, what, format!("{shown} can be written, and of {} MiB it takes {} MiB at most", there >> 20, needed >> 20))
        }
        (Ok(there), None) => Finding::warn(
            GROUP,
            what,
            format!("{shown} can be written, without a limit: there are {} MiB", there >> 20),
            "let logrotate put the file aside, or set limits",
        )
        .fix(Fix::Flag("--events-max-size 100Mi --events-max-files 10".to_owned())),
    }
}

/// An agent that runs has it, or its directory can be made.
fn socket(path: Option<&Path>) -> Finding {
    const WHAT: &str = "watch's socket";
    let Some(path) = path else { return Finding::off(GROUP, WHAT, "none: watch attaches probes of its own") };
    if UnixStream::connect(path).is_ok() {
        return Finding::ok(GROUP, WHAT, format!("{}: an agent serves it", path.display()));
    }
    let there = path.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
    match allowed(there) {
        Ok(()) => Finding::ok(GROUP, WHAT, format!("{} can be made", path.display())),
        Err(error) => Finding::warn(
            GROUP,
            WHAT,
            format!("{} cannot be made: {error}; watch then attaches probes of its own, and all else works", path.display()),
            "name a path in a directory that the agent may write to, or none",
        )
        .fix(Fix::Flag("--watch-socket PATH".to_owned()))
        .fix(Fix::Flag("--watch-socket none".to_owned()))
        .fix(Fix::Systemd("RuntimeDirectory=kubewitness".to_owned())),
    }
}

fn policy(file: Option<&Path>) -> Finding {
    const WHAT: &str = "audit policy";
    let Some(file) = file else { return Finding::off(GROUP, WHAT, "none: every request becomes an event") };
    match PolicyFile::open(file) {
        Ok(_) => Finding::ok(GROUP, WHAT, format!("{} can be read", file.display())),
        Err(error) => Finding::fail(GROUP, WHAT, error.to_string(), "mend the file, or name another one")
            .fix(Fix::Flag("--audit-policy FILE".to_owned()))
            .fix(Fix::Helm("auditPolicy.enabled=false".to_owned())),
    }
}

/// The receiver, and where events wait for it. `running` says whether an agent is there already, which then holds the queue.
async fn webhook(options: Option<&webhook::Options>, running: bool) -> Vec<Finding> {
    const WHAT: &str = "webhook";
    let Some(options) = options else { return vec![Finding::off(GROUP, WHAT, "none: events are not sent anywhere")] };
    let receiver = match reach(options.kubeconfig.clone()).await {
        Ok((url, status)) if matches!(status.as_u16(), 401 | 403) => Finding::warn(
            GROUP,
            WHAT,
            format!("{url} answers {status}"),
            "see whether the credentials in the kubeconfig let it send events",
        ),
        Ok((url, _)) => Finding::ok(GROUP, WHAT, format!("{url} answers")),
        Err(error) => Finding::fail(GROUP, WHAT, error.to_string(), "events wait until it answers, and are dropped when the queue is full")
            .fix(Fix::Flag("--audit-webhook-config-file FILE".to_owned()))
            .fix(Fix::Helm("webhook.secretName=SECRET".to_owned())),
    };
    vec![receiver, queue(options, running)]
}

fn queue(options: &webhook::Options, running: bool) -> Finding {
    const WHAT: &str = "webhook's queue";
    let Some((folder, size)) = &options.queue else {
        return Finding::warn(
            GROUP,
            WHAT,
            "in 8 MiB of memory: what waits is lost with the agent",
            "name a directory on a disk that lasts",
        )
        .fix(Fix::Flag("--audit-webhook-queue DIRECTORY".to_owned()))
        .fix(Fix::Helm("webhook.queue.hostPath=/var/lib/kubewitness/webhook".to_owned()));
    };
    // It is made where it is missing.
    let there = folder.ancestors().find(|above| above.exists()).unwrap_or(folder);
    if let Err(error) = allowed(there) {
        return Finding::fail(
            GROUP,
            WHAT,
            format!("{} cannot be written: {error}", there.display()),
            "name a directory that the agent may write to",
        )
        .fix(Fix::Flag("--audit-webhook-queue DIRECTORY".to_owned()))
        .fix(Fix::Helm("webhook.queue.hostPath=DIRECTORY".to_owned()));
    }
    let lock = File::open(folder.join("lock"));
    if lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock))) {
        let text = format!("{} is in use by an agent", folder.display());
        return if running {
            Finding::ok(GROUP, WHAT, text)
        } else {
            Finding::fail(GROUP, WHAT, text, "stop the other agent, or give each a directory of its own")
        };
    }
    space(WHAT, &folder.join("lock"), Some(*size))
}

/// Whether the port is free; the address of an agent that has it already.
fn metrics_port(address: SocketAddr) -> (Finding, Option<SocketAddr>) {
    const WHAT: &str = "metrics port";
    let error = match TcpListener::bind(address) {
        Ok(_closed) => return (Finding::ok(GROUP, WHAT, format!("{address} is free")), None),
        Err(error) => error,
    };
    let holder = (error.kind() == io::ErrorKind::AddrInUse).then(|| holder(address.port())).flatten();
    if let Some((pid, name)) = holder.as_ref().filter(|(_, name)| matches!(name.as_str(), "kubewitness" | "kubewitness-arm")) {
        return (Finding::ok(GROUP, WHAT, format!("{address}: an agent runs here already, process {pid} ({name})")), Some(address));
    }
    let by = holder.map(|(pid, name)| format!(" by process {pid} ({name})")).unwrap_or_default();
    let finding = Finding::fail(GROUP, WHAT, format!("{address}: {error}{by}"), "name another address")
        .fix(Fix::Flag(format!("--metrics-listen {}:{}", address.ip(), address.port().wrapping_add(1))))
        .fix(Fix::Helm(format!("metrics.port={}", address.port().wrapping_add(1))));
    (finding, None)
}

/// Who listens there, and what it is called.
fn holder(port: u16) -> Option<(u32, String)> {
    let own = own_netns().ok()?;
    let pid = listeners(&[port], &BTreeSet::from([own])).into_iter().next()?;
    let name = Process::new(pid.cast_signed()).and_then(|process| process.stat()).map_or_else(|_| "?".to_owned(), |stat| stat.comm);
    Some((pid, crate::inert::Inert(&name).to_string()))
}

fn readers(wanted: &Wanted) -> Finding {
    const WHAT: &str = "metrics' readers";
    if let Some(certificate) = &wanted.certificate
        && let Err(error) = Tls::new(certificate.clone())
    {
        return Finding::fail(GROUP, WHAT, error.to_string(), "name the certificate and its key, or let the agent make its own")
            .fix(Fix::Flag("--metrics-tls-cert-file FILE --metrics-tls-key-file FILE".to_owned()))
            .fix(Fix::Helm("metrics.tlsSecretName=SECRET".to_owned()));
    }
    if wanted.guarded {
        Finding::ok(GROUP, WHAT, "who may get the path /metrics, with a token")
    } else if wanted.metrics.ip().is_loopback() {
        Finding::ok(GROUP, WHAT, "whoever is on this node")
    } else {
        Finding::warn(GROUP, WHAT, "everybody who reaches the address, and the metrics name identities", "let them show a token")
            .fix(Fix::Flag("--metrics-auth kubernetes".to_owned()))
            .fix(Fix::Helm("metrics.auth=kubernetes".to_owned()))
    }
}

/// How long the kubelet, or an agent, may take for its page.
const WITHIN: Duration = Duration::from_secs(5);

async fn coverage(kubelet: Option<&(Elsewhere, ConnectOptions)>) -> (Finding, Option<Told>) {
    const WHAT: &str = "kubelet's count";
    let Some((kubelet, connect)) = kubelet else {
        let off = Finding::off(GROUP, WHAT, "not compared: a request that was not seen is not noticed")
            .fix(Fix::Flag("--kubelet-url https://NODE:10250".to_owned()))
            .fix(Fix::Helm("coverage.kubeletMetrics=true".to_owned()));
        return (off, None);
    };
    let page = tokio::time::timeout(WITHIN, async {
        let connection = Connection::open(connect.clone()).await.map_err(|error| error.to_string())?;
        connection.kubelet_metrics(kubelet).await.map_err(|error| error.to_string())
    });
    match page.await.unwrap_or_else(|_| Err(format!("it has not answered within {} s", WITHIN.as_secs()))) {
        Ok(page) => match crate::kubelet::Counters::parse(&page) {
            Some(counters) => {
                let text = format!(
                    "{} tells it: {} so far",
                    kubelet.url,
                    counted(usize::try_from(counters.requests).unwrap_or(usize::MAX), "request")
                );
                (Finding::ok(GROUP, WHAT, text), gate::by_kubelet(&page))
            }
            None => (failed(WHAT, kubelet, "its answer is not a kubelet's page of metrics"), None),
        },
        Err(error) => (failed(WHAT, kubelet, &error), None),
    }
}

fn failed(what: &'static str, kubelet: &Elsewhere, why: &str) -> Finding {
    Finding::fail(GROUP, what, format!("{}: {why}", kubelet.url), "mend the address, the certificate or the right to get nodes/metrics")
        .fix(Fix::Flag("--kubelet-certificate-authority FILE".to_owned()))
        .fix(Fix::Helm("coverage.certificateAuthoritySecretName=SECRET".to_owned()))
        .fix(Fix::Command("kubectl create clusterrole NAME --verb=get --resource=nodes/metrics, and bind it".to_owned()))
}

/// The metrics of an agent that runs here, where everybody may read them.
async fn own_page(address: SocketAddr) -> Option<String> {
    const LARGEST: u64 = 16 << 20;
    let _present = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(WITHIN).build().ok()?;
    let here = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let answer =
        client.get(format!("http://{}/metrics", SocketAddr::new(here, address.port()))).send().await.ok()?.error_for_status().ok()?;
    if answer.content_length().is_none_or(|length| length > LARGEST) {
        return None;
    }
    answer.text().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn what_cannot_be_written_is_told_and_nothing_is_made() {
        let folder = std::env::temp_dir().join(format!("kubewitness-outputs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let rotation = Rotation { max_size: 1 << 20, max_files: 2 };
        let of = |path: &Path, rotation| events(&Target::File(path.to_owned(), rotation));
        let new = folder.join("events.jsonl");
        assert_eq!(of(&new, rotation).state, State::Ok);
        assert!(!new.exists(), "looking makes no file");
        assert_eq!(of(&new, Rotation { max_size: u64::MAX, max_files: 10 }).state, State::Warn, "there is never that much room");
        assert_eq!(of(&new, Rotation { max_size: 0, max_files: 0 }).state, State::Warn);
        let found = of(&folder.join("absent/events.jsonl"), rotation);
        assert_eq!(found.state, State::Fail);
        assert!(found.detail.contains("No such file"), "{found:?}");
        assert_eq!(of(&folder, rotation).state, State::Fail);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_socket_is_served_or_can_be_made_or_cannot() {
        let folder = std::env::temp_dir().join(format!("kubewitness-doctor-socket-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("below/watch.sock");
        assert_eq!(socket(None).state, State::Off);
        assert!(socket(Some(&path)).detail.ends_with("can be made"));
        assert!(!folder.join("below").exists(), "looking makes nothing");
        let path = folder.join("watch.sock");
        let _agent = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(socket(Some(&path)).detail.ends_with("an agent serves it"));
        assert_eq!(socket(Some(Path::new("/proc/none/watch.sock"))).state, State::Warn);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_port_is_free_or_somebody_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (held, agent) = metrics_port(address);
        assert_eq!((held.state, agent), (State::Fail, None));
        assert!(held.detail.contains(&format!("by process {}", std::process::id())), "{held:?}");
        drop(listener);
        assert_eq!(metrics_port(address).0.state, State::Ok);
    }
}
