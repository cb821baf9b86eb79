//! Which kubelets honour a new role.

use super::{Coverage, Release};
use crate::kubelet::Endpoint;

/// The oldest kubelet that honours a role, and the nodes that are older.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    /// The oldest release; `None` if every supported one does.
    pub needs: Option<Release>,
    /// Whether [`Release::WITH_GATE`] does too, where `KubeletFineGrainedAuthz` is turned on.
    pub gate_is_enough: bool,
    /// Nodes whose kubelets do not, by name, with their version.
    pub too_old: Vec<(String, String)>,
    /// Nodes whose kubelets do if the gate is on, which is not known.
    pub with_gate: Vec<(String, String)>,
    /// Nodes whose version is not known.
    pub unknown: Vec<String>,
}

/// What a set of endpoints needs; of few kinds, so that what was concluded about thousands of nodes is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    release: Option<Release>,
    gate_is_enough: bool,
}

impl Need {
    pub(super) fn of<'a>(endpoints: impl Iterator<Item = &'a Endpoint> + Clone) -> Self {
        let release = endpoints.clone().filter_map(Release::first_with_right_for).max();
        let mut newer = endpoints.filter(|endpoint| Release::first_with_right_for(endpoint) > Some(Release::WITH_GATE));
        Self { release, gate_is_enough: release == Some(Release::FINE_GRAINED) && newer.all(Release::gate_is_enough_for) }
    }
}

impl Upgrade {
    /// What is needed, compared with the nodes that are known: a workload may come to any of them.
    pub(super) fn of(need: Need, coverage: &Coverage) -> Self {
        let Need { release, gate_is_enough } = need;
        let Some(needs) = release else { return Self::default() };
        let mut upgrade = Self { needs: release, gate_is_enough, ..Self::default() };
        for (name, node) in &coverage.nodes {
            let version = node.kubelet.as_deref();
            match version.and_then(Release::parse) {
                None => upgrade.unknown.push(name.clone()),
                Some(release) if release >= needs => {}
                Some(release) => {
                    let nodes = if gate_is_enough && release == Release::WITH_GATE { &mut upgrade.with_gate } else { &mut upgrade.too_old };
                    nodes.push((name.clone(), version.unwrap_or_default().to_owned()));
                }
            }
        }
        upgrade
    }

    /// Whether some nodes must be upgraded, or their gate turned on, before `nodes/proxy` can go.
    pub fn is_needed(&self) -> bool {
        !self.too_old.is_empty() || !self.with_gate.is_empty()
    }
}
