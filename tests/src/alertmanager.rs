//! A real Alertmanager beside a real Prometheus, and the receiver of a webhook that it notifies.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use thiserror::Error;

use crate::{
    agent::connect_in,
    build::{AlertmanagerProgram, BuildError},
    cluster::Cluster,
};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// Why Alertmanager, or the receiver, did not do as it should.
#[derive(Debug, Error)]
pub enum AlertmanagerError {
    /// It is not there.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It could not be started.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// It does not answer.
    #[error("Alertmanager was not ready within {READY_WITHIN:?}; its log: {log}")]
    Late {
        /// What it logged.
        log: String,
    },
}

/// A running Alertmanager in a cluster's network namespace; it is killed when it is dropped.
#[derive(Debug)]
pub struct Alertmanager {
    child: Child,
    address: SocketAddr,
}

impl Alertmanager {
    /// Starts it on a free port of the cluster's loopback interface, with a configuration in YAML, and waits until it is ready.
    pub fn start(cluster: &Cluster, folder: &Path, config: &str) -> Result<Self, AlertmanagerError> {
        let program = AlertmanagerProgram::Server.recipe().build()?;
        let (file, log) = (folder.join("alertmanager.yml"), folder.join("alertmanager.log"));
        fs::create_dir_all(folder).and_then(|()| fs::write(&file, config)).map_err(system("its configuration cannot be written"))?;
        let output = fs::File::create(&log).map_err(system("its log cannot be made"))?;
        let address = free_port(cluster).map_err(system("there is no free port"))?;
        let child = cluster
            .command(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address={address}"))
            // Alone: it would look for others.
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(system("it cannot be started"))?;
        let this = Self { child, address };
        let begun = Instant::now();
        while !is_ready(&cluster.network_namespace(), address) {
            if begun.elapsed() > READY_WITHIN {
                return Err(AlertmanagerError::Late { log: fs::read_to_string(log).unwrap_or_default() });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(this)
    }

    /// Where it listens, in the cluster's network namespace.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // Nothing of it is wanted any more.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// An alert as a receiver got it.
#[derive(Clone, Debug)]
pub struct Notice {
    /// When.
    pub received: SystemTime,
    /// The path that it was posted to, which tells one receiver of the configuration from another.
    pub path: String,
    /// One alert of Alertmanager's message (`docs/alerting/notifications`, "Data structures"): `status`, `labels`, `annotations`, …
    pub alert: Value,
}

/// An HTTP server in a cluster's network namespace that keeps what Alertmanager posts. Its thread ends with the process.
#[derive(Clone, Debug)]
pub struct Receiver {
    address: SocketAddr,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Receiver {
    /// Listens on a free port of the cluster's loopback interface.
    pub fn start(cluster: &Cluster) -> Result<Self, AlertmanagerError> {
        let listener = listen_in(cluster).map_err(system("the receiver cannot listen"))?;
        let address = listener.local_addr().map_err(system("the receiver cannot listen"))?;
        let notices = Arc::default();
        let this = Self { address, notices };
        let receiver = this.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who sends nonsense, or breaks off, is not answered.
                let _unanswered = receiver.take(stream);
            }
        });
        Ok(this)
    }

    /// Where it listens: alerts may be posted to any path.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that was received so far.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for an alert.
    pub fn wait(&self, within: Duration, wanted: impl Fn(&Notice) -> bool) -> Option<Notice> {
        let begun = Instant::now();
        loop {
            let found = self.notices().into_iter().find(&wanted);
            if found.is_some() || begun.elapsed() > within {
                return found;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn take(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut request, mut length) = (String::new(), 0);
        reader.read_line(&mut request)?;
        let path = request.split(' ').nth(1).unwrap_or_default();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let received = SystemTime::now();
        let message: Value = serde_json::from_slice(&body)?;
        let alerts = message["alerts"].as_array().cloned().unwrap_or_default().into_iter();
        let notices = alerts.map(|alert| Notice { received, path: path.to_owned(), alert });
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).extend(notices);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }
}

/// Listens in the cluster's network namespace: the socket stays there when the thread that made it is gone.
fn listen_in(cluster: &Cluster) -> io::Result<TcpListener> {
    let namespace = fs::File::open(cluster.network_namespace())?;
    let listen = move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
    };
    thread::spawn(listen).join().map_err(|_| io::Error::other("the thread that listens panicked"))?
}

/// Between this and the start another program may take the port, and the start fails; the kernel hands ports out in turns.
fn free_port(cluster: &Cluster) -> io::Result<SocketAddr> {
    listen_in(cluster)?.local_addr()
}

fn is_ready(network: &Path, address: SocketAddr) -> bool {
    let ask = || -> io::Result<String> {
        let mut stream = connect_in(network, address)?;
        write!(stream, "GET /-/ready HTTP/1.0\r\nHost: alertmanager\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    };
    ask().is_ok_and(|response| response.lines().next().is_some_and(|line| line.contains(" 200 ")))
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> AlertmanagerError {
    move |source| AlertmanagerError::System { what, source }
}
