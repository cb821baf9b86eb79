//! The policies and `kubewitness rbac` say the same of random objects.

use std::collections::BTreeSet;

use kubewitness::check::{Kind, Policy, Report};
use kubewitness::judge;
use kubewitness::kubelet::{Subresource, Verb};
use kubewitness::manifest::Objects;
use kubewitness::rbac::{Change, Object, Question, Reach, Role, Snapshot, builtin};
use kubewitness_tests::scenarios::Bed;
use serde_json::Value;

use crate::client::inside;
use crate::lists::usual_list;
use crate::random::{BUILT_IN, OWN, Random};
use crate::server::{As, Server};

/// Roles, changes and bindings, each.
const QUESTIONS: usize = 300;

fn change(object: &Value) -> Change {
    Object::parse(object).expect("an object of RBAC").into_change()
}

fn reaches(role: &Value) -> bool {
    !Reach::of(&Snapshot::of([change(role)]), Subresource::Proxy).unbound.is_empty()
}

/// Answers that are all the same would compare nothing.
fn expect_both(refused: usize) {
    eprintln!("{QUESTIONS} questions, {refused} refused, no difference");
    assert!((QUESTIONS / 20..QUESTIONS * 9 / 10).contains(&refused), "{refused} of {QUESTIONS}");
}

pub(crate) fn random_roles(bed: &Bed) {
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let (server, mut random, mut refused) = (Server::of(cluster).await, Random::new(), 0);
        for _ in 0..QUESTIONS {
            let role = random.role("kw-random");
            let answer = server.would_create(&role).await;
            assert_eq!(answer.verdict(), reaches(&role), "{role}: {answer:?}");
            refused += usize::from(answer.is_refused());
        }
        expect_both(refused);
    });
}

/// A change is refused if somebody with the role gets more of it, and passes if no rule is new. In between, where several rules
/// together gave what one rule gives now, it may be refused.
pub(crate) fn random_changes(bed: &Bed) {
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let (server, mut random, mut refused) = (Server::of(cluster).await, Random::new(), 0);
        for _ in 0..QUESTIONS {
            let old = random.role("kw-random");
            server.put(&old).await;
            let new = random.changed(&old);
            let answer = server.would_replace(&new, As::Administrator).await;
            if !granted(&new).is_subset(&granted(&old)) {
                assert!(answer.verdict(), "{old} to {new}: {answer:?}");
            } else if !rules(&new).is_subset(&rules(&old)) {
                answer.verdict();
            } else {
                assert!(!answer.verdict(), "{old} to {new}: {answer:?}");
            }
            refused += usize::from(answer.is_refused());
        }
        expect_both(refused);
    });
}

/// Which verbs it grants on which nodes: those that rules name, and one that no rule names.
fn granted(role: &Value) -> BTreeSet<(&'static str, &'static str)> {
    let Ok(Object::Role(_, role)) = Object::parse(role) else { panic!("{role} is no role") };
    let allows = |role: &Role, verb, node| role.allowing(Question { verb, subresource: Subresource::Proxy, node }).is_some();
    let verbs = [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::None, Verb::Unknown];
    let pairs = verbs.into_iter().flat_map(|verb| ["node1", "node2", "", "*", "other"].map(|node| (verb, node)));
    pairs.filter(|(verb, node)| allows(&role, *verb, node)).map(|(verb, node)| (verb.as_str(), node)).collect()
}

fn rules(role: &Value) -> BTreeSet<String> {
    role["rules"].as_array().into_iter().flatten().map(ToString::to_string).collect()
}

pub(crate) fn random_bindings(bed: &Bed) {
    let cluster = &bed.cluster;
    let mut known: Vec<_> = BUILT_IN.map(|name| Change::Role(name.into(), builtin::role(name).expect("it is known"))).into();
    let policy = Policy { api_server_users: judge::Policy::API_SERVER_USERS.map(str::to_owned).to_vec(), allow: Vec::new() };
    inside(cluster, async || {
        let (server, mut random, mut refused) = (Server::of(cluster).await, Random::new(), 0);
        usual_list(cluster, &server).await;
        for name in OWN {
            let mut role = server.get(&format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}")).await.body;
            role["kind"] = "ClusterRole".into();
            known.push(change(&role));
        }
        for _ in 0..QUESTIONS {
            let binding = random.binding("kw-random");
            let snapshot = Snapshot::of(known.iter().cloned().chain([change(&binding)]));
            let report = Report::new(&Objects { snapshot, ..Objects::default() }, None, &policy);
            let found = report.findings.iter().any(|finding| finding.binding.is_some() && finding.kind != Kind::Builtin);
            let answer = server.would_create(&binding).await;
            assert_eq!(answer.verdict(), found, "{binding}: {answer:?}");
            refused += usize::from(answer.is_refused());
        }
        expect_both(refused);
    });
}
