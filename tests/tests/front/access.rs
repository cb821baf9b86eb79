//! `--metrics-auth kubernetes`: who may read the metrics, by a real API server's word.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use kubewitness_tests::{cluster::Token, prometheus::Prometheus, scenarios::Bed};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{client::Client, entitle, events, reader, start, until};

/// How long an answer lasts that allows; one that does not lasts as long here.
const CACHE: Duration = Duration::from_secs(3);
/// From a change of the RBAC objects to an API server that goes by it.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// From an API server that is back to an Event: the agent rests for longer and longer.
const EVENTS_WITHIN: Duration = Duration::from_secs(30);
const GUARDED: [&str; 6] = ["--metrics-auth", "kubernetes", "--metrics-auth-cache", "3", "--log", "trace"];

pub(crate) fn those_who_may(bed: &Bed) {
    let client = Client::of(&bed.cluster, 9464);
    let (good, poor) = (reader(bed, "prometheus"), bed.identity("nobody", &[], &[]));
    let agent = start(bed, &client, &GUARDED);

    assert_eq!(client.get("/healthz", None).unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(client.get("/metrics", None).unwrap().0, 401);
    let plain = client.plain().unwrap();
    assert!(plain.starts_with("HTTP/1.0 400") && plain.ends_with("ask with https://.\n"), "{plain}");

    let (status, body) = client.metrics(&good);
    assert_eq!(status, 500, "the agent may not ask yet: {body}");
    for right in ["tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"] {
        assert!(body.contains(right), "{body}");
    }
    assert!(agent.log().contains("does not allow to create tokenreviews.authentication.k8s.io (403"), "{}", agent.log());

    entitle(bed);
    let (_, body) = until("the reader is let in", KNOWN_WITHIN, || Some(client.metrics(&good)).filter(|(status, _)| *status == 200));
    assert!(body.contains("kubewitness_attached 1\n"), "{body}");
    let (status, body) = client.metrics(&poor);
    assert_eq!(status, 403, "{body}");
    assert!(body.starts_with("system:serviceaccount:default:nobody may not get /metrics"), "{body}");
    let mut forged = good.expose().to_owned();
    forged.replace_range(forged.len() - 10.., "AAAAAAAAAA");
    for bad in ["nonsense", forged.as_str()] {
        assert_eq!(client.get("/metrics", Some(bad)).unwrap().0, 401);
    }
    assert_eq!(client.metrics(&good).0, 200);

    for (whose, token) in [("reader", good.expose()), ("nobody", poor.expose()), ("forged", forged.as_str())] {
        let signature = &token.as_bytes()[token.len() - 30..];
        assert!(memchr::memmem::find(agent.log().as_bytes(), signature).is_none(), "the {whose}'s token is in the agent's log");
    }
}

pub(crate) fn answers_last(bed: &Bed) {
    let client = Client::of(&bed.cluster, 9464);
    let good = reader(bed, "prometheus");
    entitle(bed);
    let intruder = events::intruder(bed);
    let agent = start(bed, &client, &[&GUARDED[..], &["--kubernetes-events", "on"]].concat());
    assert_eq!(events::debug(bed, &intruder), Some(200));
    let asked = Instant::now();
    assert_eq!(client.metrics(&good).0, 200);
    assert!(bed.cluster.kubectl(["delete", "clusterrolebinding", "prometheus"]).output().unwrap().status.success());
    let status = client.metrics(&good).0;
    // A busy machine may take longer for all that.
    assert!(status == 200 || asked.elapsed() > CACHE, "what was allowed lasts: {status}");
    until("the right is gone", CACHE + KNOWN_WITHIN, || (client.metrics(&good).0 == 403).then_some(()));
    assert!(asked.elapsed() >= CACHE, "it was asked anew too early");
    reader(bed, "prometheus");
    until("the right is back", CACHE + KNOWN_WITHIN, || (client.metrics(&good).0 == 200).then_some(()));

    bed.cluster.kill_api_server().unwrap();
    assert_eq!(client.metrics(&good).0, 200, "it is remembered, for it was asked a moment ago");
    // The kubelet remembers, too, who the intruder is.
    assert_eq!(events::debug(bed, &intruder), Some(200));
    let asked = || Some(client.metrics(&good)).filter(|(status, _)| *status != 200);
    let (status, body) = until("it is forgotten", CACHE + KNOWN_WITHIN, asked);
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("it cannot be reached"), "{body}");
    assert_eq!(client.get("/healthz", None).unwrap().0, 200);
    assert_eq!(client.get("/readyz", None).unwrap().0, 200);
    until("an Event is tried", KNOWN_WITHIN, || agent.log().contains("Kubernetes Events cannot be written").then_some(()));
    bed.cluster.start_api_server().unwrap();
    until("it is asked again", KNOWN_WITHIN, || (client.metrics(&good).0 == 200).then_some(()));
    let written = || client.metrics(&good).1.contains("kubewitness_events_written_total{sink=\"kubernetes\"} 2\n").then_some(());
    until("the Event is written, too", EVENTS_WITHIN, written);
    assert!(client.metrics(&good).1.contains("kubewitness_events_dropped_total{sink=\"kubernetes\"} 0\n"));
}

pub(crate) fn prometheus(bed: &Bed) {
    let good = reader(bed, "prometheus");
    entitle(bed);
    let folder = bed.folder.join("certificates");
    fs::create_dir_all(&folder).unwrap();
    let authority = authority();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    serving(&folder, &authority);
    let [certificate, key] = ["tls.crt", "tls.key"].map(|file| folder.join(file).display().to_string());
    let (signed, by_itself) = (Client::of(&bed.cluster, 9464), Client::of(&bed.cluster, 9465));
    let files = ["--metrics-tls-cert-file", &certificate, "--metrics-tls-key-file", &key];
    let _first = start(bed, &signed, &[&GUARDED[..], &files[..]].concat());
    let _second = start(bed, &by_itself, &[&GUARDED[..], &["--metrics-listen", "127.0.0.1:9465"]].concat());

    fs::write(folder.join("token"), good.expose()).unwrap();
    let config = CONFIG.replace("FOLDER", &folder.display().to_string());
    let mut server = Prometheus::start_in(&bed.cluster, &bed.folder.join("prometheus"), &config, &[]).unwrap();
    until("both are scraped", Duration::from_secs(20), || (server.ask("kubewitness_attached == 1").unwrap().len() == 2).then_some(()));

    let before = signed.certificate();
    serving(&folder, &authority);
    until("the new certificate is served", Duration::from_secs(5), || (signed.certificate() != before).then_some(()));
    server.scraped_since(unix_time(), Duration::from_secs(20)).unwrap();
}

/// As in docs/metrics.md, but for the targets.
const CONFIG: &str = "\
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: kubewitness
    scheme: https
    authorization: {credentials_file: FOLDER/token}
    tls_config: {ca_file: FOLDER/ca.crt, server_name: kubewitness.example}
    static_configs: [{targets: ['127.0.0.1:9464']}]
  - job_name: kubewitness-self-signed
    scheme: https
    authorization: {credentials_file: FOLDER/token}
    tls_config: {insecure_skip_verify: true}
    static_configs: [{targets: ['127.0.0.1:9465']}]
";

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

/// Puts a new certificate and its key into the folder, one after the other.
fn serving(folder: &Path, authority: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["kubewitness.example".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

fn unix_time() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Prints what scrapes cost: of tokens that are not known yet, of one that is, and without authentication and TLS.
pub(crate) fn cost(bed: &Bed) {
    let client = Client::of(&bed.cluster, 9465);
    let warm = reader(bed, "prometheus");
    entitle(bed);
    let cold: Vec<Token> = (0..15).map(|_| bed.cluster.token("prometheus", None).unwrap()).collect();
    let guarded = start(bed, &client, &["--metrics-auth", "kubernetes", "--metrics-listen", "127.0.0.1:9465"]);
    let open = bed.agent(&[]);
    until("the reader is let in", KNOWN_WITHIN, || (client.metrics(&warm).0 == 200).then_some(()));
    let scrape = |token: &Token| {
        let begun = Instant::now();
        assert_eq!(client.metrics(token).0, 200);
        begun.elapsed()
    };
    eprintln!("cold, two reviews: {}", spread(cold.iter().map(scrape).collect()));
    eprintln!("warm, remembered: {}", spread((0..100).map(|_| scrape(&warm)).collect()));
    let plain = || {
        let begun = Instant::now();
        open.fetch("/metrics").unwrap();
        begun.elapsed()
    };
    eprintln!("plain HTTP, nobody asked: {}", spread((0..100).map(|_| plain()).collect()));
    drop(guarded);
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    format!("median {:.1} ms, {:.1} to {:.1} ms, {} scrapes", at(50), at(0), at(100), times.len())
}
