//! A real Prometheus: filled with samples of any time, or scraping; asked; and stopped.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use thiserror::Error;

use crate::{
    agent::connect_in,
    build::{BuildError, PrometheusProgram},
    cluster::Cluster,
};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// What it logs when it can be asked.
const READY: &str = "Server is ready to receive web requests.";

/// Why Prometheus did not do as it should.
#[derive(Debug, Error)]
pub enum PrometheusError {
    /// It is not there.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It could not be started, filled or asked.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's words.
        source: io::Error,
    },
    /// It is not ready, or it did not scrape.
    #[error("{what} did not happen within {within:?}; Prometheus' log ends with: {log}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The end of its log.
        log: String,
    },
}

/// A running Prometheus; it is killed when it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
    network: Option<PathBuf>,
}

impl Prometheus {
    /// Starts it on a free port of the loopback interface. Its data are in `folder/data`, its configuration is the YAML `config`.
    pub fn start(folder: &Path, config: &str, arguments: &[&str]) -> Result<Self, PrometheusError> {
        Self::launch(folder, config, arguments, None)
    }

    /// Starts it in a cluster's network namespace, where it can scrape what listens there.
    pub fn start_in(cluster: &Cluster, folder: &Path, config: &str, arguments: &[&str]) -> Result<Self, PrometheusError> {
        Self::launch(folder, config, arguments, Some(cluster))
    }

    /// Makes blocks of samples in `folder/data`, before the start. The text is `OpenMetrics`, with times.
    pub fn fill(folder: &Path, samples: &Path) -> Result<(), PrometheusError> {
        let promtool = PrometheusProgram::Promtool.recipe().build()?;
        let mut command = Command::new(promtool);
        command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(samples).arg(folder.join("data"));
        crate::agent::output_of(&mut command).map(|_| ()).map_err(|error| PrometheusError::System {
            what: format!("the samples of {} cannot be made blocks", samples.display()),
            source: io::Error::other(error),
        })
    }

    fn launch(folder: &Path, config: &str, arguments: &[&str], cluster: Option<&Cluster>) -> Result<Self, PrometheusError> {
        let program = PrometheusProgram::Server.recipe().build()?;
        let (file, log) = (folder.join("prometheus.yml"), folder.join("prometheus.log"));
        fs::create_dir_all(folder).and_then(|()| fs::write(&file, config)).map_err(system("the configuration cannot be written"))?;
        let log = fs::File::create(log).map_err(system("the log cannot be made"))?;
        // Between this and the start another program may take the port, and the start fails; the kernel hands ports out in turns.
        let address =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).map_err(system("there is no free port"))?;
        let mut command = cluster.map_or_else(|| Command::new(&program), |cluster| cluster.command(&program));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // Samples of a test are as old as the test wants.
            .arg("--storage.tsdb.retention.time=100y")
            .args(arguments);
        let child = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(system("it cannot be started"))?;
        let mut server = Self { child, address, folder: folder.to_owned(), network: cluster.map(Cluster::network_namespace) };
        server.until("its start", READY_WITHIN, |server| Ok(server.log().contains(READY).then_some(())))?;
        Ok(server)
    }

    /// Where it listens; in the cluster's network namespace if it was started there.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id: `nsenter` becomes the program that it starts.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("prometheus.log")).unwrap_or_default()
    }

    /// The rows that an expression gives now. Not where it wants TLS or a password.
    pub fn ask(&self, expression: &str) -> Result<Vec<Value>, PrometheusError> {
        self.rows("query", &[("query", expression)])
    }

    /// The rows that an expression gives over the last `range`, every `step`.
    pub fn ask_range(&self, expression: &str, range: Duration, step: Duration) -> Result<Vec<Value>, PrometheusError> {
        let now = SystemTime::now();
        let time = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().to_string();
        let (start, end, step) = (time(now - range), time(now), step.as_secs_f64().to_string());
        self.rows("query_range", &[("query", expression), ("start", &start), ("end", &end), ("step", &step)])
    }

    fn rows(&self, question: &str, parameters: &[(&str, &str)]) -> Result<Vec<Value>, PrometheusError> {
        let ask = || -> io::Result<Value> {
            let mut stream = match &self.network {
                Some(network) => connect_in(network, self.address)?,
                None => TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?,
            };
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let quoted = |text: &str| -> String { text.bytes().flat_map(|byte| ['%', hex(byte >> 4), hex(byte & 15)]).collect() };
            let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
            write!(stream, "GET /api/v1/{question}?{} HTTP/1.0\r\nHost: prometheus\r\n\r\n", query.join("&"))?;
            let mut response = String::new();
            stream.read_to_string(&mut response)?;
            let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            Ok(serde_json::from_str(body)?)
        };
        let answer = ask().map_err(system("it cannot be asked"))?;
        let rows = answer["data"]["result"].as_array().cloned();
        rows.ok_or_else(|| system("it cannot be asked")(io::Error::other(answer.to_string())))
    }

    /// Waits until all targets were scraped after this time (unix seconds), so that what happened before it is in the store.
    pub fn scraped_since(&mut self, time: f64, within: Duration) -> Result<(), PrometheusError> {
        self.until("a scrape of all targets", within, |server| {
            // Of a selector alone `timestamp` tells when the sample was taken, of any other expression when it is evaluated.
            let rows = server.ask("min(timestamp(up)) and on () (min(up) == 1)")?;
            let scraped = rows.first().and_then(|row| row["value"][1].as_str()?.parse::<f64>().ok());
            Ok(scraped.is_some_and(|scraped| scraped > time).then_some(()))
        })
    }

    fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut attempt: impl FnMut(&mut Self) -> Result<Option<T>, PrometheusError>,
    ) -> Result<T, PrometheusError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(value) = attempt(self)? {
                return Ok(value);
            }
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if ended || Instant::now() > deadline {
                let log = self.log();
                let lines: Vec<_> = log.lines().collect();
                return Err(PrometheusError::Late {
                    what: what.to_owned(),
                    within,
                    log: lines[lines.len().saturating_sub(5)..].join(" | "),
                });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Nothing of its data is wanted any more.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn hex(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('0')
}

fn system(what: &str) -> impl FnOnce(io::Error) -> PrometheusError {
    let what = what.to_owned();
    move |source| PrometheusError::System { what, source }
}
