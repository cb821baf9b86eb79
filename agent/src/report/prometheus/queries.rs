//! What is asked. Every expression here is understood by Prometheus 2.37 and later, Thanos, Mimir and `VictoriaMetrics`.

use std::collections::BTreeSet;

use super::answer::Labels;

/// A request to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// For messages: "the counts of …".
    pub(super) what: &'static str,
    /// `PromQL`
    pub(super) expression: String,
    pub(super) when: When,
}

/// Times are unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// `/api/v1/query`
    At(i64),
    /// `/api/v1/query_range`
    Looks(Looks),
}

/// The moments at which the fleet is looked at: the window's end and every step before it. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looks {
    /// The window's start; no look is earlier.
    pub(super) start: i64,
    /// The window's end, and the last look.
    pub(super) end: i64,
    /// From one look to the next: whole seconds.
    pub(super) step: i64,
}

/// Looks in a window, at most: two hours apart in 30 days. Servers bound what one query may touch (Prometheus: 50 million samples), and
/// the cost of a look is that of a sample of each agent.
const LOOKS: i64 = 360;
/// How far back a server looks for a sample if its configuration does not say otherwise.
pub(super) const LOOKBACK: i64 = 300_000;

impl Looks {
    /// The looks of a window; `window` is at least a second.
    pub(super) fn new(end: i64, window: i64) -> Self {
        let seconds = window / 1000;
        Self { start: end - window, end, step: (seconds + LOOKS - 1).div_euclid(LOOKS).max(1) * 1000 }
    }

    /// The first look after the start.
    pub(super) fn first(self) -> i64 {
        self.end - (self.end - self.start - 1).div_euclid(self.step) * self.step
    }

    fn subquery(self) -> String {
        format!("[{}s:{}s]", (self.end - self.start).div_euclid(1000), self.step / 1000)
    }
}

/// Which series count: the user's selector, and the targets of a group if one is read alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<String>);

impl Selector {
    /// Label matchers as the user typed them, with or without braces.
    pub(super) fn of_user(text: &str) -> Self {
        let text = text.trim();
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let inner = inner.trim().trim_end_matches(',');
        Self(if inner.is_empty() { Vec::new() } else { vec![inner.to_owned()] })
    }

    /// The same for these targets alone, told apart by these of their labels.
    pub(super) fn of_targets<'a>(&self, names: &[&str], targets: &(impl Iterator<Item = &'a Labels> + Clone)) -> Self {
        let matcher = |name: &&str| {
            let mut values: Vec<_> = targets.clone().map(|labels| labels.target(name)).collect();
            values.sort_unstable();
            values.dedup();
            match values[..] {
                // Where the target has no such label, the series may have it all the same: it is the agent's own.
                [""] if OWN.contains(name) => None,
                [value] => Some(format!("{name}={}", quoted(value))),
                _ => {
                    let alternatives: Vec<_> = values.into_iter().map(escaped).collect();
                    Some(format!("{name}=~{}", quoted(&alternatives.join("|"))))
                }
            }
        };
        Self(self.0.iter().cloned().chain(names.iter().filter_map(matcher)).collect())
    }

    fn of(&self, metric: &str) -> String {
        if self.0.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", self.0.join(",")) }
    }
}

/// A moment of counters: all of them as they are at a time, or the last of some targets in the time before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) selector: Selector,
    pub(super) at: i64,
    /// `None` leaves it to the server how far back it looks, and a series that ended is not there.
    pub(super) back: Option<i64>,
}

/// A sum over counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    RequestsByIdentity,
    Requests,
    FindingsByIdentity,
    Findings,
    RequestsByTarget,
    IncompleteByTarget,
    LostByTarget,
}

impl Metric {
    /// All of them, those of the most series first.
    pub(super) const ALL: [Self; 7] = [
        Self::RequestsByIdentity,
        Self::RequestsByTarget,
        Self::Requests,
        Self::FindingsByIdentity,
        Self::Findings,
        Self::IncompleteByTarget,
        Self::LostByTarget,
    ];

    /// Whether there is a row for each agent, and not one for each combination of the agent's own labels.
    pub(super) const fn is_by_target(self) -> bool {
        matches!(self, Self::RequestsByTarget | Self::IncompleteByTarget | Self::LostByTarget)
    }
}

impl Moment {
    /// The agent's labels that targets have taken are named twice: see [`Labels::own`]. `without` keeps the target's labels, whatever they
    /// are.
    pub(super) fn question(&self, metric: Metric, taken: &Taken) -> Question {
        let (what, labels, name): (_, &[&str], _) = match metric {
            Metric::RequestsByIdentity => {
                ("the requests of each identity", &["identity", "endpoint", "access"], "kubewitness_identity_requests_total")
            }
            Metric::Requests => ("the requests", &["endpoint", "access"], "kubewitness_requests_total"),
            Metric::FindingsByIdentity => {
                ("the findings of each identity", &["identity", "finding"], "kubewitness_identity_findings_total")
            }
            Metric::Findings => ("the findings", &["finding"], "kubewitness_findings_total"),
            Metric::RequestsByTarget => {
                ("the requests of each agent", &["endpoint", "access", "transport", "code"], "kubewitness_requests_total")
            }
            Metric::IncompleteByTarget => ("the incomplete requests of each agent", &["reason"], "kubewitness_requests_incomplete_total"),
            Metric::LostByTarget => ("the lost records of each agent", &["class"], "kubewitness_records_lost_total"),
        };
        let grouping = format!("{} ({})", if metric.is_by_target() { "without" } else { "by" }, taken.names(labels));
        let series = self.selector.of(name);
        let series = self.back.map_or_else(|| series.clone(), |back| format!("last_over_time({series}[{back}ms])"));
        Question { what, expression: format!("sum {grouping} ({series})"), when: When::At(self.at) }
    }
}

/// The labels of the agent's counters.
const OWN: [&str; 8] = ["identity", "endpoint", "access", "finding", "transport", "code", "reason", "class"];

/// The agent's labels that targets have too, so that the server calls ours `exported_…`. They are asked for only where that is so: over a
/// million series each label more to group by costs the server time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken(BTreeSet<&'static str>);

impl Taken {
    /// Those that are taken by the labels of some agents' series that have none of them by themselves.
    pub(super) fn by<'a>(targets: impl IntoIterator<Item = &'a Labels>) -> Self {
        let mut taken = BTreeSet::new();
        for labels in targets {
            taken.extend(OWN.into_iter().filter(|name| labels.0.contains_key(*name)));
        }
        Self(taken)
    }

    fn names(&self, labels: &[&str]) -> String {
        let twice = labels.iter().filter(|label| self.0.contains(*label)).map(|label| format!("exported_{label}"));
        labels.iter().map(ToString::to_string).chain(twice).collect::<Vec<_>>().join(",")
    }
}

const INFO: &str = "kubewitness_build_info";
const STARTED: &str = "process_start_time_seconds";

/// When the processes of the agents that are scraped at a time were started. Everything has this metric, so it is asked for where there is a
/// `kubewitness_build_info` of the same target.
pub(super) fn started_at(selector: &Selector, at: i64) -> Question {
    let (started, info) = (selector.of(STARTED), selector.of(INFO));
    Question { what: "the agents", expression: format!("{started} and on (job, instance) {info}"), when: When::At(at) }
}

/// The processes that are seen at a look and were not at the look before.
pub(super) fn begun(selector: &Selector, looks: Looks) -> Question {
    let (started, info, step) = (selector.of(STARTED), selector.of(INFO), looks.step / 1000);
    let expression = format!("({started} unless ({started} == {started} offset {step}s)) and on (job, instance) {info}");
    Question { what: "the agents' starts", expression, when: When::Looks(looks) }
}

/// The processes that were seen at a look and are not at the next, where the answer has them.
pub(super) fn ended(selector: &Selector, looks: Looks) -> Question {
    let (started, info, step) = (selector.of(STARTED), selector.of(INFO), looks.step / 1000);
    let expression =
        format!("({started} offset {step}s unless ({started} offset {step}s == {started})) and on (job, instance) {info} offset {step}s");
    Question { what: "the agents' ends", expression, when: When::Looks(looks) }
}

/// Every sample of the start times of some targets.
pub(super) fn history(selector: &Selector, from: i64, to: i64) -> Question {
    Question { what: "the agents' restarts", expression: format!("{}[{}ms]", selector.of(STARTED), to - from), when: When::At(to) }
}

/// All agents that are seen in the window, with their nodes' names.
pub(super) fn agents(selector: &Selector, looks: Looks) -> Question {
    let expression = format!("last_over_time({}{})", selector.of(INFO), looks.subquery());
    Question { what: "the agents' nodes", expression, when: When::At(looks.end) }
}

/// At how many looks each agent watched a kubelet.
pub(super) fn watched(selector: &Selector, looks: Looks) -> Question {
    let expression = format!("sum_over_time({}{})", selector.of("kubewitness_attached"), looks.subquery());
    Question { what: "the time that kubelets were watched", expression, when: When::At(looks.end) }
}

/// The kubelets at the end.
pub(super) fn kubelets(selector: &Selector, looks: Looks) -> Question {
    Question { what: "the kubelets' versions", expression: selector.of("kubewitness_kubelet_info"), when: When::At(looks.end) }
}

/// A string of `PromQL`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A text as a regular expression of RE2 that matches it alone.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        if r"\.+*?()|[]{}^$".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_divide_a_window_and_end_with_it() {
        for (window, step, first) in
            [(2_592_000, 7200, 7200), (86_400, 240, 240), (3600, 10, 10), (361, 2, 1), (360, 1, 1), (60, 1, 1), (1, 1, 1)]
        {
            let looks = Looks::new(10_000_000_000, window * 1000);
            assert_eq!((looks.step / 1000, (looks.first() - looks.start) / 1000), (step, first), "{window}");
            assert!((looks.end - looks.start) / looks.step <= LOOKS);
        }
    }

    #[test]
    fn labels_that_targets_have_taken_are_asked_for_by_both_names() {
        let labels = |names: &[&str]| Labels(names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect());
        let moment = Moment { selector: Selector::default(), at: 0, back: None };
        let asked = |targets: &[Labels]| moment.question(Metric::Requests, &Taken::by(targets)).expression;
        assert_eq!(asked(&[labels(&["instance", "job"])]), "sum by (endpoint,access) (kubewitness_requests_total)");
        let operators = [labels(&["instance"]), labels(&["instance", "endpoint"])];
        assert_eq!(asked(&operators), "sum by (endpoint,access,exported_endpoint) (kubewitness_requests_total)");
    }

    #[test]
    fn targets_are_told_apart_by_their_labels() {
        let labels = |instance: &str| Labels([("job".to_owned(), "a\"b".to_owned()), ("instance".to_owned(), instance.to_owned())].into());
        let (one, two) = (labels("10.0.0.1:9464"), labels("[fd00::1]:9464"));
        let user = Selector::of_user(" {cluster=\"x\",} ");
        assert_eq!(user.of("up"), r#"up{cluster="x"}"#);
        assert_eq!(
            user.of_targets(&["job", "instance"], &[&one].into_iter()).of("up"),
            r#"up{cluster="x",job="a\"b",instance="10.0.0.1:9464"}"#
        );
        assert_eq!(
            Selector::default().of_targets(&["instance"], &[&two, &one].into_iter()).of("up"),
            r#"up{instance=~"10\\.0\\.0\\.1:9464|\\[fd00::1\\]:9464"}"#
        );
        assert_eq!(
            Selector::default().of_targets(&["instance", "pod", "endpoint"], &[&one].into_iter()).of("up"),
            r#"up{instance="10.0.0.1:9464",pod=""}"#
        );
        assert_eq!(Selector::of_user("").of("up"), "up");
    }
}
