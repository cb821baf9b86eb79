//! Whose kubelet is believed.

use std::{fs, process::Command, time::Duration};

use kubewitness_tests::{
    agent::{Agent, output_of},
    call::Call,
    cluster::POD,
    scenarios::{Bed, completed, figure},
};

use super::impostor::{Groups, Impostor};

const SEEN_WITHIN: Duration = Duration::from_secs(10);
const COUNTER: &str = "kubewitness_disbelieved_processes_total";

/// A Go program with the kubelet's names, wherever it can run: none of it is believed, and each is told.
pub(crate) fn programs(bed: &Bed) {
    let cluster = &bed.cluster;
    let token = bed.identity("spoofing", &["get"], &["nodes/healthz"]);
    let mut agent = bed.agent(&[]);
    let pod = pod(bed);

    let nobody = |mut command: Command| {
        command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command
    };
    let elsewhere = |mut command: Command| {
        command.args(["unshare", "--net", "--"]);
        command
    };
    let table: [(&str, &str, Command, &str); 4] = [
        ("pod", "0.0.0.0:10255", pod.command(cluster), "runs in a pod (UID "),
        ("user", "0.0.0.0:10255", nobody(cluster.command("env")), "is not root, but user 65534"),
        ("network", "0.0.0.0:10250", elsewhere(pod.command(cluster)), "in a network namespace that is not the node's: it is not believed"),
        ("", "0.0.0.0:10255", cluster.command("env"), "so nothing is attached"),
    ];
    for (reason, address, command, sentence) in table {
        let impostor = Impostor::spoof(command, address, "kubelet");
        let said = |agent: &mut Agent| Ok(agent.log().lines().any(|line| line.contains(sentence)).then_some(()));
        agent.until(sentence, SEEN_WITHIN, said).unwrap();
        if reason.is_empty() {
            // Root, outside of every pod: it may be a kubelet, and its executable says that it is none that could be watched.
            assert!(agent.log().contains("a process that listens on a watched port is not watched"), "{}", agent.log());
        } else {
            let pid = format!("pid={}", impostor.pid());
            assert!(
                agent.log().lines().any(|line| line.contains(sentence) && line.contains(&pid) && line.contains("kubelet")),
                "{}",
                agent.log()
            );
            assert_eq!(figure(&agent, &format!("{COUNTER}{{reason=\"{reason}\"}}")), 1, "{reason}");
        }
        if reason == "pod" {
            let said = doctor(bed);
            assert!(said.contains("impostors") && said.contains(&format!("process {} runs in a pod (UID ", impostor.pid())), "{said}");
            assert!(said.contains("FAIL").eq(&false), "{said}");
        }
    }
    assert_eq!(agent.log().matches("attached to a kubelet").count(), 1, "{}", agent.log());
    assert!(agent.fetch("/readyz").unwrap().starts_with("attached"));
    let call = Call::get("/healthz").token(&token).user_agent("after-spoofs").times(20).from_node(cluster).unwrap();
    assert_eq!(call.only(), Some(200));
    agent.until("the real one", SEEN_WITHIN, |agent| Ok((completed(&agent.events()?, "after-spoofs").len() == 20).then_some(()))).unwrap();
}

/// A real kubelet that runs in a pod on the node's network: from the node's own file, which is probed, and from a copy of it. The last scenario:
/// the cluster's own kubelet comes back, but what it knew of its pods may not.
pub(crate) fn kubelets(bed: &Bed) {
    let cluster = &bed.cluster;
    let token = bed.identity("in-pod", &["get"], &["nodes/healthz"]);
    let mut agent = bed.agent(&[]);
    let pod = pod(bed);
    let pid = cluster.kubelet_pid().unwrap();
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let arguments: Vec<String> = line.split_terminator('\0').skip(1).map(str::to_owned).collect();
    cluster.end_kubelet().unwrap();

    let own = cluster.kubelet_binary();
    let copy = bed.folder.join("kubelet-copy");
    fs::copy(&own, &copy).unwrap();
    for (name, file, is_probed) in [("in-pod-own-file", &own, true), ("in-pod-copy", &copy, false)] {
        let impostor = Impostor::kubelet(cluster, &pod, file, &arguments);
        let call = Call::get("/healthz").token(&token).user_agent(name).times(50).while_refused(Duration::from_secs(60));
        let answers = call.from_node(cluster).unwrap();
        assert_eq!((answers.answered(), answers.failed), (50, 0), "{name}: {answers:?}");
        let pid = format!("pid={}", impostor.pid());
        let said = |agent: &mut Agent| {
            let log = agent.log();
            Ok(log.lines().any(|line| line.contains("runs in a pod (UID ") && line.contains(&pid)).then_some(()))
        };
        agent.until(name, SEEN_WITHIN, said).unwrap();
        if is_probed {
            // The kernel programs ignore it from then on, and count.
            let counted = |agent: &mut Agent| {
                let count = agent.metrics()?.get("kubewitness_disbelieved_hits_total").copied().unwrap_or_default();
                Ok((count > 0.0).then_some(count))
            };
            agent.until("hits are counted", SEEN_WITHIN, counted).unwrap();
        }
        assert!(agent.events().unwrap().iter().all(|event| event["userAgent"] != name), "{name} is believed");
        assert!(doctor(bed).contains("impostors"), "{name}");
    }
    assert_eq!(agent.log().matches("attached to a kubelet").count(), 1, "the copy is not even looked at: {}", agent.log());
    fs::remove_file(copy).unwrap();
    cluster.restart_kubelet().unwrap();
    let call = Call::get("/healthz").token(&token).user_agent("own-again").times(20).while_refused(Duration::from_secs(60));
    assert_eq!(call.from_node(cluster).unwrap().answered(), 20);
    let seen = |agent: &mut Agent| Ok((completed(&agent.events()?, "own-again").len() == 20).then_some(()));
    agent.until("the node's own is believed again", SEEN_WITHIN, seen).unwrap();
}

/// The cgroups of the pod `web`.
fn pod(bed: &Bed) -> Groups {
    let uid = output_of(&mut bed.cluster.kubectl(["get", "pod", POD, "--output=jsonpath={.metadata.uid}"])).unwrap();
    let pids = bed.cluster.processes_of_pod(&uid);
    Groups::of(*pids.first().expect("the pod runs"))
}

fn doctor(bed: &Bed) -> String {
    let output = bed.cluster.command(Bed::binary()).arg("doctor").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
