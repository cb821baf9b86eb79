//! Whether every request was seen, by the kubelet's own counters.

use std::{borrow::Cow, net::Ipv6Addr, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;
use hyper::Uri;
use tokio::{
    runtime::Builder,
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    export::{Health, Seen},
    kubelet::Counters,
    rbac::cluster::{ConnectOptions, Connection, Elsewhere, PageError},
    selfcheck::{Agreement, Check, Coverage, Reading},
};

/// How often the kubelet is asked.
const EVERY: Duration = Duration::from_secs(30);
/// How often it is asked again when it did not let the agent in.
const REFUSED: Duration = Duration::from_mins(10);
/// How long it may take for one answer.
const WITHIN: Duration = Duration::from_secs(10);

/// Comparing what was seen with what the kubelet counts.
#[derive(Debug, Parser)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct CoverageArgs {
    /// Kubelet whose own count is compared with what was seen
    ///
    /// The one of this node, such as `https://192.0.2.7:10250`. Needs get on nodes/metrics, and the agent's own requests are then among the
    /// events.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_KUBELET_URL", value_name = "URL", value_parser = server)]
    kubelet_url: Option<Uri>,
    /// PEM file with those who vouch for that kubelet's certificate
    ///
    /// Those who vouch for the API server's if not given.
    #[arg(long, hide_short_help = true, env = "KUBEWITNESS_KUBELET_CERTIFICATE_AUTHORITY", value_name = "FILE", requires = "kubelet_url")]
    kubelet_certificate_authority: Option<PathBuf>,
    /// Believe any certificate of that kubelet
    ///
    /// Many sign theirs themselves. Whoever takes its address could then take the agent's token.
    #[arg(
        long,
        hide_short_help = true,
        env = "KUBEWITNESS_KUBELET_INSECURE_TLS",
        requires = "kubelet_url",
        conflicts_with = "kubelet_certificate_authority"
    )]
    kubelet_insecure_tls: bool,
}

/// The address of a server, without a path.
fn server(text: &str) -> Result<Uri, String> {
    let url: Uri = bracketed(text).parse().map_err(|_| "use a URL such as https://192.0.2.7:10250".to_owned())?;
    let bare = url.scheme_str() == Some("https") && url.authority().is_some() && matches!(url.path(), "" | "/") && url.query().is_none();
    if bare { Ok(url) } else { Err("use https://, an address and a port, and no path, such as https://192.0.2.7:10250".to_owned()) }
}

/// A pod is told its node's address as it is; an IPv6 one stands in brackets in a URL (RFC 3986, 3.2.2).
fn bracketed(text: &str) -> Cow<'_, str> {
    let parts = text.strip_prefix("https://").and_then(|rest| rest.rsplit_once(':'));
    match parts {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => format!("https://[{address}]:{port}").into(),
        _ => text.into(),
    }
}

impl CoverageArgs {
    /// The kubelet that is named, if one is.
    pub(super) fn kubelet(&self) -> Option<Elsewhere> {
        let url = self.kubelet_url.clone()?;
        Some(Elsewhere { url, certificate_authority: self.kubelet_certificate_authority.clone(), insecure: self.kubelet_insecure_tls })
    }

    /// Compares on a thread of its own, if a kubelet is named.
    pub(super) fn compare(self, cluster: ConnectOptions, health: Arc<Health>, seen: watch::Receiver<Seen>) -> Result<()> {
        let Some(kubelet) = self.kubelet() else { return Ok(()) };
        let runtime = Builder::new_current_thread().enable_all().build().context("the kubelet cannot be asked")?;
        let mut comparer = Comparer { kubelet, cluster, connection: None, health, seen, coverage: Coverage::default(), problem: None };
        thread::Builder::new()
            .name("coverage".to_owned())
            .spawn(move || runtime.block_on(comparer.run()))
            .context("no thread can be started")?;
        Ok(())
    }
}

struct Comparer {
    kubelet: Elsewhere,
    cluster: ConnectOptions,
    /// Where the credentials are, once that is known; they are read again for each question.
    connection: Option<Connection>,
    health: Arc<Health>,
    seen: watch::Receiver<Seen>,
    coverage: Coverage,
    /// What was said last of why nothing is compared.
    problem: Option<String>,
}

impl Comparer {
    /// Ends when the daemon does.
    async fn run(&mut self) {
        loop {
            let pause = match self.reading().await {
                Ok(Some(reading)) => {
                    self.compare(reading);
                    EVERY
                }
                Ok(None) => return,
                Err(problem) => {
                    let pause = if matches!(problem, Problem::Page(PageError::Refused(_))) { REFUSED } else { EVERY };
                    self.unknown(&problem);
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// `None` when the daemon has ended.
    async fn reading(&mut self) -> Result<Option<Reading>, Problem> {
        let before = *self.seen.borrow();
        let counters = timeout(WITHIN, self.ask()).await.map_err(|_| Problem::Silent)??;
        // The next figure may have been read before the kubelet answered, the one after it was not.
        for _ in 0..2 {
            if self.seen.changed().await.is_err() {
                return Ok(None);
            }
        }
        let after = *self.seen.borrow();
        if before.kubelets != 1 || after.kubelets != 1 {
            return Err(Problem::NotOne(after.kubelets));
        }
        Ok(Some(Reading { before: before.begun, kubelet: counters.requests, started: counters.started, after: after.begun }))
    }

    async fn ask(&mut self) -> Result<Counters, Problem> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.cluster.clone()).await.map_err(|error| Problem::Connect(error.to_string()))?,
        };
        let connection = self.connection.insert(connection);
        let page = connection.kubelet_metrics(&self.kubelet).await?;
        Counters::parse(&page).ok_or(Problem::Page(PageError::Garbled))
    }

    fn compare(&mut self, reading: Reading) {
        if self.problem.take().is_some() {
            info!("the kubelet's own counters are compared with what was seen again");
        }
        self.health.metrics().coverage_known(true);
        match self.coverage.read(reading) {
            Agreement::First | Agreement::Agrees => {}
            Agreement::Surplus => warn!("more requests were seen than the kubelet at {} counts: another one is seen too", self.kubelet.url),
            Agreement::Unseen(requests) => {
                self.health.metrics().requests_uncovered(requests);
                warn!(requests, "the kubelet counted requests that were not seen");
            }
        }
        let failure = self.coverage.has_failed().then(|| {
            "the kubelet counts requests that are not seen: the agent is blind, in part at least; start it anew, and see `kubewitness doctor`"
                .to_owned()
        });
        self.health.checked(Check::Coverage, failure);
    }

    fn unknown(&mut self, problem: &Problem) {
        self.health.metrics().coverage_known(false);
        let text = problem.to_string();
        if self.problem.as_ref() != Some(&text) {
            warn!("the kubelet's own counters are not compared with what was seen: {text}");
            self.problem = Some(text);
        }
    }
}

/// Why nothing is compared.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Connect(String),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("it has not answered within {} s", WITHIN.as_secs())]
    Silent,
    #[error("{0} kubelets are watched, and only one can be compared")]
    NotOne(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_named_by_a_url_without_a_path() {
        for good in ["https://192.0.2.7:10250", "https://node1:10250/", "https://[2001:db8::1]:10250", "https://2001:db8::1:10250"] {
            assert!(server(good).is_ok(), "{good}");
        }
        for bad in ["192.0.2.7:10250", "http://192.0.2.7:10250", "https://192.0.2.7:10250/metrics", "https://", "https://x/?a", ""] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }
}
