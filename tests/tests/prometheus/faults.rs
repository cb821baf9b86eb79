//! Servers that misbehave, and mistakes in the options: each is told apart, and the message says what to do.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use kubewitness::report::prometheus::{PrometheusError, observe};
use kubewitness_tests::prometheus::Prometheus;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    END, folder, note, options,
    server::{Asked, Deed, Server},
};

const NOTHING: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

/// One agent that runs through, and nothing that it counted.
fn sound(asked: &Asked) -> String {
    let text = format!("{}{}", asked.target, asked.body);
    let labels = r#""job":"a","instance":"b""#;
    let row = if text.contains("last_over_time%28kubewitness_build_info") {
        format!(r#"{{"metric":{{{labels},"node":"n"}},"value":[{END},"1"]}}"#)
    } else if text.contains("query=process_start_time_seconds+and") {
        format!(r#"{{"metric":{{{labels}}},"value":[{END},"1700000000"]}}"#)
    } else {
        String::new()
    };
    NOTHING.replace("[]", &format!("[{row}]"))
}

fn fails(deed: impl Fn(&Asked, usize) -> Deed + Send + Sync + 'static, more: &[&str]) -> (PrometheusError, usize) {
    let server = Server::start(deed);
    let error = observe(&options(&server.url(), 3600, more)).unwrap_err();
    (error, server.asked())
}

#[test]
fn what_a_server_does_wrong_is_told() {
    const JSON: &str = "200 OK\r\nContent-Type: application/json";
    let answer = |head: &'static str, body: &'static str| move |_: &Asked, _: usize| Deed::Answer(head, body.to_owned());
    for (head, body, words, asked) in [
        ("404 Not Found", "<h1>404 page not found</h1>", "add it to the address", 1),
        ("401 Unauthorized", "", "--prometheus-bearer-token-file", 1),
        ("403 Forbidden", "no such tenant\u{1b}[2J", "(403): no such tenant [2J", 1),
        ("302 Found\r\nLocation: https://login.example/", "", "sends us on to https://login.example/", 1),
        (JSON, "<html>hello</html>", "is not of a Prometheus API: expected value at line 1", 1),
        (JSON, r#"{"status":"success","data":{"resultType":"scalar","result":1}}"#, "is not of a Prometheus API", 1),
        (JSON, NOTHING, "no series kubewitness_build_info", 7),
        (
            "400 Bad Request",
            r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            "parse error; is --prometheus-selector well-formed",
            1,
        ),
        (
            "422 Unprocessable Entity",
            r#"{"status":"error","errorType":"execution","error":"too many samples"}"#,
            "too many samples; ask for less",
            1,
        ),
        (
            "503 Service Unavailable",
            r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#,
            "query timed out; ask for less",
            1,
        ),
        ("503 Service Unavailable", "overloaded", "refused to tell the agents (503): overloaded", 3),
        ("429 Too Many Requests\r\nRetry-After: 0", "slow down", "(429): slow down", 3),
        ("429 Too Many Requests\r\nRetry-After: 3600", "come back later", "(429): come back later", 1),
    ] {
        let (error, requests) = fails(answer(head, body), &[]);
        let error = error.to_string();
        assert!(error.contains(words), "{head}: {error}");
        assert!(!error.contains('\u{1b}'), "{head}: {error}");
        assert_eq!(requests, asked, "{head}: {error}");
    }
}

#[test]
fn a_server_that_breaks_off_or_hangs_is_given_up() {
    let (error, _) = fails(|_, _| Deed::Cut(r#"{"status":"success","data":{"resultType":"vector","result":["#), &[]);
    assert!(matches!(error, PrometheusError::Cut { .. }), "{error}");
    let begun = Instant::now();
    let (error, _) = fails(|_, _| Deed::Hang, &["--prometheus-timeout", "300ms"]);
    assert!(matches!(error, PrometheusError::Timeout { .. }), "{error}");
    let (error, _) = fails(|_, _| Deed::Hang, &["--prometheus-deadline", "300ms"]);
    assert!(matches!(error, PrometheusError::Deadline { .. }), "{error}");
    // All but the first request hang.
    let (error, _) = fails(
        |asked, count| if count == 0 { Deed::Answer("200 OK", sound(asked)) } else { Deed::Hang },
        &["--prometheus-timeout", "300ms"],
    );
    assert!(matches!(error, PrometheusError::Timeout { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = observe(&options(&format!("http://{closed}"), 60, &[])).unwrap_err();
    assert!(error.to_string().contains("is it the address of Prometheus"), "{error}");
}

#[test]
fn servers_that_are_slow_to_serve_or_take_no_post_are_asked_again() {
    let server = Server::start(|asked, count| match asked.method.as_str() {
        "POST" => Deed::Answer("405 Method Not Allowed", String::new()),
        _ if count < 3 => Deed::Answer("503 Service Unavailable\r\nRetry-After: 0", String::new()),
        _ => {
            assert!(asked.target.starts_with("/select/0/prometheus/api/v1/query"), "{}", asked.target);
            Deed::Answer("200 OK", sound(asked))
        }
    });
    let observed = observe(&options(&format!("{}/select/0/prometheus/", server.url()), 3600, &[])).unwrap();
    assert_eq!(observed.nodes.keys().collect::<Vec<_>>(), ["n"]);
}

#[test]
fn what_a_server_warns_of_reaches_the_reader() {
    let remark = |text: &'static str| {
        let server = Server::start(move |asked, _| Deed::Answer("200 OK", sound(asked).replace(r#""data""#, &format!(r#"{text},"data""#))));
        observe(&options(&server.url(), 3600, &[])).unwrap()
    };
    let thanos = remark(r#""warnings":["store \u001b is gone"]"#);
    assert_eq!(note(&thanos, "server-warning"), Some(21), "one for each question: {:?}", thanos.notes);
    assert!(thanos.notes.iter().any(|note| note.text.ends_with("store   is gone")), "{:?}", thanos.notes);
    assert!(note(&remark(r#""isPartial":true"#), "partial-answer").is_some());
    assert_eq!(remark(r#""isPartial":false"#).notes, []);
}

#[test]
fn mistakes_in_the_options_are_told() {
    let missing = folder("options").join("missing");
    let missing = missing.to_str().unwrap();
    for (url, more, words) in [
        ("http://me:hunter2@127.0.0.1:9", &[][..], "use --prometheus-user and --prometheus-password-file"),
        ("http://127.0.0.1:9/?x=y", &[], "without a query"),
        ("http://127.0.0.1:9", &["--prometheus-bearer-token-file", missing], "the token file"),
        ("http://127.0.0.1:9", &["--prometheus-ca-file", missing], "the CA file"),
        ("http://127.0.0.1:9", &["--prometheus-bearer-token", "hunter2\n"], "characters that cannot be sent"),
        ("http://127.0.0.1:9", &["--prometheus-header", "a b: hunter2"], "is no name of a header"),
    ] {
        let error = observe(&options(url, 60, more)).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
    }
}

/// Prometheus' own TLS, client certificates and passwords (exporter-toolkit's `web-config.yml`).
#[test]
fn the_way_through_tls_and_passwords() {
    let folder = folder("tls");
    certificates(&folder);
    // The hash of `test` in Prometheus' documentation of basic authentication.
    let web = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\nbasic_auth_users:\n  admin: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n";
    fs::write(folder.join("web.yml"), web).unwrap();
    fs::write(folder.join("right"), "test\n").unwrap();
    fs::write(folder.join("wrong"), "hunter2\n").unwrap();
    let server = Prometheus::start(&folder, "global: {}", &[&format!("--web.config.file={}", folder.join("web.yml").display())]).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (ca, certificate, key, right, wrong) = (path("ca.crt"), path("client.crt"), path("client.key"), path("right"), path("wrong"));
    let trusting = ["--prometheus-ca-file", &ca];
    let known = [&trusting[..], &["--prometheus-cert-file", &certificate, "--prometheus-key-file", &key]].concat();
    let asked = |scheme: &str, more: &[&str]| observe(&options(&format!("{scheme}://{}", server.address()), 60, more)).unwrap_err();

    for more in [&[][..], &trusting] {
        let error = asked("https", more);
        assert!(matches!(error, PrometheusError::Tls { .. }), "{error:?}");
    }
    let error = asked("http", &known);
    assert!(matches!(error, PrometheusError::Refused { status: 400, .. }), "{error:?}");
    for more in [&[][..], &["--prometheus-user", "admin", "--prometheus-password-file", &wrong]] {
        let error = asked("https", &[&known, more].concat());
        assert!(matches!(error, PrometheusError::Unauthorized { .. }), "{error:?}");
    }
    let error = asked("https", &[&known[..], &["--prometheus-user", "admin", "--prometheus-password-file", &right]].concat());
    assert!(matches!(error, PrometheusError::NoAgents), "it was let in, and there is nothing: {error:?}");
}

fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
