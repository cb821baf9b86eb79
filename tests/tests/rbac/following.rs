//! The watch, through what happens to an API server.

use std::fs;
use std::time::Duration;

use kubewitness::rbac::Snapshot;
use kubewitness::rbac::cluster::{ConnectOptions, Connection, RequestError, WatchOptions, load};
use kubewitness_tests::cluster::Cluster;
use kubewitness_tests::scenarios::Bed;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::client::{connection, inside};
use crate::followed::Followed;

/// So impatient that a test can wait for it.
const IMPATIENT: WatchOptions = WatchOptions {
    jitter: Duration::ZERO,
    silence: Duration::from_secs(2),
    answer: Duration::from_secs(3),
    rest: (Duration::from_millis(200), Duration::from_secs(1)),
};

pub(crate) fn changes_arrive(bed: &Bed) {
    let cluster = &bed.cluster;
    inside(cluster, async || {
        let (api_server, connection) = (ApiServer::of(cluster).await, connection(cluster).await);
        let mut followed = Followed::start(&connection, IMPATIENT);
        followed.until("everything is listed", |snapshot| snapshot.is_some()).await;
        let admins = followed.snapshot().and_then(|known| known.binding("cluster-admin")).expect("every cluster has it");
        assert_eq!(admins.role.as_deref(), Some("cluster-admin"));

        api_server.put(&role("kw-follow", "nodes/proxy")).await;
        api_server.put(&binding("kw-follow", "jane")).await;
        let words = |known: &Snapshot| known.role("kw-follow").map(|role| role.rules[0].subresources.words());
        let of_role = |snapshot: Option<&Snapshot>| snapshot.and_then(words).unwrap_or_default();
        let took = followed.until("the role", |snapshot| of_role(snapshot) == ["nodes/proxy"]).await;
        eprintln!("a new role is known after {took:?}");
        followed.until("the binding", |snapshot| snapshot.is_some_and(|known| known.binding("kw-follow").is_some())).await;

        // Longer than the watch lets pass in silence: it is begun anew where it was, and nothing is lost.
        followed.for_a_while(IMPATIENT.silence * 3).await;
        api_server.change(&role("kw-follow", "nodes/metrics")).await;
        followed.until("the changed role", |snapshot| of_role(snapshot) == ["nodes/metrics"]).await;
        api_server.change(&role("kw-follow", "pods")).await;
        followed.until("the role without nodes", |snapshot| snapshot.is_some_and(|known| known.role("kw-follow").is_none())).await;
        api_server.delete(&binding("kw-follow", "jane")).await;
        followed.until("no binding", |snapshot| snapshot.is_some_and(|known| known.binding("kw-follow").is_none())).await;
        assert_eq!(followed.lost, 0);
    });
    // Its lists came from the cache (version 0), streamed.
    let log = fs::read_to_string(cluster.audit_log()).expect("the API server writes it");
    for kind in ["clusterroles", "clusterrolebindings"] {
        let streamed = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            let uri = event["requestURI"].as_str().unwrap_or_default();
            uri.contains(&format!("/{kind}?"))
                && ["sendInitialEvents=true", "resourceVersion=0"].iter().all(|word| uri.contains(word))
                && event["responseStatus"]["code"] == 200
        };
        assert!(log.lines().any(streamed), "{kind} are not streamed");
    }
}

pub(crate) fn without_rights_nothing_is_known_until_they_are_given(bed: &Bed) {
    let cluster = &bed.cluster;
    cluster.service_account("kw-watcher").expect("a ServiceAccount");
    let token = cluster.token("kw-watcher", None).expect("a token");
    let file = bed.folder.join("watcher.kubeconfig");
    fs::write(&file, kubeconfig(cluster, token.expose()).to_string()).expect("the folder is the scenarios' own");
    inside(cluster, async || {
        let options = ConnectOptions { kubeconfig: Some(file), context: Some("watcher".to_owned()) };
        let (api_server, connection) = (ApiServer::of(cluster).await, Connection::open(options).await.expect("a kubeconfig"));
        let refused = load(&connection, Duration::from_secs(10)).await.expect_err("it may not");
        assert!(matches!(refused, RequestError::Forbidden { .. }), "{refused}");
        assert!(refused.to_string().contains("bind a ClusterRole with the verbs list and watch on clusterroles"), "{refused}");

        let mut followed = Followed::start(&connection, IMPATIENT);
        followed.for_a_while(Duration::from_secs(3)).await;
        assert!(followed.snapshot().is_none());
        for object in rights() {
            api_server.put(&object).await;
        }
        followed.until("everything is listed", |snapshot| snapshot.is_some()).await;
        // Nodes it may not list, and that is no reason to fail.
        let loaded = load(&connection, Duration::from_secs(10)).await.expect("it may now");
        assert_eq!(loaded.nodes, None);
        assert!(loaded.snapshot.binding("cluster-admin").is_some());
    });
}

pub(crate) fn a_paused_api_server_is_missed(bed: &Bed) {
    missed(&bed.cluster, Cluster::pause_api_server, Cluster::resume_api_server);
}

pub(crate) fn a_killed_api_server_is_missed(bed: &Bed) {
    missed(
        &bed.cluster,
        |cluster| cluster.kill_api_server().expect("it can be killed"),
        |cluster| cluster.start_api_server().expect("it comes back"),
    );
}

fn missed(cluster: &Cluster, stop: fn(&Cluster), go_on: fn(&Cluster)) {
    inside(cluster, async || {
        let connection = connection(cluster).await;
        let mut followed = Followed::start(&connection, IMPATIENT);
        followed.until("everything is listed", |snapshot| snapshot.is_some()).await;
        stop(cluster);
        let took = followed.until("it is missed", |snapshot| snapshot.is_none()).await;
        eprintln!("missed after {took:?}");
        assert!(took < IMPATIENT.silence + IMPATIENT.answer + Duration::from_secs(3), "{took:?}");
        assert!(followed.lost > 0);
        go_on(cluster);
        let took = followed.until("it is listed again", |snapshot| snapshot.is_some()).await;
        eprintln!("known again after {took:?}");
        let api_server = ApiServer::of(cluster).await;
        api_server.put(&binding("kw-after", "jane")).await;
        followed.until("what came later", |snapshot| snapshot.is_some_and(|known| known.binding("kw-after").is_some())).await;
        api_server.delete(&binding("kw-after", "jane")).await;
    });
}

fn role(name: &str, resource: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}],
    })
}

fn binding(name: &str, user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user}],
    })
}

/// What an agent needs.
fn rights() -> [Value; 2] {
    let mut role = role("kw-watcher", "");
    role["rules"] = json!([{
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles", "clusterrolebindings"],
        "verbs": ["list", "watch"],
    }]);
    [role, binding("kw-watcher", "system:serviceaccount:default:kw-watcher")]
}

fn kubeconfig(cluster: &Cluster, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{}:6443", cluster.address()), "certificate-authority": cluster.ca()}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "watcher", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "nowhere",
    })
}
