//! How things went over time, and what is left to do.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Identity;
use crate::report::{self, ByAccess, Report};

#[derive(Debug, Serialize)]
pub(super) struct Migration {
    identities: Identities,
    requests: Requests,
}

#[derive(Debug, Serialize)]
struct Identities {
    all: u64,
    /// Those that do without `nodes/proxy`.
    free: u64,
    /// The others, by verdict; only verdicts that there are.
    verdicts: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    fallback: u64,
    proxy_only: u64,
    finer: u64,
    other: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeline {
    from: jiff::Timestamp,
    step_seconds: u64,
    steps: usize,
    left_out: u64,
    all: Vec<Step>,
    /// Those whom `nodes/proxy` let in.
    identities: Vec<Steps>,
}

#[derive(Debug, Serialize)]
struct Steps {
    #[serde(flatten)]
    identity: Identity,
    steps: Vec<Step>,
}

/// A step in which there was something.
#[derive(Debug, Serialize)]
struct Step {
    /// From 0.
    step: usize,
    #[serde(flatten)]
    requests: Requests,
}

impl Migration {
    pub(super) fn of(report: &Report) -> Self {
        let migration = &report.migration;
        let verdicts = migration.verdicts.iter().map(|(verdict, count)| (verdict.id(), *count)).collect();
        let identities = Identities { all: migration.identities(), free: migration.free, verdicts };
        Self { identities, requests: migration.requests.into() }
    }
}

impl Timeline {
    pub(super) fn of(timeline: &report::Timeline) -> Self {
        Self {
            from: timeline.from,
            step_seconds: timeline.step.as_secs(),
            steps: timeline.steps,
            left_out: timeline.left_out,
            all: steps(&timeline.all()),
            identities: timeline.by_proxy().map(|(who, counts)| Steps { identity: who.into(), steps: steps(counts) }).collect(),
        }
    }
}

fn steps(counts: &BTreeMap<usize, ByAccess>) -> Vec<Step> {
    counts.iter().map(|(step, counts)| Step { step: *step, requests: (*counts).into() }).collect()
}

impl From<ByAccess> for Requests {
    fn from(ByAccess { fallback, proxy_only, finer, other }: ByAccess) -> Self {
        Self { fallback, proxy_only, finer, other }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::judge::Finding;
    use crate::kubelet::{AccessKind, Endpoint, Verb};
    use crate::report::document::Document;
    use crate::report::testing::{Scene, sa};
    use crate::report::{ByAccess, Timeline, Who, Written};

    #[test]
    fn what_is_told_over_time_and_of_what_is_left_to_do() {
        let mut scene = Scene::new()
            .used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 5)
            .used(&sa("agent"), Endpoint::Exec(None), AccessKind::Denied, Verb::Get, 1)
            .used(&sa("scraper"), Endpoint::Stats, AccessKind::Single, Verb::Get, 7)
            .used("kube-apiserver-kubelet-client", Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 9)
            .found(&sa("agent"), Finding::NodesProxyFallback, 5);
        let counts = |fallback, finer| ByAccess { fallback, finer, ..ByAccess::default() };
        let of = |user: String, counts| (Who::User(user), [(2, counts)].into());
        let api_server = "kube-apiserver-kubelet-client".to_owned();
        let identities = [of(sa("agent"), counts(5, 0)), of(sa("scraper"), counts(0, 7)), of(api_server, counts(9, 0))];
        let from = "2026-11-01T00:00:00Z".parse().unwrap();
        let step = std::time::Duration::from_hours(6);
        scene.0.timeline = Some(Timeline { from, step, steps: 36, identities: identities.into(), left_out: 0 });
        let found = scene.0.findings.values_mut().next().unwrap();
        found.examples[0].event = Some(Written { at: None, json: r#"{"verb":"get\u202e"}"#.to_owned() });

        let document: serde_json::Value = serde_json::from_str(&Document::of(&scene.report(None)).json().unwrap()).unwrap();
        let requests =
            |fallback: u64, finer: u64, other: u64| json!({"fallback": fallback, "proxyOnly": 0, "finer": finer, "other": other});
        let identities = json!({"all": 2, "free": 1, "verdicts": {"replace": 1}});
        assert_eq!(document["migration"], json!({"identities": identities, "requests": requests(5, 7, 1)}));
        let step = |fallback, finer| json!({"step": 2, "fallback": fallback, "proxyOnly": 0, "finer": finer, "other": 0});
        assert_eq!(
            document["timeline"],
            json!({
                "from": "2026-11-01T00:00:00Z", "stepSeconds": 21_600, "steps": 36, "leftOut": 0, "all": [step(5, 7)],
                "identities": [{"identity": sa("agent"), "who": "user", "steps": [step(5, 0)]}]
            })
        );
        assert_eq!(document["findings"][0]["examples"][0]["event"], json!({"verb": "get\u{202e}"}));
    }
}
