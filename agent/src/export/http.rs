//! `/metrics`, `/healthz` and `/readyz`, in plain HTTP or over TLS.

mod hall;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use self::hall::{Hall, Ticket};
use super::guard::{Guard, Handshake, Tls};
use super::health::{Health, Readiness};

/// Connections at a time that have not asked yet; then the oldest gives way to a new one. Each takes some 30 KiB, over TLS.
const WAITING: usize = 256;

/// Connections at a time that are being answered, each with a page in memory; then the oldest gives way.
const ANSWERED: usize = 32;

/// A client that has not sent its headers by then is cut off.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// A connection, one request each, lasts no longer.
const CONNECTION_WITHIN: Duration = Duration::from_secs(15);

/// What the server shows.
#[derive(Clone)]
pub struct Pages {
    /// For all of them.
    pub health: Arc<Health>,
    /// Who may read the metrics; everybody if there is none. Health is for everybody: the kubelet's probes have no token.
    pub guard: Option<Arc<Guard>>,
}

/// Serves until `shutdown` is done, over TLS if there is a certificate. Requests that are being answered then are not waited for.
pub async fn serve(listener: TcpListener, pages: Pages, tls: Option<Tls>, shutdown: impl Future<Output = ()>) {
    let router = router(pages);
    let hall = Hall::new(WAITING, ANSWERED);
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (router, tls) = (router.clone(), tls.clone());
                    let (ticket, goes) = hall.enter();
                    tokio::spawn(async move {
                        tokio::select! {
                            // A client that is too slow or breaks off is its own business.
                            _ = tokio::time::timeout(CONNECTION_WITHIN, attend(stream, tls, router, &ticket)) => {}
                            _ = goes => {}
                        }
                    });
                    // Whoever connects as fast as it can must not keep those that are here from their turn.
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection for metrics: {error}; trying again in a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
}

async fn attend(stream: TcpStream, tls: Option<Tls>, router: Router, ticket: &Ticket) -> Result<(), hyper::Error> {
    match tls {
        None => answer(stream, router, ticket).await,
        Some(tls) => match tls.accept(stream).await {
            Handshake::Done(stream) => answer(stream, router, ticket).await,
            Handshake::Failed => Ok(()),
        },
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router, ticket: &Ticket) -> Result<(), hyper::Error> {
    let service = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        ticket.asked();
        service.call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "There are /metrics, /healthz and /readyz here, and nothing else.\n") })
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are answered here.\n") })
        .with_state(pages)
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    if let Some(guard) = &pages.guard
        && let Err(refusal) = guard.admit(&headers).await
    {
        return refusal.into_response();
    }
    // Whether the agent is well is found out by asking; the figures follow.
    let _shown = pages.health.readiness();
    match pages.health.metrics().render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("The metrics cannot be shown: {error}.\n")).into_response(),
    }
}

async fn healthz(State(pages): State<Pages>) -> (StatusCode, String) {
    match pages.health.dead() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("start it anew: {why}\n")),
    }
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    match pages.health.readiness() {
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        Readiness::Attached(to) => (StatusCode::OK, format!("attached to {to}\n")),
        Readiness::Waiting(why) => (StatusCode::OK, format!("waiting for a kubelet: {why}\n")),
        Readiness::Blind(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("the kubelet cannot be watched: {why}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    use super::*;
    use crate::export::metrics::Metrics;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Serves in the background while `act` runs with the address and the agent's health.
    fn served(act: impl FnOnce(SocketAddr, Arc<Health>) + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let health = Arc::new(Health::new(Arc::new(Metrics::new("node1", 10).unwrap())));
            let pages = Pages { health: Arc::clone(&health), guard: None };
            let client = tokio::task::spawn_blocking(move || act(address, health));
            serve(listener, pages, None, async { client.await.unwrap() }).await;
        });
    }

    #[test]
    fn pages_and_what_they_say() {
        served(|address, health| {
            let get = |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            let says = |answer: String, status: &str, body: &str| {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with(body), "{answer}");
            };
            says(get("/healthz"), "200", "ok\n");
            says(get("/readyz"), "503", "starting\n");
            health.watches(Readiness::Waiting("nothing listens on 10250".into()), Vec::new());
            says(get("/readyz"), "200", "waiting for a kubelet: nothing listens on 10250\n");
            health.watches(Readiness::Blind("no check site".into()), Vec::new());
            says(get("/readyz"), "503", "the kubelet cannot be watched: no check site\n");
            health.watches(Readiness::Attached("kubelet v1.36.3, pid 77".into()), Vec::new());
            says(get("/readyz"), "200", "attached to kubelet v1.36.3, pid 77\n");
            says(get("/nothing"), "404", "and nothing else.\n");
            says(ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), "405", "answered here.\n");
            let metrics = get("/metrics");
            assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
            assert!(metrics.contains("kubewitness_attached 0\n"), "{metrics}");
        });
    }

    #[test]
    fn nonsense_and_silence_are_cut_off() {
        served(|address, _| {
            assert!(ask(address, "\0\0\0\r\n\r\n").starts_with("HTTP/1.1 400"));
            let start = std::time::Instant::now();
            let answer = ask(address, "GET /metrics HTTP/1.1\r\n");
            assert!(!answer.contains("kubewitness"), "{answer}");
            assert!(start.elapsed() >= HEADERS_WITHIN && start.elapsed() < CONNECTION_WITHIN, "{:?}", start.elapsed());
        });
    }
}
