//! The same questions to the API server and to the snapshots that kubewitness makes of its objects.

use std::env;
use std::time::Duration;

use kubewitness::rbac::cluster::{Connection, WatchOptions, load};
use kubewitness::rbac::{Answer, Evidence, Question, Snapshot, Who};
use kubewitness_tests::random::{Random, seed};
use kubewitness_tests::scenarios::Bed;

use crate::api_server::{ApiServer, Review};
use crate::client::{connection, inside};
use crate::followed::Followed;
use crate::random::{Asked, BINDINGS, Objects as _, ROLES};

/// Objects change between rounds.
const ROUNDS: usize = 10;

pub(crate) fn answers_are_those_of_the_api_server(bed: &Bed) {
    let seed = seed();
    let questions = if env::var_os("KUBEWITNESS_LONG").is_some() { 10_000 } else { 500 };
    eprintln!("KUBEWITNESS_SEED={seed} asks the same {questions} questions again");
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let (api_server, connection) = (ApiServer::of(cluster).await, connection(cluster).await);
        let mut followed = Followed::start(&connection, WatchOptions::default());
        let (mut random, mut allowed, mut by_rules) = (Random::new(seed), 0, 0);
        for round in 0..ROUNDS {
            change_objects(&api_server, &mut random, round == 0).await;
            let sentinel = format!("kw-sentinel-{round}");
            api_server.settle(&sentinel).await;
            let loaded = load_all(&connection).await;
            let whole = |known: &Snapshot| known.binding(&sentinel).is_some() && known.role(&sentinel).is_some();
            followed.until("what was put last", |snapshot| snapshot.is_some_and(whole)).await;
            let mirrored = followed.snapshot().expect("it is known");
            for _ in 0..questions / ROUNDS {
                let asked = random.asked();
                let review =
                    api_server.review(asked.user, &asked.groups, asked.verb.as_str(), asked.subresource.as_str(), asked.node).await;
                let context = format!("round {round}, {asked:?}: {review:?}; KUBEWITNESS_SEED={seed}");
                let answer = compare(mirrored, &asked, &review, &context);
                assert_eq!(compare(&loaded, &asked, &review, &context), answer, "{context}");
                allowed += usize::from(review.allowed);
                by_rules += usize::from(matches!(answer, Answer::Allowed(Evidence::Rule(_))));
            }
        }
        eprintln!("{questions} questions, {allowed} allowed, {by_rules} of them by rules, no difference");
        // Questions of which all are refused would compare nothing.
        assert!(by_rules > questions / 20 && allowed < questions * 9 / 10, "{by_rules} and {allowed} of {questions}");
    });
}

/// Each object is left as it is, put anew, changed, or taken away.
async fn change_objects(api_server: &ApiServer, random: &mut Random, all: bool) {
    for number in 0..ROLES {
        let role = random.role(number);
        match random.below(if all { 1 } else { 6 }) {
            0 | 1 => api_server.put(&role).await,
            2 => api_server.delete(&role).await,
            _ => {}
        }
    }
    for number in 0..BINDINGS {
        let binding = random.binding(number);
        match random.below(if all { 1 } else { 4 }) {
            0 | 1 => api_server.put(&binding).await,
            2 => api_server.delete(&binding).await,
            _ => {}
        }
    }
}

async fn load_all(connection: &Connection) -> Snapshot {
    let loaded = load(connection, Duration::from_secs(20)).await.expect("the administrator may read everything");
    assert!(loaded.api_server.starts_with("v1."), "{}", loaded.api_server);
    let nodes = loaded.nodes.expect("the administrator may list nodes");
    assert!(nodes.iter().any(|node| node.name == "node1" && node.kubelet.starts_with("v1.")), "{nodes:?}");
    loaded.snapshot
}

fn compare(snapshot: &Snapshot, asked: &Asked, review: &Review, context: &str) -> Answer {
    let who = Who { user: asked.user, groups: &asked.groups, all_groups_known: true };
    let question = Question { verb: asked.verb, subresource: asked.subresource, node: asked.node };
    let answer = snapshot.may(&who, question);
    match &answer {
        Answer::Allowed(_) => assert!(review.allowed, "{answer:?}, {context}"),
        Answer::NoRule => assert!(!review.allowed, "{answer:?}, {context}"),
        Answer::Unknown(_) => panic!("{answer:?}, {context}"),
    }
    if let Some((binding, role)) = named(&review.reason) {
        let grounds = snapshot.grounds(&who, question);
        assert!(grounds.iter().any(|it| *it.binding == *binding && *it.role == *role), "{grounds:?}, {context}");
    } else if review.allowed {
        assert_eq!(answer, Answer::Allowed(Evidence::Masters), "{context}");
    }
    answer
}

/// The binding and the role in `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
fn named(reason: &str) -> Option<(&str, &str)> {
    let rest = reason.strip_prefix("RBAC: allowed by ClusterRoleBinding \"")?;
    let (binding, rest) = rest.split_once("\" of ClusterRole \"")?;
    Some((binding, rest.split_once("\" to ")?.0))
}
