//! What is sent, and what is made of answers.

use std::{fs, path::Path};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::export::webhook::testing::{Folder, Server, status};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn post(receiver: &mut Receiver) -> Result<(), ReceiverError> {
    runtime().block_on(receiver.post(Bytes::from_static(b"{}")))
}

#[test]
fn requests_are_those_of_the_api_server() {
    let server = Server::start(|_, _| status("200 OK"));
    let folder = Folder::new();
    fs::write(folder.0.join("token"), "from-a-file\n").unwrap();
    for (path, user, authorization) in [
        ("/audit", json!({}), None),
        ("/audit/?tenant=a&b=c", json!({"token": "secret"}), Some("authorization: bearer secret")),
        ("", json!({"tokenFile": "token"}), Some("authorization: bearer from-a-file")),
        ("/k8s-audit", json!({"username": "me", "password": "pass"}), Some("authorization: basic bwu6cgfzcw==")),
    ] {
        let kubeconfig = folder.kubeconfig(&format!("http://{}{path}", server.address), &user);
        post(&mut Receiver::new(kubeconfig)).unwrap();
        let asked = server.asked.recv().unwrap();
        let target = if path.is_empty() { "/" } else { path };
        assert_eq!((asked.line, asked.body.as_str()), (format!("POST {target} HTTP/1.1"), "{}"));
        let has = |header: &str| asked.headers.iter().any(|have| have.starts_with(header));
        assert!(has("content-type: application/json") && has("user-agent: kubewitness/"), "{:?}", asked.headers);
        assert_eq!(asked.headers.iter().find(|header| header.starts_with("authorization")).map(String::as_str), authorization);
    }
}

#[test]
fn credentials_are_read_again_after_a_failure() {
    let server = Server::start(|_, asked| {
        let known = asked.headers.iter().any(|header| header == "authorization: bearer new");
        status(if known { "204 No Content" } else { "401 Unauthorized" })
    });
    let folder = Folder::new();
    let (address, token) = (format!("http://{}", server.address), folder.0.join("token"));
    fs::write(&token, "old").unwrap();
    let mut receiver = Receiver::new(folder.kubeconfig(&address, &json!({"tokenFile": "token"})));
    assert!(post(&mut receiver).is_err());
    fs::write(&token, "new\n").unwrap();
    post(&mut receiver).unwrap();
    // A token that has ended, and was renewed.
    runtime().block_on(async {
        fs::write(&token, "old").unwrap();
        receiver.way = Some(receiver.find().await.unwrap());
        fs::write(&token, "new").unwrap();
        receiver.post(Bytes::new()).await.unwrap();
    });
    fs::remove_file(&token).unwrap();
    let error = runtime().block_on(receiver.check()).unwrap_err().to_string();
    assert!(error.starts_with("the token file ") && error.contains("/token cannot be read"), "{error}");

    let mut receiver = Receiver::new(folder.kubeconfig(&address, &json!({"token": "old"})));
    assert!(post(&mut receiver).is_err());
    folder.kubeconfig(&address, &json!({"token": "new"}));
    post(&mut receiver).unwrap();
}

#[test]
fn each_status_means_something() {
    let folder = Folder::new();
    for (line, answer, rest, said) in [
        ("200 OK", Answer::Taken, None, ""),
        ("202 Accepted", Answer::Taken, None, ""),
        ("204 No Content", Answer::Taken, None, ""),
        ("400 Bad Request", Answer::Refused, None, "EventList"),
        ("413 Payload Too Large", Answer::Refused, None, "--audit-webhook-batch-max-size"),
        ("422 Unprocessable Entity", Answer::Refused, None, "EventList"),
        ("403 Forbidden", Answer::Refused, None, "takes an event for an attack"),
        ("401 Unauthorized", Answer::Unwell, None, "renew the credentials"),
        ("404 Not Found", Answer::Unwell, None, "the right path"),
        ("429 Too Many Requests\r\nRetry-After: 7", Answer::Unwell, Some(7), "overloaded"),
        ("503 Service Unavailable\r\nRetry-After: soon", Answer::Unwell, None, "overloaded"),
        ("500 Internal Server Error", Answer::Unwell, None, "its own log"),
        ("302 Found\r\nLocation: http://elsewhere.example/steal?key=1", Answer::Unwell, None, "elsewhere (elsewhere.example)"),
        ("307 Temporary Redirect", Answer::Unwell, None, "not followed"),
    ] {
        let server = Server::start(move |_, _| status(line));
        let shown = format!("http://{}/audit", server.address);
        let result = post(&mut Receiver::new(folder.kubeconfig(&format!("{shown}?key=hunter2"), &json!({"token": "hunter2"}))));
        assert_eq!(result.as_ref().map_or_else(ReceiverError::answer, |()| Answer::Taken), answer, "{line}");
        assert_eq!(server.asked.iter().take(1).count(), 1);
        assert!(server.asked.try_recv().is_err(), "it is asked once");
        if let Err(error) = result {
            assert_eq!(error.rest(), rest.map(Duration::from_secs), "{line}");
            let text = error.to_string();
            assert!(text.starts_with(&shown) && text.contains(said), "{text}");
            assert!(!format!("{text}{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}

#[test]
fn no_answer_is_no_success() {
    let folder = Folder::new();
    let cases: [(&'static str, &str); 2] = [("", "has not answered within 0 s"), ("nonsense\r\n\r\n", "cannot be reached")];
    for (answer, said) in cases {
        let server = Server::start(move |_, _| answer.to_owned());
        let kubeconfig = folder.kubeconfig(&format!("http://{}/", server.address), &json!({}));
        let mut receiver = Receiver { within: Duration::from_millis(500), ..Receiver::new(kubeconfig) };
        let error = post(&mut receiver).unwrap_err();
        assert!(error.answer() == Answer::Unwell && error.to_string().contains(said), "{error}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = post(&mut Receiver::new(folder.kubeconfig(&format!("https://{closed}/"), &json!({})))).unwrap_err().to_string();
    assert!(error.starts_with(&format!("https://{closed}/ cannot be reached: ")) && error.contains("refused"), "{error}");
}

#[test]
fn an_answer_that_does_not_end_is_an_answer() {
    let folder = Folder::new();
    let server = Server::start(|_, _| format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", "x".repeat(100_000)));
    post(&mut Receiver::new(folder.kubeconfig(&format!("http://{}/", server.address), &json!({})))).unwrap();
}

#[test]
fn a_kubeconfig_that_leads_nowhere_is_told_at_once() {
    let folder = Folder::new();
    let check = |path: &Path| runtime().block_on(Receiver::new(path.to_owned()).check()).map_err(|error| error.to_string());
    check(&folder.kubeconfig("https://receiver.example/audit", &json!({"token": "hunter2"}))).unwrap();
    let missing = check(&folder.0.join("missing")).unwrap_err();
    assert!(missing.contains("missing: ") && missing.contains("--audit-webhook-config-file"), "{missing}");
    for (server, said) in [
        ("https://me:hunter2@receiver.example/audit", "the server https://receiver.example/audit cannot be used: write the user"),
        ("ftp://receiver.example/", "write https://HOST"),
        ("receiver.example:443", "write https://HOST"),
    ] {
        let error = check(&folder.kubeconfig(server, &json!({}))).unwrap_err();
        assert!(error.contains(said) && !error.contains("hunter2"), "{error}");
    }
    for broken in ["clusters: [", "users:\n- name: u\n  user: {token: hunter2\nclusters: hunter2\n", "token: hunter2\n token: [hunter2"] {
        fs::write(folder.0.join("kubeconfig"), broken).unwrap();
        let error = check(&folder.0.join("kubeconfig")).unwrap_err();
        assert!(error.contains("it cannot be parsed as a kubeconfig") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn commands_give_credentials_and_are_not_quoted() {
    let server = Server::start(|_, _| status("200 OK"));
    let folder = Folder::new();
    let credential = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"of-a-command"}}"#;
    let run = |script: &str| {
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", script],
            "env": [{"name": "KEY", "value": "hunter2"}], "interactiveMode": "Never",
        });
        let user = json!({"exec": exec});
        post(&mut Receiver::new(folder.kubeconfig(&format!("http://{}/", server.address), &user))).map_err(|error| error.to_string())
    };
    run(&format!("echo '{credential}'")).unwrap();
    assert!(server.asked.recv().unwrap().headers.contains(&"authorization: bearer of-a-command".to_owned()));
    for script in ["echo hunter2; exit 3", "echo hunter2: [", "echo '{\"status\": \"hunter2\"}'"] {
        let error = run(script).unwrap_err();
        assert!(error.contains("command") && !error.contains("hunter2"), "{error}");
    }
}
