//! Several tests on one cluster: bringing it up for each of them would take most of their time, and it must come down also when one fails.

use std::{
    cell::Cell,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::{
    agent::{Agent, AgentOptions, Rbac},
    build::OwnProgram,
    cluster::{Cluster, NODE, Options},
};

/// A test by its name; it panics where it fails.
pub type Scenario = (&'static str, fn(&Bed));

/// What a scenario works on.
#[derive(Debug)]
pub struct Bed {
    /// The cluster.
    pub cluster: Cluster,
    /// A folder of these scenarios' own.
    pub folder: PathBuf,
    agents: Cell<u32>,
}

/// Brings a cluster up, plays the scenarios one after the other, checks every event that was written, and takes the cluster down.
///
/// `folder` is emptied first. `KUBEWITNESS_SCENARIO` plays only those whose names hold it.
///
/// # Panics
///
/// If the cluster does not come up, or, at the end, if a scenario failed.
pub fn play(options: &Options, folder: &Path, scenarios: &[Scenario]) {
    // An interrupted run may have left it.
    Cluster::down(&options.name).expect("what an earlier run left can be removed");
    let _absent = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).expect("the folder of the scenarios can be made");
    let cluster = Cluster::up(options).expect("the cluster comes up");
    let bed = Bed { cluster, folder: folder.to_owned(), agents: Cell::new(0) };
    let wanted = env::var("KUBEWITNESS_SCENARIO").unwrap_or_default();
    let mut failed = Vec::new();
    let chosen = scenarios.iter().filter(|(name, _)| name.contains(&wanted));
    for (name, scenario) in chosen.chain(&[("every event is one of audit.k8s.io/v1", every_event_is_valid as fn(&Bed))]) {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| scenario(&bed)));
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("scenario {name} … {word} ({:.1} s)", begun.elapsed().as_secs_f32());
        failed.extend(result.err().map(|_| *name));
    }
    let down = Cluster::down(&options.name);
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
    down.expect("the cluster comes down");
}

impl Bed {
    /// The agent, `target/release/kubewitness` as `cargo xtask build` leaves it; `KUBEWITNESS_BINARY` names another.
    pub fn binary() -> PathBuf {
        env::var_os("KUBEWITNESS_BINARY")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/kubewitness"), PathBuf::from)
    }

    /// How an agent is started, with a folder that no other agent of these scenarios has. It does not follow the RBAC objects: it would
    /// begin at a random time, so as not to come with all others.
    pub fn agent_options(&self, arguments: &[&str]) -> AgentOptions {
        let number = self.agents.get() + 1;
        self.agents.set(number);
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        AgentOptions { binary: Self::binary(), folder: self.folder.join(format!("agent-{number}")), rbac: Rbac::Off, arguments }
    }

    /// Starts an agent that watches the kubelet.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn agent(&self, arguments: &[&str]) -> Agent {
        Agent::start(&self.cluster, &self.agent_options(arguments)).expect("the agent starts")
    }

    /// The command line of an agent of its own folder, which is given too; it says nothing of where events go. The log goes to `agent.log`
    /// in the folder.
    ///
    /// # Panics
    ///
    /// If the folder cannot be made.
    pub fn agent_command(&self, arguments: &[&str]) -> (PathBuf, Command) {
        let options = self.agent_options(&[]);
        fs::create_dir_all(&options.folder).expect("the agent's folder can be made");
        let log = fs::File::create(options.folder.join("agent.log")).expect("the agent's log can be made");
        let mut command = self.cluster.command(&options.binary);
        command.args(["run", "--node-name", NODE, "--rbac", "off"]).args(arguments).stderr(log);
        (options.folder, command)
    }

    /// Starts an agent that does not write its events to the usual file, and waits until it watches the kubelet. Gives its standard output
    /// too, where they are unless `arguments` say otherwise.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn piped(&self, arguments: &[&str]) -> (Agent, ChildStdout) {
        let (folder, mut command) = self.agent_command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the agent starts");
        let pipe = child.stdout.take().expect("it was piped");
        let mut agent = Agent::started(child, self.cluster.network_namespace(), folder);
        agent.until_it_watches().expect("the agent watches");
        (agent, pipe)
    }

    /// Creates a `ServiceAccount` with these verbs on these resources, and gives a token of it.
    ///
    /// # Panics
    ///
    /// If the API server does not take it.
    pub fn identity(&self, name: &str, verbs: &[&str], resources: &[&str]) -> crate::cluster::Token {
        self.cluster.service_account(name).expect("the ServiceAccount can be made");
        if !verbs.is_empty() {
            self.cluster.grant(name, verbs, resources).expect("the rights can be given");
        }
        self.cluster.token(name, None).expect("the API server gives a token")
    }
}

/// The events that end the requests of a user agent.
pub fn completed(events: &[Value], user_agent: &str) -> Vec<Value> {
    let of = |event: &&Value| event["userAgent"] == user_agent && event["stage"] == "ResponseComplete";
    events.iter().filter(of).cloned().collect()
}

/// An annotation of an event, without its prefix; empty where it is absent.
pub fn annotation<'a>(event: &'a Value, name: &str) -> &'a str {
    event["annotations"][format!("kubewitness.dev/{name}")].as_str().unwrap_or_default()
}

/// A whole number in the agent's metrics, by name and labels as they are exposed.
///
/// # Panics
///
/// If the series is not there, or is no whole number.
pub fn figure(agent: &Agent, series: &str) -> u64 {
    let page = agent.fetch("/metrics").expect("the agent serves its metrics");
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{series} is not in the metrics, or no whole number: {page}"))
}

/// Agents are killed when their scenario is over, or in it: the kernel then ends a write between two pages, and the last line may be cut.
fn every_event_is_valid(bed: &Bed) {
    let check = OwnProgram::AuditCheck.recipe().build().expect("auditcheck builds");
    for number in 1..=bed.agents.get() {
        let path = bed.folder.join(format!("agent-{number}/events.jsonl"));
        let Ok(file) = fs::OpenOptions::new().write(true).open(&path) else { continue };
        file.set_len(whole_lines(&path)).expect("the cut line can be taken away");
        let events = fs::File::open(&path).expect("the events can be read");
        let output = Command::new(&check).stdin(Stdio::from(events)).output().expect("auditcheck runs");
        assert!(output.status.success(), "agent {number}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Bytes of a file up to the end of its last whole line.
fn whole_lines(path: &Path) -> u64 {
    let events = fs::read(path).expect("the events can be read");
    events.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last as u64 + 1)
}
