//! A synthetic fleet: agents that live, count and are scraped, the samples that Prometheus has of them, and what a report must say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Seconds between scrapes.
pub(crate) const SCRAPE: i64 = 30;

/// One process of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// Labels of the target, such as `instance="a",job="b"`.
    pub(crate) target: String,
    pub(crate) node: String,
    /// When it was started; may be long before its first scrape.
    pub(crate) started: i64,
    /// When it was scraped, rising.
    pub(crate) scrapes: Vec<i64>,
    /// What it counted, and when.
    pub(crate) requests: Vec<Request>,
}

/// A request; without an identity it has none.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) time: i64,
    pub(crate) identity: Option<String>,
    pub(crate) endpoint: &'static str,
    pub(crate) access: &'static str,
    pub(crate) finding: Option<&'static str>,
}

/// What a report must say of a window.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Truth {
    /// By identity (empty: none), endpoint, access.
    pub(crate) uses: BTreeMap<(String, String, String), u64>,
    /// By identity (empty: none) and finding.
    pub(crate) findings: BTreeMap<(String, String), u64>,
    /// By node.
    pub(crate) requests: BTreeMap<String, u64>,
}

impl Truth {
    /// What is said otherwise: what, this and the other.
    pub(crate) fn differences(&self, other: &Self) -> Vec<(String, Option<u64>, Option<u64>)> {
        fn all(truth: &Truth) -> BTreeMap<String, u64> {
            let uses = truth.uses.iter().map(|(key, count)| (format!("{key:?}"), *count));
            let findings = truth.findings.iter().map(|(key, count)| (format!("{key:?}"), *count));
            uses.chain(findings).chain(truth.requests.iter().map(|(node, count)| (node.clone(), *count))).collect()
        }
        let (ours, others) = (all(self), all(other));
        let keys: BTreeSet<_> = ours.keys().chain(others.keys()).cloned().collect();
        let compare = |key: String| (ours.get(&key).copied(), others.get(&key).copied(), key);
        keys.into_iter().map(compare).filter(|(one, two, _)| one != two).map(|(one, two, key)| (key, one, two)).collect()
    }
}

/// Sums over the requests of a life up to a time.
type Counters = BTreeMap<(&'static str, String), u64>;

impl Life {
    /// Scraped every [`SCRAPE`] seconds from the first time to the last.
    pub(crate) fn scraped(mut self, from: i64, to: i64) -> Self {
        self.scrapes.extend((from..=to).step_by(usize::try_from(SCRAPE).unwrap()));
        self
    }

    fn counters(&self, time: i64) -> Counters {
        let mut counters = Counters::new();
        // What a node always has is there from the start.
        counters
            .insert(("kubewitness_requests_total", r#"access="fine-grained",code="200",endpoint="pods",transport="plain""#.to_owned()), 0);
        counters.insert(("kubewitness_findings_total", r#"finding="unlogged-exec",severity="critical""#.to_owned()), 0);
        counters.insert(("kubewitness_records_lost_total", r#"class="routine""#.to_owned()), 0);
        counters.insert(("kubewitness_requests_incomplete_total", r#"reason="evicted""#.to_owned()), 0);
        for Request { identity, endpoint, access, finding, .. } in self.requests.iter().filter(|request| request.time <= time) {
            let mut count = |metric, labels: String| *counters.entry((metric, labels)).or_default() += 1;
            count("kubewitness_requests_total", format!(r#"access="{access}",code="200",endpoint="{endpoint}",transport="plain""#));
            if let Some(finding) = finding {
                count("kubewitness_findings_total", format!(r#"finding="{finding}",severity="critical""#));
            }
            if let Some(identity) = identity {
                count("kubewitness_identity_requests_total", format!(r#"access="{access}",endpoint="{endpoint}",identity="{identity}""#));
                if let Some(finding) = finding {
                    count("kubewitness_identity_findings_total", format!(r#"finding="{finding}",identity="{identity}""#));
                }
            }
        }
        counters
    }

    /// The time up to which requests do not count, and up to which they do.
    fn span(&self, start: i64, end: i64) -> Option<(i64, i64)> {
        let last = self.scrapes.iter().copied().filter(|time| *time <= end).max().filter(|time| *time > start)?;
        let before = self.scrapes.iter().copied().filter(|time| *time <= start).max();
        let first = before.or_else(|| (self.started < start).then(|| self.scrapes[0])).unwrap_or(i64::MIN);
        Some((first, last))
    }
}

/// All that is to be seen of these lives in a window.
pub(crate) fn truth(lives: &[Life], start: i64, end: i64) -> Truth {
    let mut truth = Truth::default();
    for life in lives {
        let Some((from, to)) = life.span(start, end) else { continue };
        for request in life.requests.iter().filter(|request| from < request.time && request.time <= to) {
            let identity = request.identity.clone().unwrap_or_default();
            *truth.uses.entry((identity.clone(), request.endpoint.to_owned(), request.access.to_owned())).or_default() += 1;
            *truth.requests.entry(life.node.clone()).or_default() += 1;
            if let Some(finding) = request.finding {
                *truth.findings.entry((identity, finding.to_owned())).or_default() += 1;
            }
        }
    }
    truth
}

/// The samples as `OpenMetrics`, each series whole and each family in one piece, as promtool wants them.
pub(crate) fn samples(lives: &[Life]) -> String {
    let mut families: BTreeMap<String, BTreeMap<String, BTreeSet<(i64, String)>>> = BTreeMap::new();
    for life in lives {
        let mut add = |metric: &str, labels: &str, time: i64, value: String| {
            let comma = if labels.is_empty() { "" } else { "," };
            let series = format!("{metric}{{{}{comma}{labels}}}", life.target);
            families.entry(metric.to_owned()).or_default().entry(series).or_default().insert((time, value));
        };
        for time in &life.scrapes {
            add("process_start_time_seconds", "", *time, life.started.to_string());
            add(
                "kubewitness_build_info",
                &format!(r#"version="0.1.0",{}="{}""#, own(&life.target, "node"), life.node),
                *time,
                "1".to_owned(),
            );
            add("kubewitness_kubelet_info", r#"version="v1.36.3",sites="emulated""#, *time, "1".to_owned());
            add("kubewitness_attached", "", *time, "1".to_owned());
            for ((metric, labels), value) in life.counters(*time) {
                let labels = labels.replace("endpoint=", &format!("{}=", own(&life.target, "endpoint")));
                add(metric, &labels, *time, value.to_string());
            }
        }
    }
    let mut text = String::new();
    for (metric, series) in families {
        let (family, kind) = metric.strip_suffix("_total").map_or((metric.as_str(), "gauge"), |family| (family, "counter"));
        writeln!(text, "# TYPE {family} {kind}").unwrap();
        for (series, samples) in series {
            for (time, value) in samples {
                writeln!(text, "{series} {value} {time}").unwrap();
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

/// The agent's own label as Prometheus stores it beside a target's label of the same name.
fn own(target: &str, name: &str) -> String {
    if target.split(',').any(|label| label.starts_with(&format!("{name}="))) { format!("exported_{name}") } else { name.to_owned() }
}

/// Numbers that are the same for the same seed.
#[derive(Debug)]
pub(crate) struct Dice(pub u64);

impl Dice {
    /// From 0 to below `sides` (Knuth's linear congruential generator).
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A time in a span.
    pub(crate) fn time(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.roll(u64::try_from(to - from).unwrap_or(0).max(1))).unwrap()
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }

    /// Requests at any time in a span, by a few identities and by nobody.
    pub(crate) fn requests(&mut self, count: u64, from: i64, to: i64) -> Vec<Request> {
        let request = |dice: &mut Self| {
            let identity = (dice.roll(5) > 0).then(|| format!("system:serviceaccount:monitoring:agent-{}", dice.roll(4)));
            Request {
                time: dice.time(from, to),
                access: if identity.is_some() {
                    dice.pick(&["fine-grained", "fallback", "proxy-only", "denied"])
                } else {
                    "unauthenticated"
                },
                identity,
                endpoint: dice.pick(&["pods", "metrics/cadvisor", "containerLogs", "exec"]),
                finding: (dice.roll(6) == 0).then_some("unlogged-exec"),
            }
        };
        (0..count).map(|_| request(self)).collect()
    }
}
