//! Every row of the kubelet's endpoint table, by everybody, on real kubelets: each request must be told as it was, field by field, and no
//! request may be missing.
//!
//! `KUBEWITNESS_E2E_KUBELETS` names the releases, `1.36` if it is not set; `KUBEWITNESS_BIN` the agent, `target/release/kubewitness` if it
//! is not set. Needs root.

mod expect;
mod http;
mod pages;
mod people;
mod row;
mod seen;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewitness_tests::agent::{Agent, AgentOptions};
use kubewitness_tests::build::Release;
use kubewitness_tests::cluster::{Cluster, Options};
use serde_json::json;

use expect::expect;
use http::{Kubelet, Then};
use people::{Caller, People, right};
use seen::{Seen, Sent};

#[test]
fn every_request_is_told_as_it_was() {
    let releases = std::env::var("KUBEWITNESS_E2E_KUBELETS").unwrap_or_else(|_| "1.36".to_owned());
    for release in releases.split(',') {
        let release: Release = release.parse().expect("KUBEWITNESS_E2E_KUBELETS names releases");
        let wrong = Testbed::up(release).run();
        assert!(wrong.is_empty(), "kubelet {}: {} things are wrong\n{}", release.version(), wrong.len(), wrong.join("\n"));
    }
}

/// A cluster of its own: what the kubelet counted is compared, so nobody else may ask it.
struct Testbed {
    // In the order in which they are taken down.
    agent: Agent,
    cluster: Owned,
}

/// A cluster that goes down with the test, whatever comes of it.
struct Owned(Cluster);

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

impl Testbed {
    /// The agent watches before the first request.
    fn up(release: Release) -> Self {
        let name = format!("table-1{}", release.minor());
        Cluster::down(&name).expect("what an interrupted run left can be removed");
        let mut options = Options { kubelet: release, ..Options::named(&name) };
        if release.minor() >= 37 {
            options.kubelet_config = json!({"featureGates": {"KubeletAllocatedPodsEndpoint": true}});
        }
        let cluster = Owned(Cluster::up(&options).expect("a cluster can be brought up"));
        let folder = std::env::temp_dir().join(format!("kubewitness-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        let agent = AgentOptions { binary: binary(), folder, arguments: Vec::new() };
        let agent = Agent::start(&cluster, &agent).expect("the agent watches the kubelet");
        Self { agent, cluster }
    }

    /// What is wrong.
    fn run(mut self) -> Vec<String> {
        let people = People::create(&self.cluster);
        let kubelet = Kubelet::of(&self.cluster);
        let minor = self.cluster.release().minor();
        let mut wrong = Vec::new();
        let mut sent = Vec::new();
        for row in pages::rows(minor) {
            for &caller in &row.callers {
                let user_agent = format!("table/{}", sent.len());
                let expected = expect(&row, caller, &people, &user_agent, &self.cluster.address().to_string());
                let what = format!("{} {} by {caller:?}", row.method, row.target);
                match kubelet.send(&row.bytes(&user_agent, people.token(caller)), row.then) {
                    Ok(response) if response.status == expected.code => {}
                    Ok(response) => {
                        let said = String::from_utf8_lossy(&response.rest);
                        let said: String = said.chars().take(300).collect();
                        wrong.push(format!("{what}: the kubelet answers {}, not {}: {said}", response.status, expected.code));
                    }
                    Err(error) => wrong.push(format!("{what}: {error}")),
                }
                sent.push(Sent { what, user_agent, events: expected.events });
            }
        }
        let scrape = format!("table/{}", sent.len());
        let counted = self.counted(&kubelet, &people, &scrape);
        let count = sent.len() + 1;
        let seen = self.agent.until("an event for each request", Duration::from_secs(10), |agent| {
            let seen = Seen::of(agent.events()?);
            Ok((seen.complete() >= count).then_some(seen))
        });
        let seen = seen.unwrap_or_else(|error| {
            wrong.push(error.to_string());
            Seen::of(self.agent.events().expect("events can be read"))
        });
        wrong.extend(seen.compare(&sent));
        wrong.extend(self.books(counted, count, seen.complete()));
        wrong
    }

    /// What the kubelet counted, this question included.
    fn counted(&self, kubelet: &Kubelet, people: &People, user_agent: &str) -> usize {
        let token = people.token(Caller::With(right("metrics"))).expect("the scraper has a token");
        // HTTP/1.0 knows no chunks, which would cut lines in two.
        let request = format!("GET /metrics HTTP/1.0\r\nUser-Agent: {user_agent}\r\nAuthorization: Bearer {token}\r\n\r\n");
        let response = kubelet.send(request.as_bytes(), Then::Leave).expect("the kubelet's metrics can be read");
        let page = String::from_utf8_lossy(&response.rest).into_owned();
        let lines = page.lines().filter(|line| line.starts_with("kubelet_http_requests_total{"));
        lines.map(|line| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<usize>().ok()).expect("a count")).sum()
    }

    /// The kubelet's count, the client's, the agent's and that of the events must be one number.
    fn books(&self, counted: usize, sent: usize, events: usize) -> Vec<String> {
        let metrics = self.agent.metrics().expect("the agent's metrics can be read");
        let sum = |name: &str| {
            let series = metrics.iter().filter(|(series, _)| series.split('{').next() == Some(name));
            series.map(|(_, value)| *value).sum::<f64>()
        };
        let expected = f64::from(u32::try_from(sent).expect("not that many"));
        let mut wrong = Vec::new();
        if (counted, events) != (sent, sent) {
            wrong.push(format!("{sent} requests were sent, the kubelet counted {counted}, and {events} are in the events"));
        }
        for (name, expected) in [
            ("kubewitness_requests_total", expected),
            ("kubewitness_records_lost_total", 0.0),
            ("kubewitness_requests_incomplete_total", 0.0),
            ("kubewitness_connections_without_request_total", 0.0),
            ("kubewitness_connections_opened_total", expected),
        ] {
            let is = sum(name);
            if (is - expected).abs() > 0.5 {
                wrong.push(format!("{name} is {is}, not {expected}"));
            }
        }
        wrong
    }
}

fn binary() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/kubewitness");
    std::env::var_os("KUBEWITNESS_BIN").map_or_else(built, PathBuf::from)
}
