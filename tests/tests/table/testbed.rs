//! A kubelet, an agent beside it, and all rows of the table.

use std::env;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewitness_tests::agent::{Agent, AgentOptions, Rbac, output_of};
use kubewitness_tests::build::Release;
use kubewitness_tests::cluster::{Cluster, Options, POD};
use serde_json::json;

use crate::clients;
use crate::pages;
use crate::people::{Caller, GET_PROXY, People, right};
use crate::row::{Kind, Row};
use crate::run::Run;
use crate::seen::Seen;
use crate::sessions;

/// Requests over one HTTP/2 connection.
const STREAMS: usize = 1000;
/// When all is counted: connections without a request after ten seconds.
const COUNTED_WITHIN: Duration = Duration::from_secs(15);

/// A cluster of its own: what the kubelet counted is compared, so nobody else may ask it.
pub(crate) struct Testbed {
    // In the order in which they are taken down.
    agent: Agent,
    cluster: Owned,
    folder: PathBuf,
}

/// What came of all rows.
pub(crate) struct Outcome {
    /// Requests that were sent.
    pub(crate) sent: usize,
    /// Requests that the kubelet counted.
    pub(crate) counted: usize,
    /// Requests that are told in events.
    pub(crate) told: usize,
    /// What is not as it must be, a line each.
    pub(crate) wrong: Vec<String>,
}

/// A cluster that goes down with the test, whatever comes of it.
struct Owned(Cluster);

impl Testbed {
    /// A cluster whose name begins with `prefix`. The agent watches before the first request.
    pub(crate) fn up(prefix: &str, release: Release, api_server: Release) -> Self {
        let name = format!("{prefix}-1{}", release.minor());
        Cluster::down(&name).expect("what an interrupted run left can be removed");
        let mut options = Options { kubelet: release, api_server, ..Options::named(&name) };
        if release.minor() >= 37 {
            options.kubelet_config = json!({"featureGates": {"KubeletAllocatedPodsEndpoint": true}});
        }
        let cluster = Owned(Cluster::up(&options).expect("a cluster can be brought up"));
        let folder = env::temp_dir().join(format!("kubewitness-{name}"));
        let _none_yet = fs::remove_dir_all(&folder);
        // Everybody is refused more often here than has events by default.
        let arguments = vec!["--refused-events".to_owned(), "0".to_owned()];
        let agent = AgentOptions { binary: binary(), folder: folder.clone(), rbac: Rbac::Administrator, arguments };
        let agent = Agent::start(&cluster, &agent).expect("the agent watches the kubelet");
        Self { agent, cluster, folder }
    }

    /// Plays all rows.
    pub(crate) fn test(mut self) -> Outcome {
        let minor = self.cluster.release().minor();
        let uid = output_of(&mut self.cluster.kubectl(["get", "pod", POD, "--output=jsonpath={.metadata.uid}"])).expect("the pod is there");
        let mut run = Run::new(&self.cluster, People::create(&self.cluster));
        for row in pages::rows(minor).iter().chain(&sessions::rows(minor, &uid)) {
            run.try_row(row);
        }
        let proxy = Caller::With(right("proxy"));
        let readable = |target| Row::new("GET", target, &["proxy"]).by(&[proxy, Caller::With(GET_PROXY), Caller::Powerless]);
        let cmdline = readable("/debug/pprof/cmdline").kind(Kind::Debug);
        run.pipeline(&[cmdline.clone(), sessions::without_upgrade(), cmdline.clone(), sessions::without_upgrade()]);
        run.http2(
            &[
                cmdline,
                Row::new("GET", "/metrics", &["metrics"]),
                Row::unchecked("GET", "/nothing", 404),
                Row::new("DELETE", "/stats/summary", &["stats"]).code(405),
            ],
            minor < 36,
        );
        if minor < 36 {
            run.http2(&pages::many(minor, STREAMS), true);
        }
        run.silence();
        let deeds = clients::act(&self.cluster, run.people(), &self.folder);
        let counted = run.counted();
        let requests = run.sent.len() + deeds.len();
        let all = self.agent.until("an event for each request", Duration::from_secs(10), |agent| {
            Ok(Seen::of(agent.events()?)).map(|seen| (seen.complete() >= requests).then_some(()))
        });
        let mut wrong = run.wrong;
        wrong.extend(all.err().map(|error| error.to_string()));
        let seen = Seen::of(self.agent.events().expect("events are JSON"));
        wrong.extend(seen.compare(&run.sent));
        wrong.extend(seen.probing());
        wrong.extend(deeds.iter().flat_map(|deed| deed.compare(seen.events())));
        if (counted, seen.complete()) != (requests, requests) {
            wrong.push(format!("{requests} requests were sent, the kubelet counted {counted}, {} are in the events", seen.complete()));
        }
        let books = [
            ("kubewitness_requests_total", requests),
            ("kubewitness_events_written_total", seen.events().len()),
            ("kubewitness_events_dropped_total", 0),
            ("kubewitness_records_lost_total", 0),
            ("kubewitness_requests_incomplete_total", 0),
            ("kubewitness_connections_opened_total", run.connections + deeds.len()),
            ("kubewitness_connections_without_request_total", run.silent),
        ];
        // A connection without a request is counted when no request can come any more.
        let _late = self.agent.until("the counters", COUNTED_WITHIN, |agent| Ok(Self::books(agent, &books).is_empty().then_some(())));
        wrong.extend(Self::books(&self.agent, &books));
        Outcome { sent: requests, counted, told: seen.complete(), wrong }
    }

    /// What the agent's counters, each the sum over its labels, show instead of these values.
    fn books(agent: &Agent, expected: &[(&str, usize)]) -> Vec<String> {
        let metrics = agent.metrics().expect("the agent's metrics can be read");
        let sum = |name: &str| {
            let series = metrics.iter().filter(|(series, _)| series.split('{').next() == Some(name));
            series.map(|(_, value)| format!("{value:.0}").parse::<usize>().expect("a count")).sum::<usize>()
        };
        let differ = expected.iter().filter(|(name, expected)| sum(name) != *expected);
        differ.map(|(name, expected)| format!("{name} is {}, not {expected}", sum(name))).collect()
    }
}

impl Deref for Owned {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(self.0.name()) {
            eprintln!("{error}");
        }
    }
}

fn binary() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/kubewitness");
    env::var_os("KUBEWITNESS_BIN").map_or_else(built, PathBuf::from)
}
