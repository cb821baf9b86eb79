//! The watch beside API servers that behave as few do. On a real one: `tests/tests/rbac`.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use kubewitness::rbac::cluster::{ConnectError, ConnectOptions, Connection, WatchOptions, load, watch};
use kubewitness::rbac::{Kind, Mirror, Update};
use serde_json::{Value, json};

const OPTIONS: WatchOptions = WatchOptions {
    jitter: Duration::ZERO,
    silence: Duration::from_secs(5),
    answer: Duration::from_millis(500),
    rest: (Duration::from_millis(20), Duration::from_millis(100)),
};

/// A request for `ClusterRole`s, by how many there were before; other kinds are listed empty.
type Script = fn(request: &str, before: usize) -> Response;

#[tokio::test]
async fn a_server_that_cannot_stream_lists_is_asked_for_its_cached_list() {
    let mut followed = Followed::of(|request, before| match before {
        0 => (StatusCode::UNPROCESSABLE_ENTITY, status(422, "sendInitialEvents is forbidden")).into_response(),
        1 if request.contains("resourceVersion=0") && !request.contains("watch=true") => list("7", &[role("a"), role("b")]),
        2 if request.contains("resourceVersion=7") && request.contains("watch=true") => events(&[
            json!({"type": "MODIFIED", "object": {"metadata": {"name": "b", "resourceVersion": "8"}, "rules": []}}),
            json!({"type": "ADDED", "object": {"metadata": {"name": "c", "resourceVersion": "9"}, "rules": role("c")["rules"]}}),
        ]),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    })
    .await;
    followed.until(|mirror| roles(mirror) == ["a", "c"]).await;
    assert_eq!((followed.lost, followed.requests()), (0, 3));
}

#[tokio::test]
async fn a_streamed_list_goes_on_as_a_watch() {
    let mut followed = Followed::of(|request, before| match before {
        0 if request.contains("sendInitialEvents=true") && request.contains("resourceVersion=0") => events(&[
            added("a"),
            added("b"),
            listed(),
            json!({"type": "DELETED", "object": {"metadata": {"name": "a", "resourceVersion": "8"}}}),
        ]),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    })
    .await;
    followed.until(|mirror| roles(mirror) == ["b"]).await;
    assert_eq!((followed.lost, followed.requests()), (0, 1));
}

#[tokio::test]
async fn a_version_that_is_gone_is_no_loss() {
    let mut followed = Followed::of(|_, before| match before {
        0 => events(&[
            added("a"),
            listed(),
            json!({"type": "ERROR", "object": serde_json::from_str::<Value>(&status(410, "too old")).unwrap()}),
        ]),
        1 => (StatusCode::GONE, status(410, "too old")).into_response(),
        _ => events(&[added("b"), listed()]),
    })
    .await;
    followed.until(|mirror| roles(mirror) == ["b"]).await;
    assert_eq!(followed.lost, 0);
}

#[tokio::test]
async fn answers_that_are_none_are_tried_again_with_rests() {
    let mut followed = Followed::of(|_, before| match before {
        0..3 => "<html>Welcome to the captive portal</html>".into_response(),
        3 => events(&[json!({"type": "ADDED", "object": {"metadata": {}}})]),
        4 => (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
        _ => events(&[added("a"), listed()]),
    })
    .await;
    followed.until(|mirror| roles(mirror) == ["a"]).await;
    assert_eq!(followed.lost, 0, "what was never known is not lost");
}

#[tokio::test]
async fn malformed_objects_are_kept_as_such() {
    let mut followed = Followed::of(|_, _| {
        let odd = json!({"type": "ADDED", "object": {"metadata": {"name": "odd"}, "rules": [{"verbs": 7, "apiGroups": [""], "resources": ["*"]}]}});
        events(&[added("a"), odd, listed()])
    })
    .await;
    followed.until(|mirror| roles(mirror) == ["a", "odd"]).await;
    let known = followed.mirror.snapshot().expect("both kinds are listed");
    assert_eq!(["a", "odd"].map(|name| known.role(name).expect("it is there").malformed), [false, true]);
}

#[tokio::test]
async fn a_server_that_never_says_that_a_list_is_whole_is_asked_for_lists() {
    let mut followed = Followed::of(|request, _| {
        if request.contains("sendInitialEvents") {
            return events(&[added("a")]);
        }
        if request.contains("watch=true") { events(&[]) } else { list("7", &[role("a")]) }
    })
    .await;
    followed.until(|mirror| roles(mirror) == ["a"]).await;
}

#[tokio::test]
async fn a_server_that_ends_every_watch_is_not_asked_all_the_time() {
    let mut followed = Followed::of(|request, _| {
        let ended = [added("a"), listed()].map(|event| format!("{event}\n")).concat();
        if request.contains("sendInitialEvents") { ended.into_response() } else { "".into_response() }
    })
    .await;
    followed.until(|mirror| roles(mirror) == ["a"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!((2..9).contains(&followed.requests()), "{} requests in 3 s", followed.requests());
    assert_eq!(followed.lost, 0);
}

#[tokio::test]
async fn a_full_channel_is_waited_for() {
    let mut followed = Followed::of(|_, _| {
        let all: Vec<_> = (0..40).map(|number| added(&format!("r{number:02}"))).chain([listed()]).collect();
        events(&all)
    })
    .await;
    // Nobody takes anything, and nothing is lost or listed again for it.
    tokio::time::sleep(OPTIONS.answer * 3).await;
    followed.until(|mirror| roles(mirror).len() == 40).await;
    assert_eq!((followed.lost, followed.requests()), (0, 1));
}

#[tokio::test]
async fn it_ends_when_nobody_receives_any_more() {
    let server = Server::of(|_, _| events(&[added("a"), listed()])).await;
    let connection = server.connection().await;
    let (sender, updates) = sync_channel(1);
    drop(updates);
    tokio::time::timeout(Duration::from_secs(5), watch(&connection, OPTIONS, sender)).await.expect("it ends");
}

#[tokio::test]
async fn lists_are_loaded_page_by_page() {
    let server = Server::of(|request, before| match before {
        0 if request.contains("limit=500") && !request.contains("resourceVersion") => {
            json!({"metadata": {"resourceVersion": "7", "continue": "there"}, "items": [role("a")]}).to_string().into_response()
        }
        1 if request.contains("continue=there") => list("7", &[role("b")]),
        _ => StatusCode::IM_A_TEAPOT.into_response(),
    })
    .await;
    let loaded = load(&server.connection().await, Duration::from_secs(5)).await.expect("it can be loaded");
    let mut names: Vec<_> = loaded.snapshot.roles().map(|(name, _)| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((loaded.nodes.expect("it may list nodes").len(), loaded.api_server.as_str()), (2, "v1.36.3"));
}

#[tokio::test]
async fn what_is_no_kubeconfig_is_told_with_what_to_do() {
    let folder = folder("no-kubeconfig");
    for (file, content, expected) in [
        ("absent", None, "No such file"),
        ("text", Some("]["), "parse"),
        ("empty", Some("{}"), "context"),
        ("other", Some(r#"{"current-context": "a", "contexts": [], "clusters": [], "users": []}"#), "context"),
    ] {
        let path = folder.join(file);
        if let Some(content) = content {
            fs::write(&path, content).expect("the folder is there");
        }
        let options = ConnectOptions { kubeconfig: Some(path.clone()), context: None };
        let error = Connection::open(options).await.expect_err(file);
        let text = error.to_string();
        assert!(matches!(error, ConnectError::Kubeconfig { .. }), "{text}");
        assert!(text.contains(&path.display().to_string()) && text.contains(expected) && text.contains("--kubeconfig"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

/// An API server.
struct Server {
    address: std::net::SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn of(script: Script) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let router = Router::new().fallback(async move |uri: Uri| match uri.path() {
            "/apis/rbac.authorization.k8s.io/v1/clusterroles" => script(&uri.to_string(), count.fetch_add(1, Ordering::Relaxed)),
            "/version" => json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}).to_string().into_response(),
            "/api/v1/nodes" => list("1", &[json!({"metadata": {"name": "n1"}, "status": {"nodeInfo": {"kubeletVersion": "v1.36.3"}}}), json!({"metadata": {"name": "n2"}})]),
            _ if uri.to_string().contains("watch=true") => events(&[listed()]),
            _ => list("1", &[]),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, requests }
    }

    async fn connection(&self) -> Connection {
        let file = folder("rbac-watch").join(self.address.port().to_string());
        let content = json!({
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        });
        fs::write(&file, content.to_string()).expect("the folder is there");
        Connection::open(ConnectOptions { kubeconfig: Some(file), context: None }).await.expect("a kubeconfig")
    }
}

/// A watch and what it told.
struct Followed {
    server: Server,
    mirror: Mirror,
    updates: Receiver<Update>,
    lost: u32,
}

impl Followed {
    async fn of(script: Script) -> Self {
        let server = Server::of(script).await;
        let connection = server.connection().await;
        let (sender, updates) = sync_channel(4);
        tokio::spawn(async move { watch(&connection, OPTIONS, sender).await });
        Self { server, mirror: Mirror::default(), updates, lost: 0 }
    }

    async fn until(&mut self, so: impl Fn(&Mirror) -> bool) {
        let begun = Instant::now();
        while !so(&self.mirror) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", self.mirror);
            for update in self.updates.try_iter() {
                self.lost += u32::from(update == Update::Lost(Kind::ClusterRole));
                self.mirror.take(update);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn requests(&self) -> usize {
        self.server.requests.load(Ordering::Relaxed)
    }
}

/// The names of the roles, sorted; empty while they are not known.
fn roles(mirror: &Mirror) -> Vec<String> {
    let mut names: Vec<_> = mirror.snapshot().into_iter().flat_map(|known| known.roles().map(|(name, _)| name.to_string())).collect();
    names.sort();
    names
}

fn role(name: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "5"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/proxy"]}]})
}

fn added(name: &str) -> Value {
    json!({"type": "ADDED", "object": role(name)})
}

fn listed() -> Value {
    let metadata = json!({"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}});
    json!({"type": "BOOKMARK", "object": {"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata}})
}

/// A watch that tells this and stays open.
fn events(events: &[Value]) -> Response {
    let lines: Vec<_> = events.iter().map(|event| Ok::<_, Infallible>(Bytes::from(format!("{event}\n")))).collect();
    Body::from_stream(stream::iter(lines).chain(stream::pending())).into_response()
}

fn list(version: &str, items: &[Value]) -> Response {
    json!({"metadata": {"resourceVersion": version}, "items": items}).to_string().into_response()
}

fn status(code: u16, message: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}).to_string()
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder for tests");
    folder
}
