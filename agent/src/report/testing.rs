//! Observations and clusters for the tests of this module.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Cluster, Example, Found, IdentitySeen, NodeSeen, Observed, Origin, Report, Use, Who};
use crate::judge::{Finding, Policy};
use crate::kubelet::{AccessKind, Endpoint, Verb};
use crate::rbac::{Object, Snapshot, Subject};

/// A `ServiceAccount` of the namespace `mon`.
pub(crate) fn sa(name: &str) -> String {
    format!("system:serviceaccount:mon:{name}")
}

pub(crate) fn origin() -> Origin {
    let api_server_users = Policy::API_SERVER_USERS.map(str::to_owned).to_vec();
    Origin { source: "3 files of events".to_owned(), api_server_log: true, api_server_users }
}

/// Observations in the making: nine days on nodes `n1` and `n2`, watched all the time.
#[derive(Clone, Debug)]
pub(crate) struct Scene(pub(crate) Observed);

impl Scene {
    pub(crate) fn new() -> Self {
        let mut observed = Observed::default();
        let window = ("2026-11-01T00:00:00Z".parse().unwrap(), "2026-11-10T00:00:00Z".parse().unwrap());
        observed.window = Some(window);
        for name in ["n1", "n2"] {
            let watched = Some(Duration::from_hours(9 * 24));
            let node = NodeSeen { seen: Some(window), requests: 1, lost: Some(0), watched, ..NodeSeen::default() };
            observed.nodes.insert(name.to_owned(), node);
        }
        Self(observed)
    }

    pub(crate) fn used(mut self, user: &str, endpoint: Endpoint, access: AccessKind, verb: Verb, count: u64) -> Self {
        let who = Who::User(user.to_owned());
        self.0.uses.insert(Use { who: who.clone(), endpoint, access, verb }, count);
        self.0.identities.entry(who).or_default().nodes.insert("n1".to_owned());
        self
    }

    pub(crate) fn known(mut self, user: &str, change: impl FnOnce(&mut IdentitySeen)) -> Self {
        change(self.0.identities.entry(Who::User(user.to_owned())).or_default());
        self
    }

    pub(crate) fn found(mut self, user: &str, finding: Finding, count: u64) -> Self {
        let example = Example {
            time: "2026-11-02T03:04:05.678Z".parse().unwrap(),
            node: "n1".to_owned(),
            audit_id: "0c1d6a51-0000-4000-8000-000000000001".to_owned(),
            request: "GET /exec/default/web/main?command=id".to_owned(),
            source_ip: "10.0.0.7".to_owned(),
            event: None,
        };
        self.0.findings.insert((finding, Who::User(user.to_owned())), Found { count, examples: vec![example] });
        self
    }

    pub(crate) fn report(&self, cluster: Option<&Cluster>) -> Report {
        Report::new(&self.0, &origin(), cluster)
    }
}

/// A cluster with these objects and the nodes `n1` and `n2` of this version.
pub(crate) fn cluster(version: &str, objects: &[Value]) -> Cluster {
    let changes = objects.iter().map(|object| Object::parse(object).unwrap().into_change());
    let nodes: BTreeMap<_, _> = ["n1", "n2"].map(|name| (name.to_owned(), Some(version.to_owned()))).into();
    Cluster { source: "the cluster".to_owned(), snapshot: Snapshot::of(changes), is_whole: true, nodes: Some(nodes) }
}

pub(crate) fn role(name: &str, rules: &[(&[&str], &[&str])]) -> Value {
    let rules: Vec<Value> =
        rules.iter().map(|(resources, verbs)| json!({"apiGroups": [""], "resources": resources, "verbs": verbs})).collect();
    json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

pub(crate) fn binding(name: &str, role: &str, subjects: &[Subject]) -> Value {
    let subject = |subject: &Subject| match subject.as_service_account() {
        Some((namespace, name)) => json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}),
        None => json!({"kind": subject.kind.as_str(), "name": &*subject.name}),
    };
    let subjects: Vec<Value> = subjects.iter().map(subject).collect();
    json!({"kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects})
}
