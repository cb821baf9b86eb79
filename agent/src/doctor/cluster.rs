//! The API server, and what it lets the agent or the commands do. Asks with the credentials that they would have; nothing is changed.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Finding, Fix, Group, State};
use crate::rbac::cluster::{ConnectError, ConnectOptions, Connection, RequestError, Right};

const GROUP: Group = Group::Cluster;

/// How long the API server may take for one answer.
const WITHIN: Duration = Duration::from_secs(5);

/// What is wanted of the API server.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it is, and as whom.
    pub connect: ConnectOptions,
    /// The features that need it.
    pub features: Vec<Feature>,
}

/// A feature that asks the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `--rbac on`: the agent follows the RBAC objects.
    Rbac,
    /// `--metrics-auth kubernetes`: it asks who may read the metrics.
    Reviews,
    /// `--kubernetes-events on`: findings become Events.
    Events,
    /// `--kubelet-url`: it compares its counts with the kubelet's.
    KubeletMetrics,
    /// `kubewitness report` and `kubewitness rbac` on this machine.
    Commands,
}

impl Feature {
    const fn what(self) -> &'static str {
        match self {
            Self::Rbac => "RBAC objects",
            Self::Reviews => "who may scrape",
            Self::Events => "Events",
            Self::KubeletMetrics => "nodes/metrics",
            Self::Commands => "report, rbac",
        }
    }

    /// What it is for, where it works.
    const fn works(self) -> &'static str {
        match self {
            Self::Rbac => "list and watch: what granted a request, and what else would",
            Self::Reviews => "token and access reviews can be created",
            Self::Events => "findings can become Kubernetes Events",
            Self::KubeletMetrics => "the kubelet's own count may be read",
            Self::Commands => "RBAC objects and nodes can be listed",
        }
    }

    /// What is lost without it.
    const fn lost(self) -> &'static str {
        match self {
            Self::Rbac => "no verb-bypass, no outside-rbac, and not what else a caller may; all else works",
            Self::Reviews => "/metrics answers nobody",
            Self::Events => "no Kubernetes Events",
            Self::KubeletMetrics => "requests that were not seen are not noticed",
            Self::Commands => "report --rbac cluster and rbac need manifests instead",
        }
    }

    /// How it is where nobody asks for it.
    const fn unasked(self) -> &'static str {
        match self {
            Self::Reviews => "not asked for: whoever reaches the port reads the metrics",
            Self::Events => "not asked for: findings are in events and metrics alone",
            Self::Rbac | Self::KubeletMetrics | Self::Commands => "not asked for",
        }
    }

    /// How it is turned on, in the chart and by hand.
    fn turned_on(self) -> Vec<Fix> {
        let (helm, flag) = match self {
            Self::Rbac => ("rbac=true", "--rbac on"),
            Self::Reviews => ("metrics.auth=kubernetes", "--metrics-auth kubernetes"),
            Self::Events => ("kubernetesEvents=true", "--kubernetes-events on"),
            Self::KubeletMetrics => ("coverage.kubeletMetrics=true", "--kubelet-url https://NODE:10250"),
            Self::Commands => return vec![Fix::Command("kubewitness doctor --kubeconfig FILE".to_owned())],
        };
        vec![Fix::Helm(helm.to_owned()), Fix::Flag(flag.to_owned())]
    }

    /// The rights that it needs.
    fn rights(self) -> &'static [Right] {
        const fn right(verb: &'static str, group: &'static str, resource: &'static str) -> Right {
            Right { verb, group, resource, subresource: "" }
        }
        const RBAC: &str = "rbac.authorization.k8s.io";
        const LIST: [Right; 4] = [
            right("list", RBAC, "clusterroles"),
            right("list", RBAC, "clusterrolebindings"),
            right("watch", RBAC, "clusterroles"),
            right("watch", RBAC, "clusterrolebindings"),
        ];
        const REVIEWS: [Right; 2] =
            [right("create", "authentication.k8s.io", "tokenreviews"), right("create", "authorization.k8s.io", "subjectaccessreviews")];
        const EVENTS: [Right; 2] = [right("create", "", "events"), right("patch", "", "events")];
        const METRICS: [Right; 1] = [Right { verb: "get", group: "", resource: "nodes", subresource: "metrics" }];
        const COMMANDS: [Right; 3] = [LIST[0], LIST[1], right("list", "", "nodes")];
        match self {
            Self::Rbac => &LIST,
            Self::Reviews => &REVIEWS,
            Self::Events => &EVENTS,
            Self::KubeletMetrics => &METRICS,
            Self::Commands => &COMMANDS,
        }
    }

    /// How bad it is where it does not work: the agent does without RBAC objects if it must.
    const fn missing(self) -> State {
        match self {
            Self::Rbac | Self::Commands => State::Warn,
            Self::Reviews | Self::Events | Self::KubeletMetrics => State::Fail,
        }
    }
}

/// Looks, in some seconds at most.
pub async fn look(wanted: &Wanted) -> Vec<Finding> {
    if wanted.features.is_empty() {
        return vec![Finding::ok(GROUP, SERVER, "nothing of what was asked for needs it")];
    }
    let connection = match Connection::open(wanted.connect.clone()).await {
        Ok(connection) => connection,
        Err(error) => return vec![no_way(&error, &wanted.features)],
    };
    let server = match connection.server(WITHIN).await {
        Ok(server) => server,
        Err(error) => return vec![unreachable(&error, &wanted.features)],
    };
    let mut findings = vec![Finding::ok(GROUP, SERVER, format!("{} answers, by {}", server.version, connection.name()))];
    findings.extend(server.ahead.map(clock));
    for feature in &wanted.features {
        findings.push(rights(&connection, *feature).await);
    }
    findings
}

const SERVER: &str = "API server";

/// The worst that it means for any of these.
fn gravest(features: &[Feature]) -> State {
    features.iter().map(|feature| feature.missing()).max().unwrap_or(State::Warn)
}

fn lost(features: &[Feature]) -> String {
    let lost: Vec<_> = features.iter().map(|feature| feature.lost()).collect();
    format!("without it: {}", lost.join("; "))
}

fn no_way(error: &ConnectError, features: &[Feature]) -> Finding {
    let found = match error {
        ConnectError::Nowhere(_) => "no cluster is named",
        _ => "what names the cluster cannot be used",
    };
    let advice = match error {
        ConnectError::Nowhere(_) => "name a kubeconfig, or in a pod let its ServiceAccount's token be mounted".to_owned(),
        _ => error.to_string(),
    };
    let finding = Finding::warn(GROUP, SERVER, format!("{found}; {}", lost(features)), advice)
        .fix(Fix::Flag("--kubeconfig FILE".to_owned()))
        .fix(Fix::Pod("automountServiceAccountToken: true".to_owned()));
    let without = features == [Feature::Rbac].as_slice();
    let finding = if without { finding.fix(Fix::Flag("--rbac off".to_owned())) } else { finding };
    Finding { state: gravest(features), ..finding }
}

fn unreachable(error: &RequestError, features: &[Feature]) -> Finding {
    let finding =
        Finding::warn(GROUP, SERVER, error.to_string(), lost(features)).fix(Fix::Command("kubectl --kubeconfig FILE version".to_owned()));
    Finding { state: gravest(features), ..finding }
}

/// Events and the API server's audit log are read side by side.
const APART: SignedDuration = SignedDuration::from_secs(5);

fn clock(ahead: SignedDuration) -> Finding {
    const WHAT: &str = "clock";
    let seconds = ahead.unsigned_abs().as_secs();
    let side = if ahead.is_negative() { "behind" } else { "before" };
    if ahead.abs() < APART {
        return Finding::ok(GROUP, WHAT, "the API server's and this machine's agree");
    }
    let text = format!("the API server's is {seconds} s {side} this machine's: events and its audit log do not line up");
    Finding::warn(GROUP, WHAT, text, "let both follow a time server").fix(Fix::Command("timedatectl set-ntp true".to_owned()))
}

async fn rights(connection: &Connection, feature: Feature) -> Finding {
    let mut missing = Vec::new();
    for right in feature.rights() {
        match connection.may(right, WITHIN).await {
            Ok(true) => {}
            Ok(false) => missing.push(right),
            Err(error) => {
                return Finding::warn(
                    GROUP,
                    feature.what(),
                    format!("cannot be told: {error}"),
                    format!("without the rights: {}", feature.lost()),
                );
            }
        }
    }
    if missing.is_empty() {
        return Finding::ok(GROUP, feature.what(), feature.works());
    }
    let names: Vec<String> = missing.iter().map(|right| words(right)).collect();
    let finding = Finding::warn(
        GROUP,
        feature.what(),
        format!("not allowed: {}", names.join(", ")),
        format!("bind a ClusterRole with these rights; without them: {}", feature.lost()),
    );
    let mut finding = Finding { state: feature.missing(), ..finding };
    finding.fixes = feature.turned_on().into_iter().filter(|fix| matches!(fix, Fix::Helm(_))).collect();
    finding.fixes.push(Fix::Command(granting(feature)));
    finding
}

/// `list clusterroles`
fn words(right: &Right) -> String {
    let Right { verb, resource, subresource, .. } = right;
    if subresource.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}/{subresource}") }
}

/// The commands that give what a feature needs.
fn granting(feature: Feature) -> String {
    let unique = |of: fn(&Right) -> String| {
        let mut all: Vec<String> = feature.rights().iter().map(of).collect();
        all.sort();
        all.dedup();
        all.join(",")
    };
    let verbs = unique(|right| right.verb.to_owned());
    let resources = unique(|right| {
        let of_group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
        let below = if right.subresource.is_empty() { String::new() } else { format!("/{}", right.subresource) };
        format!("{}{of_group}{below}", right.resource)
    });
    format!("kubectl create clusterrole NAME --verb={verbs} --resource={resources}, and bind it")
}

/// What the agent has and nobody asked for.
pub fn not_wanted(features: &[Feature]) -> Vec<Finding> {
    // Whether the kubelet's count is compared stands elsewhere.
    let others = [Feature::Rbac, Feature::Reviews, Feature::Events].into_iter().filter(|feature| !features.contains(feature));
    let off = |feature: Feature| {
        let finding = Finding::off(GROUP, feature.what(), feature.unasked());
        Finding { fixes: feature.turned_on(), ..finding }
    };
    others.map(off).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_said_and_how_bad_that_is() {
        let nowhere = || ConnectError::Kubeconfig { name: "k".to_owned(), why: "w".to_owned() };
        for (features, state) in [
            (vec![Feature::Rbac], State::Warn),
            (vec![Feature::Rbac, Feature::Events], State::Fail),
            (vec![Feature::Commands], State::Warn),
        ] {
            let found = no_way(&nowhere(), &features);
            assert_eq!(found.state, state, "{found:?}");
            assert!(features.iter().all(|feature| found.detail.contains(feature.lost())), "{found:?}");
            assert_eq!(found.fixes.contains(&Fix::Flag("--rbac off".to_owned())), features.len() == 1 && features[0] == Feature::Rbac);
        }
    }

    #[test]
    fn clocks_that_are_apart_are_told() {
        for (ahead, state, says) in
            [(1, State::Ok, "agree"), (-4, State::Ok, "agree"), (60, State::Warn, "60 s before"), (-9, State::Warn, "9 s behind")]
        {
            let found = clock(SignedDuration::from_secs(ahead));
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.detail.contains(says), "{found:?}");
        }
    }

    #[test]
    fn kubectl_is_told_the_rights_as_it_wants_them() {
        assert_eq!(
            granting(Feature::Rbac),
            "kubectl create clusterrole NAME --verb=list,watch --resource=clusterrolebindings.rbac.authorization.k8s.io,\
             clusterroles.rbac.authorization.k8s.io, and bind it"
        );
        assert!(granting(Feature::KubeletMetrics).contains("--verb=get --resource=nodes/metrics,"));
    }

    #[test]
    fn what_nobody_asked_for_is_off_and_says_how_to_ask() {
        let off = not_wanted(&[Feature::Rbac]);
        assert_eq!(off.len(), 2);
        assert!(off.iter().all(|finding| finding.state == State::Off && !finding.fixes.is_empty()));
    }
}
