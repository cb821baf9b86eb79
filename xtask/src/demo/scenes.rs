//! The seven scenes: who does what with which client, and what the agent must see of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kubewitness_tests::agent::Agent;
use kubewitness_tests::cluster::{Cluster, POD};
use serde_json::Value;

use super::audit::{self, Entry};
use super::clients::{Clients, Stage};
use super::events::{self, Row};
use crate::progress::note;

/// The counter that a detection engineer alerts on.
pub(super) const METRIC: &str = r#"kubewitness_unlogged_exec_total{endpoint="exec",outcome="executed",verb="get"}"#;

/// One scene, and a row for each request of it.
struct Scene {
    title: &'static str,
    play: fn(&Stage) -> Result<String>,
    expected: fn() -> Vec<Row>,
}

const SCENES: [Scene; 7] = [
    Scene {
        title: "1 scraper",
        play: |stage| stage.read("scraper", &["/metrics"]),
        expected: || vec![Row::from(["default:scraper", "metrics", "single", "plain", "200"])],
    },
    Scene {
        title: "2 modern",
        play: |stage| stage.read("modern-agent", &["/pods"]),
        expected: || vec![Row::from(["default:modern-agent", "pods", "fine-grained", "plain", "200"])],
    },
    Scene {
        title: "3 legacy",
        play: |stage| stage.read("legacy-agent", &["/pods", "/healthz", "/configz"]),
        expected: || {
            let fallback = |endpoint| Row::from(["default:legacy-agent", endpoint, "fallback", "plain", "200", "nodes-proxy-fallback"]);
            ["pods", "healthz", "configz"].map(fallback).to_vec()
        },
    },
    Scene {
        title: "4 kubectl",
        play: |stage| Ok(stage.kubectl(&["exec", POD, "--", "id"])? + &stage.kubectl(&["logs", POD, "--tail=1"])?),
        expected: || {
            let server = "kube-apiserver-kubelet-client";
            let exec = Row::from([server, "exec", "proxy-only", "websocket", "101"]);
            vec![exec, Row::from([server, "containerLogs", "proxy-only", "plain", "200"])]
        },
    },
    Scene { title: "5 websocat", play: |stage| stage.websocat(), expected: || vec![attack("websocket")] },
    Scene { title: "6 SPDY", play: |stage| stage.spdyexec(), expected: || vec![attack("spdy")] },
    Scene {
        title: "7 refused",
        play: |stage| Ok(stage.read("nobody", &["/pods"])? + &stage.read("bad-token", &["/pods"])?),
        expected: || {
            let denied = Row::from(["default:nobody", "pods", "denied", "plain", "403"]);
            vec![denied, Row::from(["-", "pods", "unauthenticated", "plain", "401"])]
        },
    },
];

/// Places of the two attacks in [`SCENES`].
const ATTACK: usize = 4;

fn attack(transport: &str) -> Row {
    Row::from(["default:intruder", "exec", "proxy-only", transport, "101", "unlogged-exec"])
}

/// A scene as it was seen.
pub(super) struct Seen {
    pub(super) title: &'static str,
    /// From the agent's events.
    pub(super) rows: Vec<Row>,
    /// What must be there and is not, or is and must not be.
    pub(super) wrong: Vec<String>,
    /// The counter [`METRIC`] after the scene.
    pub(super) counted: f64,
    /// What the API server's audit log gained.
    pub(super) logged: Vec<Entry>,
    /// The event that raised the alert, where one did.
    pub(super) alert: Option<Value>,
}

/// All that was seen.
pub(super) struct Played {
    pub(super) scenes: Vec<Seen>,
    /// What the attack got from the container: the output of `id`.
    pub(super) loot: String,
}

impl Played {
    /// The attack over WebSocket, and what was seen before it and after it.
    pub(super) fn attacks(&self) -> (&Seen, &Seen, &Seen) {
        (&self.scenes[ATTACK - 1], &self.scenes[ATTACK], &self.scenes[ATTACK + 1])
    }

    /// An error that names each scene that was not seen as it must be.
    pub(super) fn verdict(&self) -> Result<()> {
        let wrong: Vec<_> = self.scenes.iter().flat_map(|seen| seen.wrong.iter().map(|what| format!("{}: {what}", seen.title))).collect();
        ensure!(wrong.is_empty(), "not seen as it must be: {}", wrong.join("; "));
        Ok(())
    }
}

/// Plays all scenes, one after the other: a scene is over when the agent has told of as many requests as it has.
pub(super) fn play(cluster: &Cluster, agent: &mut Agent, clients: &Clients, tokens: &Path) -> Result<Played> {
    let stage = Stage { cluster, clients, tokens };
    let (mut scenes, mut loot) = (Vec::new(), String::new());
    for (number, scene) in SCENES.iter().enumerate() {
        let (seen, output) = watch(&stage, agent, scene)?;
        if number == ATTACK {
            loot = output.lines().find_map(|line| line.find("uid=").map(|at| line[at..].to_owned())).unwrap_or_default();
        }
        note(&format!("{}: {}", scene.title, seen.rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        scenes.push(seen);
    }
    check_attacks(&mut scenes, &loot);
    Ok(Played { scenes, loot })
}

fn watch(stage: &Stage, agent: &mut Agent, scene: &Scene) -> Result<(Seen, String)> {
    let log = stage.cluster.audit_log();
    let begin = audit::length(&log)?;
    let before = events::ended(&agent.events()?).len();
    let output = (scene.play)(stage).with_context(|| format!("the scene {} could not be played", scene.title))?;
    let expected = (scene.expected)();
    // What comes too late is missing below, where it is named.
    let _late = agent.until("events of the scene", Duration::from_secs(5), |agent| {
        Ok((events::ended(&agent.events()?).len() >= before + expected.len()).then_some(()))
    });
    let events = agent.events()?;
    let requests = events::ended(&events).split_off(before);
    let rows: Vec<_> = requests.iter().map(|request| events::row(request)).collect();
    let alert = requests.iter().find_map(|request| events::alert(&events, request)).cloned();
    let counted = agent.metrics()?.get(METRIC).copied().unwrap_or(f64::NAN);
    let logged = audit::between(&log, begin, audit::length(&log)?)?;
    Ok((Seen { title: scene.title, wrong: differences(&expected, &rows), rows, counted, logged, alert }, output))
}

/// What is missing and what should not be there.
fn differences(expected: &[Row], seen: &[Row]) -> Vec<String> {
    let missing = expected.iter().filter(|row| !seen.contains(row)).map(|row| format!("`{row}` is missing"));
    let surplus = seen.iter().filter(|row| !expected.contains(row)).map(|row| format!("`{row}` was not expected"));
    let mut wrong: Vec<_> = missing.chain(surplus).collect();
    if wrong.is_empty() && seen.len() != expected.len() {
        wrong.push(format!("{} requests were seen, and there were {}", seen.len(), expected.len()));
    }
    wrong
}

/// The attacks must have worked, each must have moved the counter by one and nothing else may have, and the audit log must hold
/// nothing of them but the kubelet's own questions.
fn check_attacks(scenes: &mut [Seen], loot: &str) {
    let mut before = 0.0;
    for (number, seen) in scenes.iter_mut().enumerate() {
        let is_attack = number == ATTACK || number == ATTACK + 1;
        let expected = before + if is_attack { 1.0 } else { 0.0 };
        if (seen.counted - expected).abs() > f64::EPSILON || seen.counted.is_nan() {
            seen.wrong.push(format!("{METRIC} is {} and must be {expected}", seen.counted));
        }
        before = seen.counted;
        for entry in seen.logged.iter().filter(|entry| is_attack && !entry.is_review_by_node()) {
            seen.wrong.push(format!("the API server's audit log holds {} {} by {}", entry.verb, entry.uri, entry.user));
        }
    }
    if !loot.starts_with("uid=0(root)") {
        scenes[ATTACK].wrong.push(format!("the attack got `{loot}` and not the output of `id`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(code: &str) -> Row {
        Row::from(["default:scraper", "metrics", "single", "plain", code])
    }

    #[test]
    fn missing_surplus_and_repeated_requests_are_named() {
        let (ok, refused) = ([row("200")], [row("403")]);
        assert!(differences(&ok, &ok).is_empty());
        assert_eq!(differences(&ok, &[]), ["`default:scraper metrics single plain 200` is missing"]);
        let both = ["`default:scraper metrics single plain 200` is missing", "`default:scraper metrics single plain 403` was not expected"];
        assert_eq!(differences(&ok, &refused), both);
        assert_eq!(differences(&ok, &[row("200"), row("200")]), ["2 requests were seen, and there were 1"]);
    }

    /// All scenes as they must be.
    fn scenes() -> Vec<Seen> {
        let counted = [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 2.0];
        let seen = |(scene, counted): (&Scene, f64)| Seen {
            title: scene.title,
            rows: (scene.expected)(),
            wrong: Vec::new(),
            counted,
            logged: Vec::new(),
            alert: None,
        };
        SCENES.iter().zip(counted).map(seen).collect()
    }

    #[test]
    fn the_attacks_are_checked() {
        let entry =
            |user: &str, uri: &str| Entry { user: user.to_owned(), verb: "create".to_owned(), uri: uri.to_owned(), code: String::new() };
        let wrong = |change: fn(&mut Vec<Seen>), loot: &str, logged: Vec<Entry>| {
            let mut scenes = scenes();
            change(&mut scenes);
            scenes[ATTACK].logged = logged;
            check_attacks(&mut scenes, loot);
            scenes.iter().filter(|seen| !seen.wrong.is_empty()).map(|seen| seen.title).collect::<Vec<_>>()
        };
        let root = "uid=0(root) gid=0";
        let review = || vec![entry("system:node:node1", "/apis/authentication.k8s.io/v1/tokenreviews")];
        assert!(wrong(|_| {}, root, review()).is_empty());
        assert_eq!(wrong(|_| {}, "", review()), ["5 websocat"]);
        assert_eq!(wrong(|_| {}, root, vec![entry("admin", "/api/v1/namespaces/default/pods/web/exec")]), ["5 websocat"]);
        assert_eq!(wrong(|scenes| scenes[3].counted = 1.0, root, review()), ["4 kubectl", "5 websocat"]);
        assert_eq!(wrong(|scenes| scenes[5].counted = 1.0, root, review()), ["6 SPDY", "7 refused"]);
        assert_eq!(wrong(|scenes| scenes[6].counted = f64::NAN, root, review()), ["7 refused"]);
    }
}
