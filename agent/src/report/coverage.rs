//! What the report rests on: the window, the nodes, and what is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    Cluster, NodeSeen, Note, Observed, Origin, Who,
    words::{Span, counted, some},
};
use crate::kubelet::AccessKind;
use crate::rbac::Doubt;

/// What the report rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// What was read.
    pub source: String,
    /// Where the RBAC objects are from; `None` without them.
    pub rbac: Option<String>,
    /// The first and the last time that is covered.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Requests that were seen.
    pub requests: u64,
    /// The nodes that are known.
    pub nodes: BTreeMap<String, Node>,
    /// What the source said about its input.
    pub notes: Vec<Note>,
    /// What makes it incomplete.
    pub caveats: Vec<Caveat>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// What was seen of it; `None` for a node of the cluster of which nothing was.
    pub seen: Option<NodeSeen>,
    /// Its kubelet's version.
    pub kubelet: Option<String>,
}

/// A reason not to trust a conclusion too far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caveat {
    /// A word for programs.
    pub id: &'static str,
    /// A sentence for people.
    pub text: String,
}

/// A window that is shorter than this misses what is done once a week.
const LONG_ENOUGH: Duration = Duration::from_hours(7 * 24);

impl Coverage {
    pub(super) fn new(observed: &Observed, origin: &Origin, cluster: Option<&Cluster>) -> Self {
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        for (name, seen) in &observed.nodes {
            nodes.insert(name.clone(), Node { seen: Some(seen.clone()), kubelet: seen.kubelet.clone() });
        }
        for (name, version) in cluster.and_then(|cluster| cluster.nodes.as_ref()).into_iter().flatten() {
            let node = nodes.entry(name.clone()).or_default();
            node.kubelet = version.clone().or_else(|| node.kubelet.take());
        }
        let mut coverage = Self {
            source: origin.source.clone(),
            rbac: cluster.map(|cluster| cluster.source.clone()),
            window: observed.window,
            requests: observed.uses.values().sum(),
            nodes,
            notes: observed.notes.clone(),
            caveats: Vec::new(),
        };
        coverage.caveats = coverage.caveats_of(observed, origin, cluster);
        coverage
    }

    /// Says which RBAC objects could not be read whole.
    pub(super) fn doubt(&mut self, doubts: &[Doubt]) {
        let mut objects: Vec<String> = doubts
            .iter()
            .map(|doubt| match doubt {
                Doubt::Binding { binding } => format!("ClusterRoleBinding {binding}"),
                Doubt::Role { role, .. } => format!("ClusterRole {role}"),
            })
            .collect();
        objects.sort();
        objects.dedup();
        if !objects.is_empty() {
            let text = format!("Not read whole, and may give nodes/proxy too: {}.", some(&objects));
            self.caveats.push(Caveat { id: "rbac-unreadable", text });
        }
    }

    /// The nodes of which something was seen.
    pub fn seen(&self) -> impl Iterator<Item = (&str, &NodeSeen)> {
        self.nodes.iter().filter_map(|(name, node)| Some((name.as_str(), node.seen.as_ref()?)))
    }

    /// The nodes of the cluster of which nothing was seen.
    pub fn without_agent(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter(|(_, node)| node.seen.is_none()).map(|(name, _)| name.as_str())
    }

    fn caveats_of(&self, observed: &Observed, origin: &Origin, cluster: Option<&Cluster>) -> Vec<Caveat> {
        let mut caveats = Vec::new();
        let mut caveat = |id, text| caveats.push(Caveat { id, text });
        match self.window {
            None => caveat("nothing-seen", "Nothing was seen: nothing can be concluded.".to_owned()),
            Some(window) if length(window) < LONG_ENOUGH => {
                let length = Span(length(window));
                caveat("short-window", format!("The window is {length} long: what is done more seldom was not seen."));
            }
            Some(_) => {}
        }
        let missing: Vec<&str> = self.without_agent().collect();
        if !missing.is_empty() {
            let text = format!("Of {} of {} nothing was seen: {}.", missing.len(), counted(self.nodes.len(), "node"), some(&missing));
            caveat("nodes-without-agent", text);
        }
        if cluster.is_some_and(|cluster| !cluster.is_whole) {
            caveat("rbac-from-files", "The RBAC objects are from files: what else the cluster grants is not known.".to_owned());
        }
        if cluster.is_none_or(|cluster| cluster.nodes.is_none()) {
            caveat("nodes-unknown", "The cluster's list of nodes was not read: there may be nodes of which nothing was seen.".to_owned());
        }
        self.watching(&mut caveat);
        let partial: u64 = self.seen().map(|(_, node)| node.partial).sum();
        if partial > 0 {
            caveat("partial-requests", format!("Something of {} was not seen.", counted(partial, "request")));
        }
        let omitting: Vec<&str> = self.seen().filter(|(_, node)| node.omits).map(|(name, _)| name).collect();
        if !omitting.is_empty() {
            let nodes = counted(omitting.len(), "node");
            let text = format!(
                "Agents on {nodes} leave events out by their --audit-policy, {}: what was used there and left out needs its rights too, and is missing here. --prometheus counts all.",
                some(&omitting)
            );
            caveat("events-omitted", text);
        }
        let count = |wanted: &dyn Fn(&super::Use) -> bool| -> u64 {
            observed.uses.iter().filter(|(seen, _)| wanted(seen)).map(|(_, count)| count).sum()
        };
        let others = count(&|seen| seen.who == Who::Others);
        if others > 0 {
            let text =
                format!("{} by identities beyond the agents' --max-identities, which are not told apart.", counted(others, "request"));
            caveat("others", text);
        }
        let unknown = count(&|seen| seen.access == AccessKind::Unknown);
        if unknown > 0 {
            caveat("access-unknown", format!("It cannot be told how {} came in, or whether.", counted(unknown, "request")));
        }
        if !origin.api_server_log {
            let text = "No audit log of the API server was read: what goes through its nodes/proxy shows as the API server's own request.";
            caveat("no-api-server-log", text.to_owned());
        }
        caveats
    }

    fn watching(&self, caveat: &mut impl FnMut(&'static str, String)) {
        let unknown = self.seen().filter(|(_, node)| node.watched.is_none()).count();
        if unknown > 0 {
            caveat("watch-time-unknown", format!("It is not told for how long agents watched on {}.", counted(unknown, "node")));
        }
        if let Some(window) = self.window.map(length).filter(|window| !window.is_zero()) {
            let share = |watched: Duration| watched.as_secs_f64() / window.as_secs_f64();
            let gaps = self.seen().filter_map(|(name, node)| Some((share(node.watched?), name))).filter(|(share, _)| *share < 0.99);
            let mut gaps: Vec<(f64, &str)> = gaps.collect();
            gaps.sort_by(|one, other| one.0.total_cmp(&other.0));
            if let Some((least, name)) = gaps.first() {
                let count = counted(gaps.len(), "node");
                caveat("not-watched", format!("Not watched all the time: {count}, {name} the least, with {:.0}%.", least * 100.0));
            }
        }
        let lost: u64 = self.seen().filter_map(|(_, node)| node.lost).sum();
        if lost > 0 {
            let nodes = self.seen().filter(|(_, node)| node.lost.is_some_and(|lost| lost > 0)).count();
            caveat(
                "lost-records",
                format!("Agents on {} lost {}: requests may be missing.", counted(nodes, "node"), counted(lost, "record")),
            );
        }
    }
}

/// How long a window is.
pub(super) fn length((first, last): (Timestamp, Timestamp)) -> Duration {
    Duration::try_from(last.duration_since(first)).unwrap_or_default()
}
