//! `kubewitness rbac` as a command: what it reads, what it prints where, and its exit status.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rbac-cli-{name}"));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder can be made");
        Self(path)
    }

    fn file(&self, name: &str, text: &[u8]) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("the folder can be made");
        fs::write(path, text).expect("the file can be written");
        self
    }
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(name)).expect("the fixture can be read")
}

fn run(folder: &Folder, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubewitness"));
    let variables = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("KUBEWITNESS_"));
    variables.for_each(|name| {
        command.env_remove(name);
    });
    command.arg("rbac").args(arguments).current_dir(&folder.0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubewitness starts");
    // Whoever does not read it closes it.
    let _closed = child.stdin.take().expect("it is piped").write_all(stdin);
    child.wait_with_output().expect("kubewitness ends")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn places(output: &Output) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(output)));
    let findings = report["findings"].as_array().expect("there are findings").iter();
    findings
        .map(|finding| format!("{}:{}", finding["clusterRole"]["file"].as_str().unwrap_or("-"), finding["clusterRole"]["line"]))
        .collect()
}

#[test]
fn files_directories_and_standard_input_are_one_cluster() {
    let folder = Folder::new("inputs");
    let agent = String::from_utf8(fixture("node-agent.yaml")).unwrap();
    let (roles, bindings) =
        agent.split_at(agent.find("---\napiVersion: \"rbac.authorization.k8s.io/v1\"\nkind: ClusterRoleBinding").unwrap());
    folder.file("deploy/b/roles.yml", roles.as_bytes()).file("deploy/everyone.json", &fixture("everyone.json"));
    folder.file("deploy/.git/x.yaml", b"{{").file("deploy/notes.txt", b"{{").file("deploy/empty.yaml", b"");
    std::os::unix::fs::symlink("..", folder.0.join("deploy/b/circle")).expect("a link can be made");
    let output = run(&folder, &["-o", "json", "deploy", "-"], bindings.as_bytes());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let (roles, json) = ("deploy/b/roles.yml", "deploy/everyone.json");
    let expected = [(json, 22), (json, 22), (roles, 16), (json, 22), (roles, 16), (roles, 31), (json, 22)];
    let mut expected = expected.map(|(file, line)| format!("{file}:{line}"));
    let mut places = places(&output);
    expected.sort();
    places.sort();
    assert_eq!(places, expected);
}

#[test]
fn exit_status() {
    let folder = Folder::new("status");
    folder.file("critical.yaml", &fixture("log-shipper.yaml"));
    folder.file(
        "warning.yaml",
        b"kind: ClusterRole\nmetadata: {name: r}\nrules: [{apiGroups: [''], resources: [nodes/proxy], verbs: [get]}]\n",
    );
    folder.file("broken.yaml", &[b"kind: [\n---\n", fixture("log-shipper.yaml").as_slice()].concat());
    let who = "ServiceAccount:logging/release-log-shipper";
    for (arguments, status, said) in [
        (&["critical.yaml"][..], 0, ""),
        (&["critical.yaml", "--fail-on", "critical"], 3, ""),
        (&["critical.yaml", "--fail-on", "info"], 3, ""),
        (&["warning.yaml", "--fail-on", "critical"], 0, ""),
        (&["warning.yaml", "--fail-on", "warning"], 3, ""),
        (&["warning.yaml", "--fail-on", "warning", "--allow", "ClusterRole:r"], 0, ""),
        (&["critical.yaml", "--fail-on", "critical", "--allow", who], 0, ""),
        (&["critical.yaml", "--fail-on", "critical", "--allow", "User:x"], 3, "--allow User:x is about nobody"),
        (&["critical.yaml", "--fail-on", "critical", "--apiserver-user", "x"], 3, ""),
        (&["broken.yaml", "--fail-on", "critical"], 1, "broken.yaml:"),
        (&["nowhere.yaml"], 1, "nowhere.yaml cannot be read"),
        (&["--fail-on", "grave", "critical.yaml"], 2, "possible values"),
        (&["-o", "yaml", "critical.yaml"], 2, "possible values"),
        (&["--kubeconfig", "nowhere"], 1, "nowhere"),
    ] {
        let output = run(&folder, arguments, b"");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said) && stderr(&output).is_empty() == said.is_empty(), "{arguments:?}: {}", stderr(&output));
    }
    let broken = run(&folder, &["broken.yaml"], b"");
    let text = String::from_utf8_lossy(&broken.stdout);
    assert!(text.contains("release-log-shipper") && text.contains("this is not all"), "what could be read is told: {text}");
    assert!(!text.contains('\u{1b}'), "no colours without a terminal");
}

#[test]
fn a_chart_that_is_not_rendered_is_told() {
    let folder = Folder::new("chart");
    folder.file("templates/role.yaml", b"{{- if .Values.rbac }}\nkind: ClusterRole\nmetadata:\n  name: {{ .Release.Name }}\n{{- end }}\n");
    let output = run(&folder, &["templates"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("templates/role.yaml:1: this is a template, not a manifest: render it first"), "{}", stderr(&output));
}

#[test]
fn help_has_examples() {
    let output = run(&Folder::new("help"), &["--help"], b"");
    assert!(String::from_utf8_lossy(&output.stdout).contains("helm template my-chart | kubewitness rbac -"));
}
