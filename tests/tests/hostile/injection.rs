//! What callers choose, in every place where it is shown.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use kubewitness_tests::{
    agent::{Agent, output_of},
    build::PrometheusProgram,
    cluster::{CONTAINER, POD},
    scenarios::Bed,
};
use serde_json::{Value, json};

use super::{impostor::Impostor, raw::Client, receiver::Receiver};

const WITHIN: Duration = Duration::from_secs(20);
/// Ends a label, a line, an attribute and a JSON string; clears the screen in two ways; turns the direction of writing; separates lines.
const HOSTILE: &str =
    "x\"} 1\nkubewitness_fake_total{a=\"\\\r\t\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\u{2028}\u{feff}</td><script>$(id)`%s{{.}}";

pub(crate) fn everywhere(bed: &Bed) {
    let cluster = &bed.cluster;
    let user = format!("user {HOSTILE}");
    let group = format!("group {HOSTILE}");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "hostile"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    });
    cluster.apply(&binding.to_string()).unwrap();
    let client = Client::new(cluster, &user, &[&group]);
    let mut receiver = Receiver::new(&bed.folder.join("receiver"));
    receiver.start(cluster);
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let receiver_config = receiver.kubeconfig();
    let arguments =
        ["--kubernetes-events", "on", "--kubeconfig", &kubeconfig, "--audit-webhook-config-file", &receiver_config, "--log", "debug"];
    let mut agent = bed.agent(&arguments);

    // Raw bytes in a header and an encoded path; the longest target that the kubelet reads; an exec, which is a finding and an Event.
    let head = "Host: x\r\nConnection: close\r\n";
    let mut strange = b"GET /containerLogs/default/we%0ab%1b%5b2J%ff%c2%9b/%22%7d%0a?x=%00&\xff\xfe HTTP/1.1\r\nUser-Agent: \xff\xfe\"}\\\t\xc2\x9b2J\r\n".to_vec();
    strange.extend(format!("{head}\r\n").bytes());
    let long = format!("GET /healthz?{} HTTP/1.1\r\n{head}\r\n", "a".repeat(1_000_000));
    let exec = format!(
        "GET /exec/default/{POD}/{CONTAINER}?command=echo&command=%1b%5b2J%0a%22%c2%9b&output=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: \
         websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
    );
    let raw = b"GET /healthz?\x1b[2J\x9b HTTP/1.1\r\nHost: x\r\n\r\n";
    let statuses = [&strange[..], long.as_bytes(), exec.as_bytes(), &raw[..]].map(|request| client.send(request));
    // Go itself refuses what is no request; the other three reach the kubelet.
    assert_eq!((statuses[1], statuses[2], statuses[3]), (200, 101, 400), "{statuses:?}");
    let of_user = |agent: &Agent| -> Vec<Value> {
        let events = agent.events().unwrap();
        events.into_iter().filter(|event| event["user"]["username"] == user.as_str() && event["stage"] == "ResponseComplete").collect()
    };
    agent.until("three requests are seen", WITHIN, |agent| Ok((of_user(agent).len() >= 3).then_some(()))).unwrap();
    // A process that listens and calls itself something.
    let _impostor = Impostor::spoof(cluster.command("env"), "0.0.0.0:10255", "a\u{1b}[2J\nb\u{9b}");

    let events = of_user(&agent);
    assert!(events.iter().all(|event| event["user"]["groups"].as_array().unwrap().contains(&group.clone().into())), "{events:?}");
    let long = events.iter().find(|event| event["requestURI"].as_str().unwrap().starts_with("/healthz?aaa")).expect("the long one");
    assert!(long["requestURI"].as_str().unwrap().len() <= 4096 && long.to_string().contains("text-cut"), "{}", long["annotations"]);
    inert("events", &fs::read(agent.events_file()).unwrap());

    let page = agent.fetch("/metrics").unwrap();
    inert("metrics", page.as_bytes());
    assert!(page.contains("identity=\"user x\\\"} 1\\\\u000akubewitness_fake_total"), "{page}");
    assert!(!page.lines().any(|line| line.starts_with("kubewitness_fake_total")), "{page}");
    promtool(&page);

    // The receiver writes them in its own way: that they are the same shows that they left whole.
    let arrived = |_: &mut Agent| Ok(events.iter().all(|event| receiver.events().contains(event)).then_some(()));
    agent.until("the webhook's receiver has them", WITHIN, arrived).unwrap();

    let notices = |_: &mut Agent| {
        let list = output_of(&mut cluster.kubectl(["get", "events", "--all-namespaces", "--output=json"]))?;
        let list: Value = serde_json::from_str(&list).unwrap();
        let items = list["items"].as_array().unwrap().clone();
        let own: Vec<_> = items.into_iter().filter(|event| event["source"]["component"] == "kubewitness").collect();
        Ok((!own.is_empty()).then_some(own))
    };
    for notice in agent.until("a Kubernetes Event", WITHIN, notices).unwrap() {
        let message = notice["message"].as_str().unwrap();
        assert!(message.contains("kubewitness_fake_total"), "{message}");
        inert("Event", message.as_bytes());
    }
    inert("log", agent.log().as_bytes());
    assert!(agent.log().contains("is not watched"), "{}", agent.log());

    for form in ["text", "json", "yaml"] {
        let output = Command::new(Bed::binary()).args(["report", "--output", form]).arg(agent.events_file()).output().unwrap();
        assert!(output.status.success(), "{form}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("kubewitness_fake_total"), "{form}");
        inert(form, &[output.stdout, output.stderr].concat());
    }
}

/// Nothing in it that a terminal, an editor or a log viewer would obey, but ends of lines.
fn inert(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    let obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if let Some((at, character)) = text.char_indices().find(|(_, c)| obeyed(*c)) {
        let before: String = text[..at].chars().rev().take(80).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("{what}: {character:?} after {before:?}");
    }
}

fn promtool(page: &str) {
    let program = PrometheusProgram::Promtool.recipe().build().unwrap();
    let mut child = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
