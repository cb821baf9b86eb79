//! `kubectl exec ds/kubewitness -- kubewitness watch` reads from the agent of the pod.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use kubewitness_tests::{
    chart::{self, AgentPod},
    cluster::Token,
    scenarios::{Bed, annotation},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{INTRUDER, SEEN_WITHIN, attack::exec, installed, intruder, metrics, until};

pub(super) fn reads_from_the_agent(bed: &Bed) {
    let cluster = &bed.cluster;
    let agent = installed(bed);
    intruder(bed);
    let reader = chart::reader(cluster).unwrap();
    watchers(bed, &agent, &reader, 0);
    let who = format!("default/{INTRUDER}");
    let command = ["kubewitness", "watch", "-o", "json", "--findings-only", "--identity", &who];
    let mut watch = cluster.kubectl(["--namespace", chart::NAME, "exec", "daemonset/kubewitness", "--"].iter().chain(&command));
    let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    watchers(bed, &agent, &reader, 1);
    exec(cluster, "watched");
    let event: Value = serde_json::from_str(&lines.next().expect("a line").unwrap()).unwrap();
    assert_eq!((&event["userAgent"], annotation(&event, "findings")), (&Value::from("watched"), "unlogged-exec,verb-bypass"));
    watch.kill().unwrap();
    watch.wait().unwrap();
    // Without a terminal the process in the container does not learn that kubectl is gone.
    for pid in cluster.processes_of_pod(&agent.uid).into_iter().filter(|pid| *pid != agent.pid && is_watch(*pid)) {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("it has a process id");
        // It may have ended meanwhile.
        let _ended = kill_process(process, Signal::INT);
    }
    watchers(bed, &agent, &reader, 0);
}

/// Whether a process is `kubewitness watch`.
fn is_watch(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"kubewitness\0watch\0"))
}

/// Waits until so many watch.
fn watchers(bed: &Bed, agent: &AgentPod, reader: &Token, count: usize) {
    let series = format!("kubewitness_watchers {count}");
    until(&series, SEEN_WITHIN, || metrics(bed, agent, reader)?.lines().any(|line| line == series).then_some(()));
}
