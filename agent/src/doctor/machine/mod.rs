//! The machine that the agent runs on. Only for Linux: elsewhere there is nothing to look at.

mod cost;
mod kernel;
mod kubelet;
mod node;
mod rights;

use std::collections::BTreeSet;

use super::{Finding, Kubelet};
use crate::{
    probe::Way,
    target::{listeners, netns, own_netns, standing},
};

/// What the agent would be asked to watch.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The kubelet's ports.
    pub ports: [u16; 2],
    /// Processes to look at wherever they are.
    pub pids: Vec<u32>,
    /// Where the kubelet keeps its pods' logs.
    pub pod_logs: std::path::PathBuf,
    /// The name of the node that the agent was told.
    pub node_name: Option<String>,
}

/// What was found.
pub struct Machine {
    /// The preconditions, in the order in which they matter.
    pub findings: Vec<Finding>,
    /// How programs would be put on instructions, if there is a way.
    pub attachment: Option<Way>,
    /// Processes that listen on a watched port in a believed network namespace, and those that were named.
    pub kubelets: Vec<Kubelet>,
}

/// Looks. Nothing is attached, and nothing written.
pub fn look(wanted: &Wanted) -> Machine {
    let believed: BTreeSet<u32> = [own_netns().ok(), netns(1).ok()].into_iter().flatten().collect();
    let (mut pids, mut impostors) = (BTreeSet::new(), Vec::new());
    for pid in listeners(&wanted.ports, &believed) {
        match standing(pid) {
            Err(why) if !wanted.pids.contains(&pid) => impostors.push((pid, why)),
            _ => drop(pids.insert(pid)),
        }
    }
    pids.extend(&wanted.pids);
    let way = Way::of_this_kernel();
    let kubelets: Vec<Kubelet> = pids.iter().map(|pid| Kubelet::running(*pid, wanted)).collect();

    let mut findings = kernel::findings(&wanted.ports, &way);
    findings.extend(rights::findings(&way));
    findings.extend(node::findings(wanted, &kubelets));
    findings.push(kubelet::found(&wanted.ports, &pids));
    findings.extend(kubelet::impostors(&impostors));
    Machine { findings, attachment: way.ok(), kubelets }
}
