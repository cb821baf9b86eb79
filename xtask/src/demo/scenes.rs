//! The seven scenes: who does what with which client, and what the agent must see of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, bail, ensure};
use kubewitness_tests::agent::Agent;
use kubewitness_tests::cluster::{CONTAINER, Cluster, POD};
use serde_json::Value;

use super::Clients;
use super::audit::{self, Entry};
use super::events::{self, Row};
use crate::progress::note;

/// Seconds that a client may take.
const PATIENCE: &str = "20";

/// `ServiceAccounts` and the resources that they may `get`, nothing else.
const CAST: [(&str, &[&str]); 5] = [
    ("scraper", &["nodes/metrics"]),
    ("modern-agent", &["nodes/pods"]),
    ("legacy-agent", &["nodes/proxy"]),
    ("intruder", &["nodes/proxy"]),
    ("nobody", &[]),
];

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
}

/// All that was seen.
pub(super) struct Played {
    pub(super) scenes: Vec<Seen>,
    /// What the attack got from the container: the output of `id`.
    pub(super) loot: String,
    /// The event that raised the alert.
    pub(super) alert: Value,
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

/// Makes the identities, each with its token in a file of the folder that is returned. A grant is not over when it is written but
/// when the API server's authorizer knows it: the kubelet would remember an earlier "no" for half a minute.
pub(super) fn cast(cluster: &Cluster) -> Result<PathBuf> {
    let tokens = cluster.audit_log().with_file_name("tokens");
    fs::create_dir_all(&tokens).with_context(|| format!("cannot make the folder {}", tokens.display()))?;
    for (name, resources) in CAST {
        cluster.service_account(name)?;
        if !resources.is_empty() {
            cluster.grant(name, &["get"], resources)?;
        }
        write_secret(&tokens.join(name), cluster.token(name, None)?.expose())?;
    }
    write_secret(&tokens.join("bad-token"), "not-a-token")?;
    for (name, resources) in CAST {
        for resource in resources {
            until_granted(cluster, name, resource)?;
        }
    }
    Ok(tokens)
}

fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(secret.as_bytes())).with_context(|| format!("cannot write {}", path.display()))
}

fn until_granted(cluster: &Cluster, name: &str, resource: &str) -> Result<()> {
    let (resource, subresource) = resource.split_once('/').context("a resource of a node has a slash")?;
    let identity = format!("--as=system:serviceaccount:default:{name}");
    let begun = Instant::now();
    loop {
        let mut ask = cluster.kubectl(["auth", "can-i", "get", resource, "--subresource", subresource, &identity]);
        if ask.output().context("kubectl cannot be started")?.status.success() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "the API server did not learn within 20 s that {name} may get {resource}/{subresource}"
        );
        thread::sleep(Duration::from_millis(100));
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
    let events = agent.events()?;
    check_attacks(&mut scenes, &loot);
    let before: usize = scenes[..ATTACK].iter().map(|seen| seen.rows.len()).sum();
    let alert = events::ended(&events).get(before).and_then(|request| events::alert(&events, request));
    let alert = alert.with_context(|| format!("the agent raised no alert for {}", SCENES[ATTACK].title))?.clone();
    Ok(Played { scenes, loot, alert })
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
    let rows: Vec<_> = events::ended(&events)[before..].iter().map(|event| events::row(event)).collect();
    let counted = agent.metrics()?.get(METRIC).copied().unwrap_or(f64::NAN);
    let logged = audit::between(&log, begin, audit::length(&log)?)?;
    Ok((Seen { title: scene.title, wrong: differences(&expected, &rows), rows, counted, logged }, output))
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

/// What the clients need.
struct Stage<'a> {
    cluster: &'a Cluster,
    clients: &'a Clients,
    tokens: &'a Path,
}

impl Stage<'_> {
    fn address(&self) -> Ipv4Addr {
        self.cluster.address()
    }

    fn client(&self, program: &Path) -> Command {
        let mut command = self.cluster.command("timeout");
        command.arg(PATIENCE).arg(program);
        command
    }

    fn read(&self, who: &str, paths: &[&str]) -> Result<String> {
        let mut client = self.client(&self.clients.kubeletget);
        client.args(["--server", &format!("https://{}:10250", self.address()), "--token-file"]).arg(self.tokens.join(who)).args(paths);
        output("kubeletget", client)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        output("kubectl", self.cluster.kubectl(arguments))
    }

    /// The announcement's command, word for word but for the names of the pod and of its container.
    fn websocat(&self) -> Result<String> {
        let token = fs::read_to_string(self.tokens.join("intruder")).context("the intruder's token cannot be read")?;
        let mut client = self.client(&self.clients.websocat);
        client.args(["--insecure", "--header", &format!("Authorization: Bearer {token}"), "--protocol", "v4.channel.k8s.io"]);
        client.arg(format!("wss://{}:10250/exec/default/{POD}/{CONTAINER}?output=1&error=1&command=id", self.address()));
        output("websocat", client)
    }

    /// With `GET`, as WebSocket has it: `POST` would ask for `create`, which the intruder has not.
    fn spdyexec(&self) -> Result<String> {
        let mut client = self.client(&self.clients.spdyexec);
        client.args(["--server", &format!("https://{}:10250", self.address()), "--insecure", "--method", "GET"]);
        client.arg("--token-file").arg(self.tokens.join("intruder")).args(["--pod", POD, "--container", CONTAINER, "--", "id"]);
        output("spdyexec", client)
    }
}

/// What a client printed. An error names the program alone: its arguments can hold a token.
fn output(name: &str, mut client: Command) -> Result<String> {
    let piped = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().with_context(|| format!("{name} cannot be started"))?;
    // At the end of its stdin websocat closes the connection, and before that it does not end: as with a terminal, stdin ends when the
    // command has. The last line of an exec in this protocol is its status; other clients have no such line, and end by themselves.
    let stdin = child.stdin.take();
    let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut printed = Vec::new();
    while stdout.read_until(b'\n', &mut printed)? > 0 && !printed.ends_with(b"\"status\":\"Success\"}\n") {}
    drop(stdin);
    stdout.read_to_end(&mut printed)?;
    let output = child.wait_with_output().with_context(|| format!("{name} cannot be waited for"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&printed).into_owned())
}
