//! The HTTP side: one server, asked politely.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use reqwest::{
    Certificate, Identity, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use tokio::{sync::mpsc, time};

use super::{
    PrometheusError, Secret,
    answer::{self, AnswerError, Fold, Remarks},
    queries::{Question, When},
};
use crate::causes::in_one_line;

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its address, with the prefix below which it has `/api/v1`.
    pub url: Url,
    /// Who asks.
    pub credentials: Credentials,
    /// PEM file of the certificates that are trusted; those of the system if not given.
    pub ca: Option<PathBuf>,
    /// PEM files of the certificate that is shown to the server, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Sent with every request, such as `X-Scope-OrgID` for Mimir.
    pub headers: Vec<(String, Secret)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long all of them together may take.
    pub deadline: Duration,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nobody in particular.
    None,
    /// The bearer of a token.
    Bearer(Secret),
    /// The bearer of the token in a file.
    BearerFile(PathBuf),
    /// Somebody with a password.
    Basic(String, Secret),
    /// Somebody with the password in a file.
    BasicFile(String, PathBuf),
}

/// Requests to a server are tried so often where it is overloaded or starting.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; doubled before the third.
const BACKOFF: Duration = Duration::from_millis(500);
/// A server that wants a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Bytes of one answer, unpacked. It is folded while it arrives, so this bounds time, not memory.
const LARGEST_ANSWER: u64 = 512 << 20;
/// Bytes of an error's page that are read.
const LARGEST_EXCUSE: usize = 64 << 10;

/// A server and the way to it.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    /// Without files: they have been read.
    credentials: Credentials,
    timeout: Duration,
    deadline: Duration,
    until: Instant,
    /// Set by the first 405: this server, or the proxy before it, takes no POST.
    get: AtomicBool,
}

impl Client {
    /// Reads the files that the connection names.
    pub(super) fn new(connection: &Connection) -> Result<Self, PrometheusError> {
        let (url, credentials) = (address(&connection.url)?, read_secrets(&connection.credentials)?);
        let mut headers = HeaderMap::new();
        for (name, value) in &connection.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| {
                PrometheusError::Options(format!("--prometheus-header: `{name}` is no name of a header; write 'Name: value'"))
            })?;
            headers.append(name, sensitive(value.reveal(), "the value of --prometheus-header")?);
        }
        // An earlier part of the program may have installed it.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("kubewitness/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(Policy::none())
            .connect_timeout(connection.timeout);
        if let Some(path) = &connection.ca {
            let pem = file("the CA file", path)?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(content("the CA file", path))?;
            if certificates.is_empty() {
                return Err(PrometheusError::Content {
                    what: "the CA file",
                    path: path.clone(),
                    why: "there is no PEM certificate in it".to_owned(),
                });
            }
            http = http.tls_certs_only(certificates);
        }
        if let Some((certificate, key)) = &connection.certificate {
            let mut pem = file("the client's certificate", certificate)?;
            pem.push(b'\n');
            pem.extend(file("the client's key", key)?);
            http = http.identity(Identity::from_pem(&pem).map_err(content("the client's certificate or key", certificate))?);
        }
        let http =
            http.build().map_err(|error| PrometheusError::Options(format!("no HTTP client can be made: {}", in_one_line(&error))))?;
        let (timeout, deadline) = (connection.timeout, connection.deadline);
        Ok(Self { http, url, credentials, timeout, deadline, until: Instant::now() + deadline, get: AtomicBool::new(false) })
    }

    /// Asks, and folds the answer.
    pub(super) async fn ask<F: Fold>(&self, question: &Question) -> Result<(F, Remarks), PrometheusError> {
        let mut attempt = 1;
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let late = if left < self.timeout {
                PrometheusError::Deadline { what: question.what, within: self.deadline }
            } else {
                PrometheusError::Timeout { what: question.what, within: self.timeout }
            };
            let Ok(answered) = time::timeout(self.timeout.min(left), self.attempt(question)).await else { return Err(late) };
            match answered? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Busy { pause, error } => {
                    let pause = pause.unwrap_or(BACKOFF * (1 << (attempt - 1)));
                    if attempt == ATTEMPTS || pause > LONGEST_PAUSE.min(left) {
                        return Err(error);
                    }
                    attempt += 1;
                    time::sleep(pause).await;
                }
                Attempt::WithGet => self.get.store(true, Ordering::Relaxed),
            }
        }
    }

    async fn attempt<F: Fold>(&self, question: &Question) -> Result<Attempt<F>, PrometheusError> {
        let get = self.get.load(Ordering::Relaxed);
        let response = self.send(question, get).await.map_err(|error| self.unreached(&error))?;
        let status = response.status();
        if status.is_success() {
            return self.fold(question, response).await.map(Attempt::Done);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED && !get {
            return Ok(Attempt::WithGet);
        }
        let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let location = response.headers().get(LOCATION).map(|to| printable(&String::from_utf8_lossy(to.as_bytes())));
        let excuse = Excuse::read(response).await;
        let url = self.url.to_string();
        Err(match status.as_u16() {
            300..=399 => PrometheusError::Redirected { url, to: location.unwrap_or_else(|| "nowhere".to_owned()) },
            401 => PrometheusError::Unauthorized { url },
            403 => PrometheusError::Forbidden { url, said: excuse.said },
            // Prometheus answers 404 with an error of its own where it knows the path.
            404 if excuse.kind.is_none() => PrometheusError::NotFound { url },
            code => {
                let hint = match excuse.kind.as_deref() {
                    Some("bad_data") => "; is --prometheus-selector well-formed, such as 'cluster=\"x\"'?",
                    Some("timeout" | "canceled" | "execution") | None if code != 400 => {
                        "; ask for less with --window or --prometheus-selector, or raise the server's limits"
                    }
                    _ => "",
                };
                let busy = (status.is_server_error() || code == 429) && !matches!(excuse.kind.as_deref(), Some("timeout" | "canceled"));
                let error = PrometheusError::Refused { what: question.what, status: code, said: excuse.said, hint };
                if busy {
                    return Ok(Attempt::Busy { pause, error });
                }
                error
            }
        })
    }

    async fn send(&self, question: &Question, get: bool) -> reqwest::Result<Response> {
        let (path, mut form) = match question.when {
            When::At(at) => ("query", vec![("time", seconds(at))]),
            When::Looks(looks) => {
                ("query_range", vec![("start", seconds(looks.first())), ("end", seconds(looks.end)), ("step", seconds(looks.step))])
            }
        };
        form.push(("query", question.expression.clone()));
        // The server stops as well when nobody waits any more.
        form.push(("timeout", format!("{}ms", self.timeout.as_millis())));
        let mut url = self.url.clone();
        url.set_path(&format!("{}/api/v1/{path}", self.url.path().trim_end_matches('/')));
        let request = if get { self.http.get(url).query(&form) } else { self.http.post(url).form(&form) };
        let request = match &self.credentials {
            Credentials::Bearer(token) => request.bearer_auth(token.reveal()),
            Credentials::Basic(user, password) => request.basic_auth(user, Some(password.reveal())),
            Credentials::None | Credentials::BearerFile(_) | Credentials::BasicFile(..) => request,
        };
        request.send().await.map_err(reqwest::Error::without_url)
    }

    /// Reads the answer on another thread while it arrives, so that it is never in memory as a whole.
    async fn fold<F: Fold>(&self, question: &Question, mut response: Response) -> Result<(F, Remarks), PrometheusError> {
        let (chunks, arriving) = mpsc::channel(16);
        let reader = tokio::task::spawn_blocking(move || {
            answer::read::<F>(io::BufReader::with_capacity(64 << 10, Body { arriving, chunk: Bytes::new() }))
        });
        let mut size = 0;
        let mut broken = None;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    size += chunk.len() as u64;
                    if size > LARGEST_ANSWER {
                        return Err(PrometheusError::TooLarge { what: question.what, mib: LARGEST_ANSWER >> 20 });
                    }
                    // The reader has gone where the answer is not what it should be, and tells why.
                    if chunks.send(chunk).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    broken = Some(in_one_line(&error.without_url()));
                    break;
                }
            }
        }
        drop(chunks);
        let read =
            reader.await.map_err(|error| PrometheusError::System { what: "the thread that reads answers ended", source: error.into() })?;
        let what = question.what;
        read.map_err(|error| match (error, broken) {
            (AnswerError::Server { kind, message }, _) => {
                PrometheusError::Refused { what, status: 200, said: printable(&format!("{kind}: {message}")), hint: "" }
            }
            (AnswerError::Cut(_), Some(why)) => PrometheusError::Cut { what, why },
            (AnswerError::Cut(error), None) => PrometheusError::Cut { what, why: error.to_string() },
            (AnswerError::Form(error), _) => {
                PrometheusError::NotPrometheus { url: self.url.to_string(), why: printable(&error.to_string()) }
            }
        })
    }

    fn unreached(&self, error: &reqwest::Error) -> PrometheusError {
        let (url, why) = (self.url.to_string(), in_one_line(error));
        if is_of_tls(error) { PrometheusError::Tls { url, why } } else { PrometheusError::Connect { url, why } }
    }
}

enum Attempt<F> {
    Done((F, Remarks)),
    /// It may go better in a moment.
    Busy {
        pause: Option<Duration>,
        error: PrometheusError,
    },
    /// Not with POST.
    WithGet,
}

/// What a server says with an error status.
struct Excuse {
    /// `errorType`, if it speaks as Prometheus does.
    kind: Option<String>,
    said: String,
}

impl Excuse {
    async fn read(mut response: Response) -> Self {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(LARGEST_EXCUSE - body.len())]);
            if body.len() == LARGEST_EXCUSE {
                break;
            }
        }
        match answer::read::<Vec<answer::Row>>(body.as_slice()) {
            Err(AnswerError::Server { kind, message }) => Self { said: printable(&format!("{kind}: {message}")), kind: Some(kind) },
            _ => Self { kind: None, said: printable(&String::from_utf8_lossy(&body)) },
        }
    }
}

/// The body as it arrives; its end is that of the channel.
struct Body {
    arriving: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let Some(chunk) = self.arriving.blocking_recv() else { return Ok(0) };
            self.chunk = chunk;
        }
        let size = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..size]);
        Ok(size)
    }
}

/// The address, if it is one of a server and shows no password to others.
fn address(url: &Url) -> Result<Url, PrometheusError> {
    if !url.username().is_empty() || url.password().is_some() {
        let what = "--prometheus: no user and password in the address, where others can read them: use --prometheus-user and --prometheus-password-file";
        return Err(PrometheusError::Options(what.to_owned()));
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() || url.fragment().is_some() {
        let how = "write http://HOST[:PORT][/PREFIX] or https://…, without a query";
        return Err(PrometheusError::Options(format!("--prometheus: {url} is no address of a server: {how}")));
    }
    Ok(url.clone())
}

/// The credentials with what their files hold.
fn read_secrets(credentials: &Credentials) -> Result<Credentials, PrometheusError> {
    let of_file = |what, path: &Path| file(what, path).map(|bytes| Secret::of_file(&String::from_utf8_lossy(&bytes)));
    let read = match credentials {
        Credentials::BearerFile(path) => Credentials::Bearer(of_file("the token file", path)?),
        Credentials::BasicFile(user, path) => Credentials::Basic(user.clone(), of_file("the password file", path)?),
        known => known.clone(),
    };
    if let Credentials::Bearer(token) = &read {
        sensitive(token.reveal(), "the token")?;
    }
    Ok(read)
}

fn sensitive(text: &str, what: &str) -> Result<HeaderValue, PrometheusError> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| PrometheusError::Options(format!("{what} has characters that cannot be sent")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn file(what: &'static str, path: &Path) -> Result<Vec<u8>, PrometheusError> {
    fs::read(path).map_err(|source| PrometheusError::File { what, path: path.to_owned(), source })
}

fn content(what: &'static str, path: &Path) -> impl FnOnce(reqwest::Error) -> PrometheusError {
    let path = path.to_owned();
    move |error| PrometheusError::Content { what, path, why: in_one_line(&error) }
}

/// Whether TLS is behind an error. An `io::Error` does not tell what it wraps as its `source`, and here one wraps another.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_of_tls(inner)) || error.source().is_some_and(is_of_tls)
}

/// The beginning of what a server said, without what a terminal obeys.
fn printable(text: &str) -> String {
    let clean: String = text.trim().chars().take(300).map(|character| if character.is_control() { ' ' } else { character }).collect();
    if clean.is_empty() { "without a word".to_owned() } else { clean }
}

fn seconds(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000))
}
