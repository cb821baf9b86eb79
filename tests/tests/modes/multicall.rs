//! An API server and a kubelet in one process, as k3s is built: the kubelet's requests are told, and nothing that the API server authorizes,
//! proxies or upgrades for itself.
//!
//! Needs root, and the agent as `cargo xtask build` leaves it.

mod doctor;
mod watched;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    build::multicall,
    call::Call,
    cluster::{CONTAINER, Options, POD},
    figures::Figures,
    scenarios::{Bed, annotation, completed, play},
};
use watched::{Watched, await_pods};

const FIGURES: Figures = Figures::of("docs/compatibility.md", "modes");
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Requests to each half.
const SENT: u32 = 500;

#[test]
#[ignore = "links an API server and a kubelet into one program: a minute, or several where neither is built yet"]
fn one_process_that_is_both() {
    multicall().build().expect("the program builds");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kx-multi");
    play(&Options::named("kx-multi"), &folder, &[("API server and kubelet in one process", both)]);
}

fn both(bed: &Bed) {
    let cluster = &bed.cluster;
    // Before the switch: the pod of the cluster runs on, and so do these rights.
    let token = bed.identity("both", &["get"], &["nodes/proxy", "nodes/metrics", "nodes/stats"]);
    let process = Multicall::take_over(bed);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    let api = format!("https://{}:6443", cluster.address());

    // The kubelet's half.
    let load = Call::get("/healthz").token(&token).user_agent("kubelet-half").times(SENT).workers(4);
    let exec = format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1");
    let (answered, event) = watched.tell(&Call::websocket(&exec, "v4.channel.k8s.io").token(&token));
    assert_eq!((answered, annotation(&event, "access"), annotation(&event, "findings")), (101, "proxy-only", "unlogged-exec"), "{event}");
    let load = load.start(cluster).unwrap();

    // The API server's half, at the same time: authorized by the same code, in the same process.
    let asked = |path: &str, times| Call::get(path).to(&api).token(&token).user_agent("server-half").times(times).workers(2);
    let pods = asked("/api/v1/namespaces/default/pods", SENT).from_node(cluster).unwrap();
    assert_eq!(pods.only(), Some(403), "{}", pods.problem);
    let health = asked("/healthz", SENT).from_node(cluster).unwrap();
    assert_eq!(health.only(), Some(200), "{health:?}");
    // Through it to the kubelet: one request to each half, and the kubelet's alone is told.
    let proxied = asked("/api/v1/nodes/node1/proxy/stats/summary", 20).from_node(cluster).unwrap();
    assert_eq!(proxied.only(), Some(200), "{}", proxied.problem);
    for number in 0..10 {
        let marker = format!("through-{number}");
        let output = cluster.kubectl(["exec", POD, "--container", CONTAINER, "--", "echo", &marker]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), marker);
    }
    assert_eq!(load.wait().unwrap().only(), Some(200));
    assert!(doctor::text(process.pid()).contains("/multicall"), "doctor finds the program");
    assert_eq!(doctor::settings(process.pid()), None, "its command line is not a kubelet's");

    let told = {
        let want = SENT as usize;
        watched
            .agent
            .until("the kubelet's half", Duration::from_secs(10), |agent| {
                Ok(Some(agent.events()?).filter(|events| completed(events, "kubelet-half").len() >= want))
            })
            .unwrap()
    };
    let of_the_server = completed(&told, "server-half");
    // The API server hands the caller's agent on: what it proxied to the kubelet is the kubelet's request, by the API server.
    assert_eq!(of_the_server.len(), 20, "only what was proxied to the kubelet");
    for event in &of_the_server {
        assert_eq!((event["requestURI"].as_str(), annotation(event, "endpoint")), (Some("/stats/summary"), "stats"), "{event}");
        assert_eq!(
            (event["user"]["username"].as_str(), annotation(event, "findings")),
            (Some("kube-apiserver-kubelet-client"), ""),
            "{event}"
        );
    }
    let through = told
        .iter()
        .filter(|event| event["stage"] == "ResponseComplete" && event["requestURI"].as_str().is_some_and(|uri| uri.contains("through-")));
    let through: Vec<_> = through.collect();
    assert_eq!(through.len(), 10);
    for event in through {
        assert_eq!((event["responseStatus"]["code"].as_u64(), annotation(event, "findings")), (Some(101), ""), "{event}");
    }
    watched.close("API server and kubelet in one process", "the kubelet's requests alone; an exec through the API server is no finding");
}

/// The process that is both; it is killed when it is dropped, and [`Cluster::down`](kubewitness_tests::cluster::Cluster::down) ends what is left.
struct Multicall(Child);

impl Multicall {
    /// Ends the cluster's API server and kubelet, and starts both in one process with the flags that they had.
    fn take_over(bed: &Bed) -> Self {
        let cluster = &bed.cluster;
        let [server, kubelet] = ["kube-apiserver", "kubelet"].map(|program| {
            let pid = cluster.pid(program).expect("the cluster is whole");
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
            line.split_terminator('\0').skip(1).map(str::to_owned).collect::<Vec<_>>()
        });
        cluster.end_kubelet().unwrap();
        cluster.kill_api_server().unwrap();
        let log = fs::File::create(bed.folder.join("multicall.log")).unwrap();
        let mut command = cluster.command(multicall().path());
        command.args(server).arg("--").args(kubelet).current_dir(&bed.folder);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let process = Self(child);
        await_ready(bed);
        process
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Multicall {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn await_ready(bed: &Bed) {
    let begun = Instant::now();
    let succeeds = |mut command: Command| command.output().is_ok_and(|output| output.status.success());
    let cluster = &bed.cluster;
    while !succeeds(cluster.kubectl(["get", "--raw", "/readyz"])) {
        let log = || fs::read_to_string(bed.folder.join("multicall.log")).unwrap_or_default();
        assert!(begun.elapsed() < READY_WITHIN, "it is not ready: {}", log().lines().rev().take(20).collect::<Vec<_>>().join("\n"));
        thread::sleep(Duration::from_millis(200));
    }
    await_pods(bed);
}
