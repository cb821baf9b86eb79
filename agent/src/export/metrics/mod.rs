//! The metrics. Labels are closed sets; what callers choose is never one, but for identities, which are capped.

mod events;
mod identities;
mod known;
mod notices;
mod register;
mod tallies;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Mutex;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder};

pub use self::events::{Rotations, SinkKind, SinkMetrics, WatchMetrics, WebhookMetrics};
pub use self::notices::{DroppedNotice, EventRequest, NoticeMetrics};

use self::events::EventFigures;
use self::identities::Identities;
use self::register::Register;
use self::tallies::Tallies;
use crate::inert::{Inert, obeyed};
use crate::judge::{Finding, Stage, Verdict};
use crate::selfcheck::Check;
use crate::target::Disbelief;

/// All metrics of the agent.
pub struct Metrics {
    register: Register,
    requests: IntCounterVec,
    unlogged_exec: IntCounterVec,
    findings: IntCounterVec,
    identity_requests: IntCounterVec,
    identity_findings: IntCounterVec,
    identities: Mutex<Identities>,
    tallies: Tallies,
    connections_opened: IntCounterVec,
    connections_open: IntGaugeVec,
    kubelet_info: IntGaugeVec,
    attached: IntGauge,
    rbac_synced: IntGauge,
    self_check_failed: IntGaugeVec,
    self_check_mended: IntCounterVec,
    coverage_known: IntGauge,
    uncovered: IntCounter,
    records_lost: IntCounterVec,
    unseen: IntCounterVec,
    incomplete: IntCounterVec,
    silent_connections: IntCounterVec,
    disbelieved: IntCounterVec,
    disbelieved_hits: IntCounterVec,
    events: EventFigures,
}

/// What is known of an attached kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletInfo {
    /// `v1.36.3`; empty if not known.
    pub version: String,
    /// `go1.26.8`; empty if not known.
    pub go_version: String,
    /// How it is watched.
    pub sites: Sites,
    /// Whether it asks for finer rights than `nodes/proxy`; `None` if not known.
    pub fine_grained_authz: Option<bool>,
}

/// How a kubelet is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sites {
    /// All on instructions that the kernel emulates.
    Emulated,
    /// At least one on an instruction that costs a second trap.
    Stepped,
    /// Not at all.
    None,
}

/// Which records were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostRecords {
    /// There was no room in the ring for routine requests.
    Routine,
    /// There was no room in the ring for exec, attach, run, portForward, checkpoint.
    Priority,
    /// There was no room in the ring for connections.
    Socket,
    /// Memory contradicted the plan: a check was reported without its user.
    Contradicted,
    /// They could not be decoded.
    Undecodable,
}

/// Why a connection has no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilentConnection {
    /// It was closed, and no request came over it: a port scan, a failed TLS handshake, or a hole in the capture.
    Closed,
    /// There were more connections than the agent keeps.
    Evicted,
}

impl Metrics {
    /// Registers all metrics of the agent on this node, with every series that can be known at 0. At most `max_identities` identities get
    /// series of their own.
    ///
    /// # Errors
    /// If two metrics have the same name, which a test rules out.
    pub fn new(node: &str, max_identities: usize) -> Result<Self, prometheus::Error> {
        let mut register = Register::new()?;
        let build =
            register.gauges("kubewitness_build_info", "The agent's version, and the node that it watches.", &["node", "version"])?;
        build.with_label_values(&[node, env!("CARGO_PKG_VERSION")]).set(1);
        let metrics = Self {
            requests: register.counters(
                "kubewitness_requests_total",
                "Requests to the kubelet that are over, by what was asked for, how it was let in, how its streams travel, and the HTTP status that the caller got.",
                &["endpoint", "access", "transport", "code"],
            )?,
            unlogged_exec: register.counters(
                "kubewitness_unlogged_exec_total",
                "exec, attach, run and portForward by anyone but the API server: executed past every audit log, or refused (which includes failed). Each call counts once, as soon as it is known.",
                &["endpoint", "verb", "outcome"],
            )?,
            findings: register.counters("kubewitness_findings_total", "What was found wrong, each finding once for each request.", &["finding", "severity"])?,
            identity_requests: register.counters(
                "kubewitness_identity_requests_total",
                "Requests by authenticated identity; those beyond --max-identities are counted under other.",
                &["identity", "endpoint", "access"],
            )?,
            identity_findings: register.counters(
                "kubewitness_identity_findings_total",
                "Findings by authenticated identity; those beyond --max-identities are counted under other.",
                &["identity", "finding"],
            )?,
            identities: Mutex::new(Identities::new(max_identities)),
            tallies: Tallies::default(),
            connections_opened: register.counters("kubewitness_connections_opened_total", "Connections that were accepted on a watched port.", &["port"])?,
            connections_open: register.gauges("kubewitness_connections_open", "Connections that are open on a watched port.", &["port"])?,
            kubelet_info: register.gauges(
                "kubewitness_kubelet_info",
                "The kubelets that are watched: how (emulated, stepped, none), and whether they ask for finer rights than nodes/proxy.",
                &["version", "go_version", "sites", "fine_grained_authz"],
            )?,
            attached: register.gauge("kubewitness_attached", "1 while a kubelet is watched, and no check of the agent itself has failed.")?,
            self_check_failed: register.gauges(
                "kubewitness_self_check_failed",
                "1 while the agent knows that it does not see everything: its probes are gone from the kubelet's memory, connections are not told, the kubelet counts requests that were not seen, or its own loop does not turn.",
                &["check"],
            )?,
            self_check_mended: register.counters(
                "kubewitness_self_check_mended_total",
                "How often the agent put right what it found wrong with itself; what happened meanwhile may not have been seen.",
                &["check"],
            )?,
            coverage_known: register.gauge(
                "kubewitness_coverage_known",
                "1 while the kubelet's own counters are read and compared with what was seen.",
            )?,
            uncovered: register.counter(
                "kubewitness_requests_uncovered_total",
                "Requests that the kubelet counted and that no probe told of, at least.",
            )?,
            rbac_synced: register.gauge("kubewitness_rbac_synced", "1 while the RBAC objects are known, 0 where they are not or are not watched.")?,
            records_lost: register.counters(
                "kubewitness_records_lost_total",
                "Records of the kernel programs that were lost, by ring, or held back because memory contradicted the plan.",
                &["class"],
            )?,
            unseen: register.counters(
                "kubewitness_requests_unseen_total",
                "Requests that are over and of which no record found room, by ring: with kubewitness_requests_total they are all that the kubelet served.",
                &["class"],
            )?,
            incomplete: register.counters("kubewitness_requests_incomplete_total", "Requests of which something was not seen, by what.", &["reason"])?,
            silent_connections: register.counters(
                "kubewitness_connections_without_request_total",
                "Connections over which no request was seen, by why; counted ten seconds after they were closed, for a request may be told after that.",
                &["reason"],
            )?,
            disbelieved: register.counters(
                "kubewitness_disbelieved_processes_total",
                "Processes that would like to be taken for the node's kubelet and are not believed, by why: in a pod, not root, in another network namespace, or gone before they could be looked at. Each time one is looked at counts.",
                &["reason"],
            )?,
            disbelieved_hits: register.counters(
                "kubewitness_disbelieved_hits_total",
                "Probed instructions that were reached by processes that are not believed.",
                &[],
            )?,
            events: EventFigures::register(&mut register)?,
            register,
        };
        known::create(&metrics);
        Ok(metrics)
    }

    /// Counts a verdict: its request when it is over, its findings when they are raised.
    pub fn record(&self, verdict: &Verdict) {
        self.tallies.count(verdict, || self.counters(verdict));
    }

    /// The counters that a verdict moves, each by one.
    fn counters(&self, verdict: &Verdict) -> Vec<IntCounter> {
        let judgement = &verdict.judgement;
        let endpoint = judgement.endpoint.label();
        let access = judgement.access.kind().as_str();
        let name = verdict.exchange.checks.last().and_then(|check| check.user.name.known());
        let identity = name.map(|name| self.identity(name));
        let mut counters = Vec::new();
        if verdict.stage == Stage::Ended {
            counters.push(self.requests.with_label_values(&[endpoint, access, judgement.transport.as_str(), code(judgement.status)]));
            counters.extend(identity.as_ref().map(|identity| self.identity_requests.with_label_values(&[identity, endpoint, access])));
            counters.extend(verdict.exchange.gaps.iter().map(|gap| self.incomplete.with_label_values(&[gap.as_str()])));
        }
        for finding in verdict.raised.iter() {
            counters.push(self.findings.with_label_values(&[finding.id(), finding.severity().as_str()]));
            let exec = |outcome| self.unlogged_exec.with_label_values(&[endpoint, judgement.verb.label(), outcome]);
            counters.extend(exec_outcome(finding).map(exec));
            counters.extend(identity.as_ref().map(|identity| self.identity_findings.with_label_values(&[identity, finding.id()])));
        }
        counters
    }

    /// A connection was accepted on a watched port.
    pub fn connection_opened(&self, port: u16) {
        let port = port.to_string();
        self.connections_opened.with_label_values(&[&port]).inc();
        self.connections_open.with_label_values(&[&port]).inc();
    }

    /// A connection that was counted as opened is closed.
    pub fn connection_closed(&self, port: u16) {
        self.connections_open.with_label_values(&[&port.to_string()]).dec();
    }

    /// A connection came to nothing.
    pub fn connection_without_request(&self, why: SilentConnection) {
        self.silent_connections.with_label_values(&[why.as_str()]).inc();
    }

    /// The kernel programs' own count of lost records, since they were loaded.
    pub fn records_lost(&self, class: LostRecords, total: u64) {
        let counter = self.records_lost.with_label_values(&[class.as_str()]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// All records that were lost so far.
    pub fn all_records_lost(&self) -> u64 {
        LostRecords::ALL.into_iter().map(|class| self.records_lost.with_label_values(&[class.as_str()]).get()).sum()
    }

    /// All requests so far of which nothing arrived.
    pub fn all_requests_unseen(&self) -> u64 {
        LostRecords::RINGS.into_iter().map(|class| self.unseen.with_label_values(&[class.as_str()]).get()).sum()
    }

    /// A process is not believed.
    pub fn disbelieved(&self, why: &Disbelief) {
        self.disbelieved.with_label_values(&[why.kind()]).inc();
    }

    /// The kernel programs' own count of hits in processes that are not believed, since they were loaded.
    pub fn disbelieved_hits(&self, total: u64) {
        let counter = self.disbelieved_hits.with_label_values(&[] as &[&str]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// The kernel programs' own count of requests of which nothing arrived, since they were loaded.
    pub fn requests_unseen(&self, class: LostRecords, total: u64) {
        let counter = self.unseen.with_label_values(&[class.as_str()]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// The kubelets that are watched from now on, and whether the agent can be relied upon.
    pub fn kubelets(&self, kubelets: &[KubeletInfo], well: bool) {
        self.kubelet_info.reset();
        for kubelet in kubelets {
            let fine_grained = kubelet.fine_grained_authz.map_or("unknown", |on| if on { "true" } else { "false" });
            self.kubelet_info
                .with_label_values(&[kubelet.version.as_str(), &kubelet.go_version, kubelet.sites.as_str(), fine_grained])
                .set(1);
        }
        self.attached.set(i64::from(well && kubelets.iter().any(|kubelet| kubelet.sites != Sites::None)));
    }

    /// Whether a check of the agent itself has failed.
    pub fn self_check(&self, check: Check, failed: bool) {
        self.self_check_failed.with_label_values(&[check.as_str()]).set(i64::from(failed));
    }

    /// What was wrong was put right.
    pub fn mended(&self, check: Check) {
        self.self_check_mended.with_label_values(&[check.as_str()]).inc();
    }

    /// Whether the kubelet's own counters are compared with what was seen.
    pub fn coverage_known(&self, known: bool) {
        self.coverage_known.set(i64::from(known));
    }

    /// The kubelet counted requests that were not seen.
    pub fn requests_uncovered(&self, requests: u64) {
        self.uncovered.inc_by(requests);
    }

    /// Whether the RBAC objects are known.
    pub fn rbac_synced(&self, synced: bool) {
        self.rbac_synced.set(i64::from(synced));
    }

    /// All series in Prometheus' text format.
    ///
    /// # Errors
    /// If a collector gives a family without series, which the library takes for a mistake.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.register.gather())
    }

    /// `docs/metrics.md`
    pub fn reference(&self) -> String {
        self.register.reference()
    }

    fn identity<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let mut identities = self.identities.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The text format escapes quotes and line ends alone, and a page of metrics is read in terminals too.
        if name.contains(obeyed) {
            return identities.label(&Inert(name).to_string()).to_owned().into();
        }
        identities.label(name).into()
    }
}

/// The outcome of `kubewitness_unlogged_exec_total` that a finding stands for.
const fn exec_outcome(finding: Finding) -> Option<&'static str> {
    match finding {
        Finding::UnloggedExec => Some("executed"),
        Finding::ExecAttempt => Some("refused"),
        _ => None,
    }
}

/// The label of an HTTP status: those that the kubelet gives by itself, `none` where there was none or it is not known.
fn code(status: Option<u16>) -> &'static str {
    match status {
        None => "none",
        Some(101) => "101",
        Some(200) => "200",
        Some(301) => "301",
        Some(307) => "307",
        Some(400) => "400",
        Some(401) => "401",
        Some(403) => "403",
        Some(404) => "404",
        Some(405) => "405",
        Some(500) => "500",
        Some(_) => "other",
    }
}

impl KubeletInfo {
    /// Of a kubelet that is there and cannot be watched.
    pub const fn unwatched() -> Self {
        Self { version: String::new(), go_version: String::new(), sites: Sites::None, fine_grained_authz: None }
    }
}

impl Sites {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::Stepped => "stepped",
            Self::None => "none",
        }
    }
}

impl LostRecords {
    const ALL: [Self; 5] = [Self::Routine, Self::Priority, Self::Socket, Self::Contradicted, Self::Undecodable];

    /// The rings of requests.
    const RINGS: [Self; 2] = [Self::Routine, Self::Priority];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Routine => "routine",
            Self::Priority => "priority",
            Self::Socket => "socket",
            Self::Contradicted => "contradicted",
            Self::Undecodable => "undecodable",
        }
    }
}

impl SilentConnection {
    const ALL: [Self; 2] = [Self::Closed, Self::Evicted];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Evicted => "evicted",
        }
    }
}
