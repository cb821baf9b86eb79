//! Takes what the daemon tells to where people see it: events to the sink, figures to the metrics, health to the HTTP server.

use std::time::{Duration, Instant};

use kubewitness_wire::Counter;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    Clock, Outputs, Restraint, Weight,
    audit::{Auditor, Marks},
    bucket::Bucket,
    health::{Health, Readiness},
    metrics::{KubeletInfo, LostRecords, SilentConnection, Sites},
    policy::{Attributes, PolicyFile},
    restraint::Ruling,
};
use crate::{daemon::News, exchange::ConnectionStep, judge::Verdict, probe::Counts, target::Status, target::plan::Plan};

/// The end of the way through the house.
pub struct Recorder<C> {
    ends: Ends,
    /// What the wall's clock shows.
    clock: Clock,
    /// Reads both clocks: the wall's may be set while the agent runs.
    read_clock: C,
    /// Whether they were read since the last pause.
    is_clock_read: bool,
    /// What was counted in the kernel when it was last looked at.
    counts: Counts,
    attempts: Attempts,
}

/// Where what a recorder takes ends up, and in which form.
pub struct Ends {
    /// Where figures go, and what is known of the agent itself.
    pub health: std::sync::Arc<Health>,
    /// How events are written.
    pub auditor: Auditor,
    /// How many of them refused requests may become.
    pub restraint: Restraint,
    /// Which of them go anywhere; all where there is none.
    pub policy: Option<std::sync::Arc<PolicyFile>>,
    /// Where they go.
    pub outputs: Outputs,
    /// Where it is told how much was seen: about once a second, or less where nothing happens.
    pub seen: watch::Sender<Seen>,
}

/// How often the log tells that a process is not believed: several clusters on a machine are each other's all day.
#[derive(Debug)]
struct Attempts {
    seldom: Bucket,
    /// Hits that were told of.
    told: u64,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { seldom: Bucket::new(3, Duration::from_secs(600)), told: 0 }
    }
}

/// How much was seen, as the kubelet's own counters can be compared with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests that the kernel programs saw begin.
    pub begun: u64,
    /// Kubelets that are watched.
    pub kubelets: usize,
}

impl<C: FnMut() -> Clock> Recorder<C> {
    /// Nothing was taken yet.
    pub fn new(ends: Ends, mut read_clock: C) -> Self {
        let clock = read_clock();
        Self { ends, clock, read_clock, is_clock_read: false, counts: Counts::default(), attempts: Attempts::default() }
    }

    /// Writes out what waits; true if all of it was handled in this time: see [`Outputs::close`].
    pub fn close(self, within: Duration) -> bool {
        self.ends.outputs.close(within)
    }

    /// Takes one piece of news.
    pub fn take(&mut self, news: News) {
        match news {
            News::Verdict(verdict) => self.verdict(&verdict),
            News::Connection(ConnectionStep::Opened(port)) => self.ends.health.metrics().connection_opened(port),
            News::Connection(ConnectionStep::Closed(port)) => self.ends.health.metrics().connection_closed(port),
            News::Connection(ConnectionStep::Silent) => {
                self.ends.health.metrics().connection_without_request(SilentConnection::Closed);
            }
            News::Connection(ConnectionStep::Evicted(port)) => {
                self.ends.health.metrics().connection_closed(port);
                self.ends.health.metrics().connection_without_request(SilentConnection::Evicted);
            }
            News::Disbelieved(why) => self.ends.health.metrics().disbelieved(&why),
            News::Undecodable(total) => self.ends.health.metrics().records_lost(LostRecords::Undecodable, total),
            News::Counts(counts) => self.counts(counts),
            News::RbacSynced(synced) => {
                self.ends.health.metrics().rbac_synced(synced);
                if synced {
                    info!("the RBAC objects are known: what they say of each request is in its event");
                }
            }
            News::Status(status) => self.status(&status),
            News::Pause => {
                self.ends.outputs.flush();
                self.is_clock_read = false;
            }
            News::Checked(check, failure) => self.ends.health.checked(check, failure),
            News::Mended(check) => self.ends.health.metrics().mended(check),
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        self.ends.health.metrics().record(verdict);
        if !std::mem::replace(&mut self.is_clock_read, true) {
            self.clock = self.clock.follow((self.read_clock)());
        }
        // The policy is about events alone.
        self.ends.outputs.notify(verdict, self.clock);
        let ruling = self.ends.restraint.rule(verdict);
        if ruling == Ruling::Withhold {
            return self.ends.health.metrics().event_withheld(verdict.judgement.access.kind());
        }
        if let Some(policy) = &self.ends.policy {
            let event = self.ends.auditor.event(verdict, self.clock);
            if !policy.records(&Attributes::of(&event, verdict), event.stage) {
                self.ends.health.metrics().event_omitted(event.stage);
                // It decides what is kept, not what is looked at.
                let watchers = self.ends.outputs.watchers();
                if watchers.is_watched() {
                    self.ends.auditor.line(verdict, self.clock, Marks::default(), |line| watchers.send(line, Weight::of(verdict)));
                }
                return;
            }
        }
        let marks = Marks { policy: self.ends.policy.is_some(), last: ruling == Ruling::Last };
        let send = |line: &[u8]| self.ends.outputs.send(line, verdict.cause(), Weight::of(verdict));
        self.ends.auditor.line(verdict, self.clock, marks, send);
    }

    fn counts(&mut self, counts: Counts) {
        self.ends.health.turned();
        self.ends.seen.send_modify(|seen| seen.begun = counts.of(Counter::Begun));
        for (class, counter) in [
            (LostRecords::Routine, Counter::LostRoutine),
            (LostRecords::Priority, Counter::LostPriority),
            (LostRecords::Socket, Counter::LostSocket),
            (LostRecords::Contradicted, Counter::Contradicted),
        ] {
            self.ends.health.metrics().records_lost(class, counts.of(counter));
        }
        for (class, counter) in [(LostRecords::Routine, Counter::UnseenRoutine), (LostRecords::Priority, Counter::UnseenPriority)] {
            self.ends.health.metrics().requests_unseen(class, counts.of(counter));
        }
        let more = |counter| counts.of(counter) - self.counts.of(counter);
        self.ends.health.metrics().disbelieved_hits(counts.of(Counter::Disbelieved));
        let hits = counts.of(Counter::Disbelieved) - self.attempts.told;
        if hits > 0 && self.attempts.seldom.take(Instant::now()) {
            self.attempts.told = counts.of(Counter::Disbelieved);
            warn!(hits, "a process that is not the node's kubelet runs an executable that is probed: what it does is not believed");
        }
        if more(Counter::Contradicted) > 0 {
            warn!(hits = more(Counter::Contradicted), "the kubelet's memory contradicts the plan: these users are reported as unknown");
        }
        self.counts = counts;
    }

    fn status(&mut self, status: &Status) {
        let readiness = match (&status.refused, status.attached.first()) {
            (_, Some(plan)) => Readiness::Attached(format!("kubelet {}", plan.kubelet_version.as_deref().unwrap_or("?"))),
            (Some(reason), None) => Readiness::Blind(reason.clone()),
            (None, None) => Readiness::Waiting("no kubelet listens on this node yet".to_owned()),
        };
        self.ends.health.watches(readiness, kubelets(status));
        self.ends.seen.send_modify(|seen| seen.kubelets = status.processes);
    }
}

/// The kubelets of the node. One that cannot be watched is told where it is the only one, as by [`Readiness::Blind`].
fn kubelets(status: &Status) -> Vec<KubeletInfo> {
    let unwatched = status.refused.iter().filter(|_| status.attached.is_empty()).map(|_| KubeletInfo::unwatched());
    status.attached.iter().map(info).chain(unwatched).collect()
}

fn info(plan: &Plan) -> KubeletInfo {
    let version = plan.kubelet_version.clone().unwrap_or_default();
    KubeletInfo {
        fine_grained_authz: fine_grained(&version),
        version,
        go_version: plan.go_version.clone(),
        // A plan has no other sites yet.
        sites: Sites::Emulated,
    }
}

/// Whether a release asks for finer rights: never before 1.32, always since 1.36, by its feature gate between
/// (`KubeletFineGrainedAuthz`, `pkg/features/kube_features.go`).
fn fine_grained(version: &str) -> Option<bool> {
    let minor: u32 = version.strip_prefix("v1.")?.split(['.', '-', '+']).next()?.parse().ok()?;
    match minor {
        ..32 => Some(false),
        36.. => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::export::audit::Commands;
    use crate::export::metrics::Metrics;
    use crate::export::watchers::{Tell, Watchers};
    use crate::judge::testing::{NODE, request};
    use crate::judge::{Judge, Policy};
    use crate::observation::{Decision, Timestamp};

    #[test]
    fn those_who_watch_see_also_what_the_audit_policy_leaves_out() {
        let file = std::env::temp_dir().join(format!("kubewitness-recorder-{}.yaml", std::process::id()));
        std::fs::write(&file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n").unwrap();
        let policy = Some(Arc::new(PolicyFile::open(&file).unwrap()));
        std::fs::remove_file(&file).unwrap();
        let health = Arc::new(Health::new(Arc::new(Metrics::new(NODE, 10).unwrap())));
        let watchers = Watchers::new(health.metrics().watch());
        let read_clock = || Clock::new(Timestamp(0), "2026-03-04T05:06:07Z".parse().unwrap());
        let ends = Ends {
            health: Arc::clone(&health),
            auditor: Auditor::new(Uuid::nil(), NODE, Commands::Full),
            restraint: Restraint::new(0),
            policy,
            outputs: Outputs::to_watchers(watchers.clone()),
            seen: watch::channel(Seen::default()).0,
        };
        let mut recorder = Recorder::new(ends, read_clock);
        let verdict = || {
            let exchange = request("GET", "/healthz").check("healthz", Decision::Allow).seen();
            News::Verdict(Arc::new(Judge::new(Policy::new(NODE), 8).ended(exchange)))
        };
        recorder.take(verdict());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let tell: Tell = Arc::new(move || crate::export::watchers::Status::of(&health, NODE));
        watchers.admit(theirs, &tell).unwrap();
        recorder.take(verdict());
        recorder.take(News::Pause);
        ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let event = BufReader::new(ours).lines().map(Result::unwrap).find(|line| line.starts_with("{\"kind\":\"Event\""));
        assert!(event.is_some_and(|event| event.contains("/healthz")));
    }

    #[test]
    fn a_kubelet_that_cannot_be_watched_is_told() {
        assert_eq!(kubelets(&Status::default()), []);
        let blind = Status { refused: Some("it is not as expected".to_owned()), ..Status::default() };
        assert_eq!(kubelets(&blind), [KubeletInfo::unwatched()]);
    }

    #[test]
    fn releases_tell_whether_they_ask_for_finer_rights() {
        let table = [
            ("v1.30.14", Some(false)),
            ("v1.31.0-rc.1", Some(false)),
            ("v1.32.2", None),
            ("v1.35.4+k3s1", None),
            ("v1.36.3", Some(true)),
            ("v1.37.2", Some(true)),
            ("", None),
            ("v2.0.0", None),
        ];
        for (version, expected) in table {
            assert_eq!(fine_grained(version), expected, "{version}");
        }
    }
}
