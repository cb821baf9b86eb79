//! Who calls: from which pod, with whose token; and whose kubelet is believed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::{Agent, output_of},
    build::OwnProgram,
    call::Call,
    cluster::{Cluster, Options, POD, Token},
    copy::KubeletCopy,
    held::Held,
    nested::{PidNamespace, child_of},
    scenarios::{Bed, annotation, completed, figure, play},
};
use serde_json::Value;

const SEEN_WITHIN: Duration = Duration::from_secs(5);
const OTHER: &str = "t-there";

#[test]
fn callers() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("callers");
    let client = OwnProgram::KubeletCall.recipe().build().unwrap();
    let options = Options { image_files: vec![client], ..Options::named("t-here") };
    play(
        &options,
        &folder,
        &[
            ("a call from a pod is that pod's, and a token of another pod is stolen", pods_are_told_apart),
            ("the API server's name from elsewhere is told once its addresses are", the_api_server_from_elsewhere),
            ("a kubelet of another network namespace is believed only when it is named", other_namespaces),
            ("on a node that is a container, process ids are the container's", a_node_in_a_container),
        ],
    );
}

fn pods_are_told_apart(bed: &Bed) {
    let cluster = &bed.cluster;
    cluster.grant("default", &["get"], &["nodes/healthz"]).unwrap();
    cluster.start_pod("robber", "default").unwrap();
    let unbound = cluster.token("default", None).unwrap();
    let bound = cluster.token("default", Some(POD)).unwrap();
    let mut agent = bed.agent(&[]);
    let uid = |pod: &str| output_of(&mut cluster.kubectl(["get", "pod", pod, "--output=jsonpath={.metadata.uid}"])).unwrap();
    let [web, robber] = [POD, "robber"].map(|pod| format!("pod default/{pod} {}", uid(pod)));

    let table = [
        // From where, with which token; whose call it is, and whether the token is stolen.
        ("web-own", Some(POD), &bound, web.as_str(), false),
        ("robber-bound", Some("robber"), &bound, robber.as_str(), true),
        ("host-bound", None, &bound, "process ", true),
        ("web-unbound", Some(POD), &unbound, web.as_str(), false),
        ("robber-unbound", Some("robber"), &unbound, robber.as_str(), false),
        ("host-unbound", None, &unbound, "process ", false),
    ];
    for (name, pod, token, ..) in &table {
        let call = Call::get("/healthz").token(token).user_agent(name);
        let answers = pod.map_or_else(|| call.from_node(cluster), |pod| call.from_pod(cluster, pod)).unwrap();
        assert_eq!(answers.only(), Some(200), "{name}: {}", answers.problem);
    }
    for (name, _, _, caller, stolen) in table {
        let event = one(&mut agent, name);
        let said = annotation(&event, "caller");
        assert!(
            if caller.ends_with(' ') { said.starts_with(caller) && said.ends_with(" kubeletcall") } else { said == caller },
            "{name}: {said:?}"
        );
        assert_eq!(annotation(&event, "findings"), if stolen { "stolen-token" } else { "" }, "{name}");
        assert_eq!(annotation(&event, "access"), "fine-grained", "{name}");
    }
    assert_eq!(figure(&agent, "kubewitness_findings_total{finding=\"stolen-token\",severity=\"critical\"}"), 2);
}

fn the_api_server_from_elsewhere(bed: &Bed) {
    let own = format!("{}/32", bed.cluster.address());
    for (peers, findings) in [(None, ""), (Some(own.as_str()), ""), (Some("203.0.113.0/24"), "api-server-impostor")] {
        let arguments = peers.map_or_else(Vec::new, |peers| vec!["--apiserver-peer", peers]);
        let mut agent = bed.agent(&arguments);
        output_of(&mut bed.cluster.kubectl(["exec", POD, "--", "true"])).unwrap();
        let ended = |event: &Value| event["stage"] == "ResponseComplete" && annotation(event, "endpoint") == "exec";
        let event = agent.event("the exec", SEEN_WITHIN, ended).unwrap();
        assert_eq!(annotation(&event, "findings"), findings, "{peers:?}");
        let raised = figure(&agent, "kubewitness_findings_total{finding=\"api-server-impostor\",severity=\"warning\"}");
        assert_eq!(raised, u64::from(!findings.is_empty()), "{peers:?}");
    }
}

fn other_namespaces(bed: &Bed) {
    let there = Other::up();
    let here_token = bed.identity("here", &["get"], &["nodes/proxy"]);
    there.0.service_account("there").unwrap();
    there.0.grant("there", &["get"], &["nodes/proxy"]).unwrap();
    let there_token = there.0.token("there", None).unwrap();
    let call = |cluster: &Cluster, token: &Token, name: &str| {
        let call = Call::get("/healthz").token(token).user_agent(name).times(20).while_refused(Duration::from_secs(60));
        let answers = call.from_node(cluster).unwrap();
        // A kubelet that has just begun may say that it is not well yet.
        assert_eq!((answers.answered(), answers.failed), (20, 0), "{answers:?}");
    };

    // Both kubelets run from the same file, which is probed.
    let mut agent = bed.agent(&[]);
    call(&there.0, &there_token, "foreign");
    call(&bed.cluster, &here_token, "own");
    all(&mut agent, "own");
    agent.until("the log line", SEEN_WITHIN, |agent| Ok(agent.log().contains("what it does is not believed").then_some(()))).unwrap();
    assert_eq!(of(&agent, "foreign"), 0);

    // Another file there, which is no reason to look at it.
    let copy = KubeletCopy::replace(&there.0, &bed.folder.join("impostor")).unwrap();
    call(&there.0, &there_token, "impostor");
    call(&bed.cluster, &here_token, "own-again");
    all(&mut agent, "own-again");
    let pid = format!("pid={}", copy.pid());
    let said = |line: &str| line.contains("in a network namespace that is not the node's: it is not believed") && line.contains(&pid);
    assert_eq!(agent.log().lines().filter(|line| said(line)).count(), 1, "{}", agent.log());
    assert_eq!(of(&agent, "impostor"), 0);
    assert_eq!(agent.log().matches("attached to a kubelet").count(), 1, "{}", agent.log());
    drop(agent);

    // From the host's network namespace neither of them is the node's; the one that is named is believed.
    let mut agent = from_the_host(bed, copy.pid());
    call(&there.0, &there_token, "named");
    call(&bed.cluster, &here_token, "not-named");
    all(&mut agent, "named");
    assert_eq!(of(&agent, "not-named"), 0);
}

/// The last scenario: the cluster's own kubelet does not come back.
fn a_node_in_a_container(bed: &Bed) {
    let cluster = &bed.cluster;
    let token = bed.identity("nested", &["get"], &["nodes/healthz"]);
    let pid = cluster.kubelet_pid().unwrap();
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    cluster.end_kubelet().unwrap();
    let node = PidNamespace::new(cluster).unwrap();

    // The agent is there first: it learns of the kubelet by the kernel's record of its LISTEN, and must find it in /proc by that id. As in
    // the chart's pod, only process 1 tells it in which network the node is.
    let mut agent = in_the_background(bed, node.command_of_a_pod(Bed::binary()), &[]);
    let watches = |agent: &mut Agent| Ok(child_of(agent.pid()).filter(|pid| !Held::by(*pid).links.is_empty()));
    agent.until("the agent watches sockets", Duration::from_secs(30), watches).unwrap();
    let mut kubelet = node.command(cluster.kubelet_binary());
    let log = fs::File::options().append(true).open(cluster.log("kubelet")).unwrap();
    kubelet.args(arguments.split_terminator('\0').skip(1)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut kubelet = kubelet.spawn().unwrap();
    attached(&mut agent);
    assert!(!agent.log().contains("nothing is watched"), "{}", agent.log());

    let client = OwnProgram::KubeletCall.recipe().build().unwrap();
    let mut inside = node.command("sh");
    inside.args(["-c", "echo $$ >&2; exec \"$@\"", "sh"]).arg(client);
    let call = |name: &str| Call::get("/healthz").token(&token).user_agent(name);
    let inside = call("inside").while_refused(Duration::from_secs(60)).by(cluster, inside).unwrap();
    let outside = call("outside").from_node(cluster).unwrap();
    assert_eq!((inside.only(), outside.only()), (Some(200), Some(200)), "{inside:?} {outside:?}");
    assert_eq!(annotation(&one(&mut agent, "inside"), "caller"), format!("process {} kubeletcall", inside.problem));
    assert_eq!(annotation(&one(&mut agent, "outside"), "caller"), "process ? kubeletcall");
    // The runtime is outside, so its pods are in yet other namespaces; they are known by their cgroups.
    let pods = || call("pod").from_pod(cluster, POD).ok().and_then(|answers| answers.only());
    let begun = Instant::now();
    while pods() != Some(200) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the kubelet does not find its pods again");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(annotation(&one(&mut agent, "pod"), "caller").starts_with("pod default/web "));
    drop(node);
    kubelet.wait().unwrap();
}

/// An agent in the host's network namespace that is told about one kubelet.
fn from_the_host(bed: &Bed, kubelet: u32) -> Agent {
    let mut agent = in_the_background(bed, Command::new(Bed::binary()), &["--kubelet-pid", &kubelet.to_string()]);
    attached(&mut agent);
    agent
}

/// An agent outside of the cluster's network namespace; its pages are on a port that nobody else has.
fn in_the_background(bed: &Bed, mut command: Command, arguments: &[&str]) -> Agent {
    let folder = bed.agent_options(&[]).folder;
    fs::create_dir_all(&folder).unwrap();
    command.args(["run", "--node-name", "node1", "--rbac", "off", "--metrics-listen", "127.0.0.1:0"]).args(arguments);
    command.arg("--events").arg(folder.join("events.jsonl")).arg("--pod-logs").arg(bed.cluster.pod_logs());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(folder.join("agent.log")).unwrap());
    Agent::started(command.spawn().unwrap(), PathBuf::from("/proc/self/ns/net"), folder)
}

fn attached(agent: &mut Agent) {
    let attached = |agent: &mut Agent| Ok(agent.log().contains("attached to a kubelet").then_some(()));
    agent.until("the kubelet is attached", Duration::from_secs(60), attached).unwrap();
}

fn of(agent: &Agent, user_agent: &str) -> usize {
    agent.events().unwrap().iter().filter(|event| event["userAgent"] == user_agent).count()
}

fn all(agent: &mut Agent, user_agent: &str) {
    agent.until(user_agent, SEEN_WITHIN, |agent| Ok((of(agent, user_agent) == 20).then_some(()))).unwrap();
}

fn one(agent: &mut Agent, user_agent: &str) -> Value {
    agent.until(user_agent, SEEN_WITHIN, |agent| Ok(completed(&agent.events()?, user_agent).pop())).unwrap()
}

/// A second cluster; it goes down when it is dropped.
struct Other(Cluster);

impl Other {
    fn up() -> Self {
        Cluster::down(OTHER).unwrap();
        Self(Cluster::up(&Options::named(OTHER)).unwrap())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        Cluster::down(OTHER).unwrap();
    }
}
