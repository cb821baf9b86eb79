//! What is left of the agent's secrets when it crashes, and when its log tells everything.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use kubewitness_tests::{agent::Agent, call::Call, scenarios::Bed};
use memchr::memmem;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{client::Client, receiver::Receiver};

const WITHIN: Duration = Duration::from_secs(20);
/// All that is linked in and can log.
const EVERYTHING: &str =
    "trace,kube_client=trace,hyper=trace,hyper_util=trace,h2=trace,reqwest=trace,rustls=trace,tower=trace,tokio_rustls=trace,mio=trace";

pub(crate) fn nothing_is_left(bed: &Bed) {
    let cluster = &bed.cluster;
    // Everything that the agent can hold: its own token, the webhook's, one of somebody who scrapes, one of a caller.
    let own = bed.identity("agent-itself", &["get", "list", "watch"], &["nodes/proxy"]);
    let scraper = bed.identity("scraper", &[], &[]);
    let caller = bed.identity("caller", &["get"], &["nodes/healthz"]);
    let rights = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "agent-all"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
         "subjects": [
            {"kind": "ServiceAccount", "name": "agent-itself", "namespace": "default"},
            {"kind": "ServiceAccount", "name": "scraper", "namespace": "default"}]},
    ]});
    cluster.apply(&rights.to_string()).unwrap();
    let mut receiver = Receiver::new(&bed.folder.join("receiver-crash"));
    receiver.start(cluster);
    let webhook = "webhook-credential-2c1f0b7a55d9e3f4a1";
    let webhook_config = with_token(&receiver.kubeconfig(), webhook);
    let kubeconfig = bed.folder.join("agent-itself.kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{}:6443", cluster.address()), "certificate-authority": cluster.ca()}}],
        "users": [{"name": "u", "user": {"token": own.expose()}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    fs::write(&kubeconfig, config.to_string()).unwrap();

    let folder = bed.folder.join("crash");
    fs::create_dir_all(&folder).unwrap();
    let log = fs::File::create(folder.join("agent.log")).unwrap();
    // As where somebody wants cores: without a limit, and into the working directory.
    let mut command = cluster.command("prlimit");
    command.arg("--core=unlimited").arg(Bed::binary()).args(["run", "--node-name", "node1", "--rbac", "on", "--log", EVERYTHING]);
    command.arg("--kubeconfig").arg(&kubeconfig).args(["--metrics-auth", "kubernetes", "--kubernetes-events", "on"]);
    command.arg("--audit-webhook-config-file").arg(&webhook_config).arg("--events").arg(folder.join("events.jsonl"));
    let child = command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let mut agent = Agent::started(child, cluster.network_namespace(), folder.clone());

    let client = Client::of(cluster, 9464);
    let is_scraped = |_: &mut Agent| {
        Ok(client
            .get("/metrics", Some(scraper.expose()))
            .ok()
            .filter(|(status, body)| *status == 200 && body.contains("kubewitness_attached 1\n"))
            .map(drop))
    };
    agent.until("it is scraped", Duration::from_secs(40), is_scraped).unwrap();
    assert_eq!(Call::get("/healthz").token(&caller).user_agent("crash").from_node(cluster).unwrap().only(), Some(200));
    let seen = |event: &serde_json::Value| event["userAgent"] == "crash" && event["stage"] == "ResponseComplete";
    agent.event("the call is seen", WITHIN, seen).unwrap();
    let arrived = |_: &mut Agent| Ok(receiver.events().iter().any(|event| event["userAgent"] == "crash").then_some(()));
    agent.until("the receiver has the event", WITHIN, arrived).unwrap();

    let text = agent.log();
    // rustls is built without its log.
    for talker in ["hyper", "kube_client", "tower", "kubewitness"] {
        assert!(text.contains(&format!(" {talker}")), "{talker} logged nothing, so this proves nothing");
    }
    for (whose, secret) in [("agent", own.expose()), ("scraper", scraper.expose()), ("caller", caller.expose()), ("webhook", webhook)] {
        let part = &secret.as_bytes()[secret.len() - 30..];
        for (place, bytes) in [("log", text.as_bytes()), ("events", &fs::read(agent.events_file()).unwrap())] {
            assert!(memmem::find(bytes, part).is_none(), "the {whose}'s secret is in the {place}");
        }
    }

    // The same signal leaves a core of any other program here.
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let cores =
        || fs::read_dir(&folder).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("core")).count();
    let mut other = Command::new("prlimit").args(["--core=unlimited", "sleep", "60"]).current_dir(&folder).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    kill_process(Pid::from_child(&other), Signal::ABORT).unwrap();
    let leaves_core = other.wait().unwrap().core_dumped();
    let before = cores();
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max core file size") && line.split_whitespace().nth(4) == Some("0")), "{limits}");
    let status = agent.end_by(Signal::ABORT, WITHIN).unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
    assert_eq!(cores(), before, "the agent left a core");
    if leaves_core {
        assert!(pattern.starts_with('|') || pattern.contains('/') || before == 1, "the other's core is not here: {pattern}");
    } else {
        eprintln!("this machine writes no cores ({}): only the limit was checked", pattern.trim());
    }
}

/// The same kubeconfig with a bearer token.
fn with_token(path: &str, token: &str) -> std::path::PathBuf {
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    config["users"][0]["user"]["token"] = token.into();
    let file = std::path::Path::new(path).with_file_name("kubeconfig-with-token");
    fs::write(&file, config.to_string()).unwrap();
    file
}
