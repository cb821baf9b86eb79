//! How the commands behave towards whoever types them: one sentence for each mistake, nearest names, and an end at once.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A folder of its own, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kubewitness-manners-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> &Self {
        fs::write(self.0.join(name), content).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// The command without whatever the environment says of clusters and of itself.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubewitness"));
    command.args(arguments).current_dir(folder).env_clear().env("HOME", folder).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    )
}

#[test]
fn each_mistake_gets_one_sentence_without_the_parts_of_libraries() {
    let folder = Folder::new("mistakes");
    folder.file("bad.yaml", "not: [valid").file("junk", "hello").file("refused", &kubeconfig("https://127.0.0.1:1"));
    folder.file("no-context", "{}").file("bad-server", &kubeconfig("ht!tp://x"));
    fs::create_dir(folder.0.join("empty")).unwrap();
    for (arguments, status, says) in [
        (&["report", "absent"][..], 1, "cannot read absent: No such file"),
        (&["report", "empty"], 1, "empty holds no files"),
        (&["report", "--prometheus", "http://127.0.0.1:1"], 1, "no connection to http://127.0.0.1:1/: Connection refused"),
        (&["report", "--prometheus", "https://127.0.0.1:1", "--prometheus-ca-file", "junk"], 1, "no PEM certificate"),
        (&["report", "junk", "--rbac-from", "absent"], 1, "absent cannot be read"),
        (&["report", "junk", "--rbac", "cluster"], 1, "no cluster is named: use --kubeconfig FILE"),
        (&["rbac"], 1, "let its ServiceAccount's token be mounted"),
        (&["rbac", "empty"], 1, "empty holds no *.yaml"),
        (&["rbac", "-"], 1, "standard input was empty"),
        (&["rbac", "--kubeconfig", "absent"], 1, "absent: it cannot be read: No such file"),
        (&["rbac", "--kubeconfig", "bad.yaml"], 1, "it cannot be parsed as a kubeconfig"),
        (&["rbac", "--kubeconfig", "no-context"], 1, "it has no current-context"),
        (&["rbac", "--kubeconfig", "refused", "--context", "b"], 1, "it has no context b"),
        (&["rbac", "--kubeconfig", "bad-server"], 1, "cluster url"),
        (&["rbac", "--kubeconfig", "refused"], 1, "the API server cannot be reached: Connection refused"),
        (&["doctor", "--kubelet-file", "absent"], 1, "cannot read absent"),
        (&["run", "--events", "absent/x"], 1, "cannot open absent/x for events"),
        (&["run", "--audit-policy", "bad.yaml", "--events", "/dev/null"], 1, "the audit policy bad.yaml:1"),
        (&["run", "--audit-webhook-config-file", "absent"], 1, "absent: it cannot be read: No such file"),
        (&["run", "--metrics-tls-cert-file", "junk", "--metrics-tls-key-file", "junk"], 1, "there is no certificate in it"),
    ] {
        let output = command(&folder.0, arguments).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(says) && said.starts_with("kubewitness: ") && said.trim_end().lines().count() == 1, "{arguments:?}: {said}");
        for part in ["Error {", "Some(", "ServiceError", "client error", "source:", "panicked", "\\\""] {
            assert!(!said.contains(part), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn wrong_usage_says_what_to_write() {
    let folder = Folder::new("usage");
    folder.file(
        "role.yaml",
        "kind: ClusterRole\nmetadata: {name: reader}\nrules: [{apiGroups: [''], resources: [nodes/proxy], verbs: [get]}]\n",
    );
    for (arguments, says) in [
        (&["rport"][..], "'report'"),
        (&["report"], "there is nothing to report on"),
        (&["report", "--promethus", "x"], "'--prometheus'"),
        (&["report", "--prometheus", "server"], "write http:// or https://"),
        (&["report", "x", "--rbac", "clster"], "'cluster'"),
        (&["report", "x", "--until", "yesterday"], "write a time such as"),
        (&["report", "x", "--window", "30days"], "write 30s"),
        (&["report", "-", "-"], "Usage: kubewitness report"),
        (&["run", "--event", "x"], "'--events'"),
        (&["run", "--metrics-listen", "localhost:9464"], "write an IP address and a port"),
        (&["run", "--events-max-size", "10MB"], "such as 100Mi"),
        (&["run", "--log", "inof"], "did you mean info?"),
        (&["run", "--kubelet-url", "node:10250"], "use https://"),
        (&["doctor", "-o", "jsn"], "'json'"),
        (&["completions", "fsh"], "'fish'"),
    ] {
        let output = command(&folder.0, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(says) && output.stdout.is_empty(), "{arguments:?}: {}", said(&output));
    }
    let output = command(&folder.0, &["rbac", "role.yaml", "--allow", "Clusterrole:reader"]).output().unwrap();
    assert!(said(&output).contains("did you mean ClusterRole:reader?"), "{}", said(&output));
    let output = command(&folder.0, &["rbac", "role.yaml"]).env("KUBEWITNESS_FAILON", "info").output().unwrap();
    assert!(said(&output).contains("did you mean KUBEWITNESS_FAIL_ON?"), "{}", said(&output));
}

/// The command as a shell in a terminal starts it. What a script starts in the background is told to ignore Ctrl-C, and does; whoever runs
/// these tests may be.
fn in_front(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_kubewitness")]).args(arguments);
    command.current_dir(folder).env_clear().env("HOME", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Long after the command has begun to wait, and sooner than it would end by itself.
fn ends_at_once(mut child: Child) {
    thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it waits");
    let begun = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(1) {
            child.kill().unwrap();
            panic!("it goes on");
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.signal(), Some(2), "a shell sees that it was Ctrl-C");
}

#[test]
fn ctrl_c_ends_what_waits_for_input() {
    let folder = Folder::new("input");
    for arguments in [&["report", "-"][..], &["rbac", "-"]] {
        let mut child = in_front(&folder.0, arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"kind: x\n").unwrap();
        ends_at_once(child);
    }
}

#[test]
fn ctrl_c_ends_what_waits_for_a_network() {
    let folder = Folder::new("network");
    // Nobody accepts, and the kernel takes the connections all the same.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    folder.file("silent", &kubeconfig(&server));
    for arguments in [&["report", "--prometheus", &server][..], &["rbac", "--kubeconfig", "silent"], &["doctor", "--kubeconfig", "silent"]]
    {
        ends_at_once(in_front(&folder.0, arguments).spawn().unwrap());
    }
}

#[test]
fn doctor_tells_every_group_and_what_exactly_to_set() {
    let folder = Folder::new("doctor");
    let flags =
        ["doctor", "--events", "absent/events.jsonl", "--metrics-listen", "192.0.2.1:9464", "--kubelet-port", "1", "--read-only-port", "1"];
    let output = command(&folder.0, &[&flags[..], &["-o", "json"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["preconditions"].as_array().unwrap();
    for group in ["kernel", "rights", "node", "kubelet", "cluster", "outputs"] {
        assert!(findings.iter().any(|finding| finding["group"] == group), "{group}: {report}");
    }
    for finding in findings {
        let (state, advice) = (finding["state"].as_str().unwrap(), &finding["advice"]);
        assert_eq!(advice.is_string(), matches!(state, "warn" | "fail"), "{finding}");
    }
    let state =
        |what: &str| findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{what}: {report}"))["state"].clone();
    assert_eq!([state("events"), state("metrics port")], ["fail", "fail"]);
    assert_ne!(state("kubelet"), "ok", "without rights it cannot be told");
    assert_eq!([state("API server"), state("webhook")], ["warn", "off"]);

    let text = |more: &[&str]| String::from_utf8(command(&folder.0, &[&flags[..], more].concat()).output().unwrap().stdout).unwrap();
    let (short, long) = (text(&[]), text(&["--fix-hints"]));
    assert!(!short.contains("helm --set: ") && short.contains("With --fix-hints it says what exactly to set."), "{short}");
    for hint in ["flag: --metrics-listen 192.0.2.1:9465", "helm --set: coverage.kubeletMetrics=true", "run: mkdir -p absent"] {
        assert!(long.contains(hint), "{hint}: {long}");
    }
    assert!(!long.contains('\u{1b}'), "no colours without a terminal");
}
