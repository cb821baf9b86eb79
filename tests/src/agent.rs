//! The agent under test: started beside a cluster's kubelet, asked, and stopped.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use thiserror::Error;

use crate::cluster::Cluster;

/// Where the agent serves its metrics, inside the cluster's network namespace.
pub const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// Planning an executable for the first time reads it from disk.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Why the agent did not do as it should.
#[derive(Debug, Error)]
pub enum AgentError {
    /// It could not be started, or its files could not be used.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// It ended too early.
    #[error("the agent ended with {status} before it was ready: {log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {within:?}; the agent's log ends with: {log}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The end of its log.
        log: String,
    },
}

/// How the agent is started.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The binary, usually `target/release/kubewitness`.
    pub binary: PathBuf,
    /// A folder for its events and its log.
    pub folder: PathBuf,
    /// Whence it knows the RBAC objects.
    pub rbac: Rbac,
    /// What is added to its command line.
    pub arguments: Vec<String>,
}

/// Whence an agent knows the RBAC objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rbac {
    /// It does not follow them.
    Off,
    /// From the cluster, as its administrator.
    Administrator,
    /// With this kubeconfig.
    Kubeconfig(PathBuf),
}

/// A running agent; it is killed when it is dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    network: PathBuf,
    folder: PathBuf,
}

impl Agent {
    /// Starts the agent in the cluster's network namespace and waits until it watches the kubelet, and knows the RBAC objects if it follows
    /// them as the administrator.
    pub fn start(cluster: &Cluster, options: &AgentOptions) -> Result<Self, AgentError> {
        let mut agent = Self::start_blind(cluster, options)?;
        agent.until_it_watches()?;
        if options.rbac == Rbac::Administrator {
            agent.until("the agent knows the RBAC objects", READY_WITHIN, |agent| Ok(agent.knows_rbac()?.then_some(())))?;
        }
        Ok(agent)
    }

    /// Starts it without waiting.
    pub fn start_blind(cluster: &Cluster, options: &AgentOptions) -> Result<Self, AgentError> {
        let folder = options.folder.clone();
        fs::create_dir_all(&folder).map_err(system(format!("{} cannot be made", folder.display())))?;
        let log = fs::File::create(folder.join("agent.log")).map_err(system("the agent's log cannot be made".to_owned()))?;
        let mut command = cluster.command(&options.binary);
        command.args(["run", "--node-name", "node1", "--events"]).arg(folder.join("events.jsonl"));
        command.arg("--pod-logs").arg(cluster.pod_logs());
        match &options.rbac {
            Rbac::Off => command.args(["--rbac", "off"]),
            Rbac::Administrator => command.arg("--kubeconfig").arg(cluster.kubeconfig()),
            Rbac::Kubeconfig(file) => command.arg("--kubeconfig").arg(file),
        };
        command.args(&options.arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(system(format!("{} cannot be started", options.binary.display())))?;
        Ok(Self { child, network: cluster.network_namespace(), folder })
    }

    /// An agent that was started in another way; its pages are in the network namespace `network`, its log is `folder/agent.log`.
    pub fn started(child: Child, network: PathBuf, folder: PathBuf) -> Self {
        Self { child, network, folder }
    }

    /// Waits until it says that it watches the kubelet.
    pub fn until_it_watches(&mut self) -> Result<(), AgentError> {
        let watches = |agent: &mut Self| Ok(agent.fetch("/readyz").ok().filter(|page| page.starts_with("attached")));
        self.until("the agent watches the kubelet", READY_WITHIN, watches).map(|_page| ())
    }

    /// Its process id: `nsenter` becomes the program that it starts.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its events go.
    pub fn events_file(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    /// All events that it wrote so far; a line that is not JSON is an error.
    pub fn events(&self) -> Result<Vec<Value>, AgentError> {
        let path = self.events_file();
        let text = fs::read_to_string(&path).map_err(system(format!("{} cannot be read", path.display())))?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| serde_json::from_str(line).map_err(|error| io::Error::other(format!("{error} in {line}")));
        whole.lines().map(parse).collect::<Result<_, _>>().map_err(system("an event is not JSON".to_owned()))
    }

    /// Waits for an event.
    pub fn event(&mut self, what: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value, AgentError> {
        self.until(what, within, |agent| Ok(agent.events()?.into_iter().find(&wanted)))
    }

    /// Its metrics, by name and labels as they are exposed.
    pub fn metrics(&self) -> Result<BTreeMap<String, f64>, AgentError> {
        let page = self.fetch("/metrics")?;
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Ok(lines
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// Whether it says that it knows the RBAC objects.
    pub fn knows_rbac(&self) -> Result<bool, AgentError> {
        Ok(self.metrics()?.get("kubewitness_rbac_synced") == Some(&1.0))
    }

    /// A page of its HTTP server, without the headers.
    pub fn fetch(&self, path: &str) -> Result<String, AgentError> {
        let fetch = || -> io::Result<String> {
            let mut stream = connect_in(&self.network, METRICS)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
            let mut response = String::new();
            stream.read_to_string(&mut response)?;
            Ok(response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
        };
        fetch().map_err(system(format!("{path} of the agent cannot be fetched")))
    }

    /// Sends SIGTERM and waits, at most `within`.
    pub fn stop(self, within: Duration) -> Result<ExitStatus, AgentError> {
        self.end_by(Signal::TERM, within)
    }

    /// Sends a signal that ends it and waits, at most `within`.
    pub fn end_by(mut self, signal: Signal, within: Duration) -> Result<ExitStatus, AgentError> {
        self.signal(signal)?;
        self.ended(within)
    }

    /// Waits until it has ended, at most `within`.
    pub fn ended(&mut self, within: Duration) -> Result<ExitStatus, AgentError> {
        self.until("its end", within, |agent| agent.child.try_wait().map_err(system("the agent cannot be waited for".to_owned())))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), AgentError> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).map_err(|error| AgentError::System { what: format!("no {signal:?} can be sent"), source: error.into() })
    }

    /// Tries again and again until there is an answer, the time is over, or the agent has ended.
    pub fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut attempt: impl FnMut(&mut Self) -> Result<Option<T>, AgentError>,
    ) -> Result<T, AgentError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(value) = attempt(self)? {
                return Ok(value);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(AgentError::Ended { status, log: self.log_end() });
            }
            if Instant::now() > deadline {
                return Err(AgentError::Late { what: what.to_owned(), within, log: self.log_end() });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It is gone already after `stop`.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Connects from inside a network namespace: the socket stays there when the thread that made it is gone.
pub fn connect_in(network: &Path, address: SocketAddr) -> io::Result<TcpStream> {
    let namespace = fs::File::open(network)?;
    let connect = move || {
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(rustix::thread::LinkNameSpaceType::Network))?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    };
    thread::spawn(connect).join().map_err(|_| io::Error::other("the thread that connects panicked"))?
}

/// A command on this machine that must succeed; its standard output.
pub fn output_of(command: &mut Command) -> Result<String, AgentError> {
    let output = command.output().map_err(system(format!("{command:?} cannot be run")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(AgentError::System { what: format!("{command:?}"), source: io::Error::other(format!("{}: {said}", output.status)) })
}

fn system(what: String) -> impl FnOnce(io::Error) -> AgentError {
    move |source| AgentError::System { what, source }
}
