//! What can go wrong with a Prometheus server, and what to do about it.

use std::{io, path::PathBuf, time::Duration};

/// Why a server could not be asked, or what it said could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// A file of the options cannot be read.
    #[error("{what} {path} cannot be read: {source}")]
    File {
        /// Which of them.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the options is read and is not what it should be.
    #[error("{what} {path} cannot be used: {why}")]
    Content {
        /// Which of them.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The options contradict each other or cannot be sent.
    #[error("{0}")]
    Options(String),
    /// No connection.
    #[error("no connection to {url}: {why}; is it the address of Prometheus, and is a proxy set in the environment?")]
    Connect {
        /// The server.
        url: String,
        /// The system's words.
        why: String,
    },
    /// The two do not trust each other.
    #[error(
        "TLS with {url} failed: {why}; name the CA that signed the server's certificate with --prometheus-ca-file, and where the server asks for a certificate of yours --prometheus-cert-file and --prometheus-key-file"
    )]
    Tls {
        /// The server.
        url: String,
        /// What the TLS library says.
        why: String,
    },
    /// One request took too long.
    #[error(
        "the server did not answer within {within:?} when asked for {what}; give it longer with --prometheus-timeout, or ask for less with --window or --prometheus-selector"
    )]
    Timeout {
        /// What was asked for.
        what: &'static str,
        /// How long it had.
        within: Duration,
    },
    /// All requests together took too long.
    #[error(
        "not all was answered within {within:?}: the time was over when asking for {what}; raise --prometheus-deadline, or ask for less with --window or --prometheus-selector"
    )]
    Deadline {
        /// What was asked for last.
        what: &'static str,
        /// How long there was.
        within: Duration,
    },
    /// 401
    #[error("{url} wants to know who asks (401): use --prometheus-bearer-token-file, or --prometheus-user with --prometheus-password-file")]
    Unauthorized {
        /// The server.
        url: String,
    },
    /// 403
    #[error("{url} refuses these credentials (403): {said}")]
    Forbidden {
        /// The server.
        url: String,
        /// The beginning of its answer.
        said: String,
    },
    /// 404
    #[error(
        "there is no Prometheus API at {url} (404): many servers have it below a prefix, such as /prometheus (Mimir) or /select/0/prometheus (VictoriaMetrics cluster); add it to the address"
    )]
    NotFound {
        /// The address that was asked.
        url: String,
    },
    /// 3xx, which is not followed: credentials are sent to nobody but the server that was named.
    #[error("{url} sends us on to {to}: use that address, without /api/v1/…, if it is the right one")]
    Redirected {
        /// The server.
        url: String,
        /// Where to.
        to: String,
    },
    /// The server understood and said no.
    #[error("the server refused to tell {what} ({status}): {said}{hint}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// Its words.
        said: String,
        /// What may help.
        hint: &'static str,
    },
    /// Something else than Prometheus.
    #[error(
        "what {url} answered is not of a Prometheus API: {why}; is it the address of Prometheus or of something that speaks its HTTP API?"
    )]
    NotPrometheus {
        /// The server.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The connection ended inside of an answer.
    #[error("the answer with {what} ended too early: {why}; try again, and look into the log of the server or of the proxy before it")]
    Cut {
        /// What was asked for.
        what: &'static str,
        /// How.
        why: String,
    },
    /// More than anybody should send.
    #[error("the answer with {what} is larger than {mib} MiB; ask for less with --window or --prometheus-selector")]
    TooLarge {
        /// What was asked for.
        what: &'static str,
        /// The limit.
        mib: u64,
    },
    /// There is nothing of kubewitness.
    #[error(
        "the server has no series kubewitness_build_info in the window: are the agents scraped? Where there are tenants, name yours with --prometheus-header 'X-Scope-OrgID: …', and see whether --prometheus-selector leaves too much out"
    )]
    NoAgents,
    /// The agents' restarts cannot be told.
    #[error(
        "the server has no process_start_time_seconds of the agents, without which restarts cannot be told: do not drop it in metric_relabel_configs"
    )]
    NoStartTimes,
    /// This machine.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}
