//! What `kubewitness` says to whom lacks rights, or names the wrong file or flag. Needs root to become somebody without rights.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use kubewitness_tests::{
    build::{KubernetesProgram, OwnProgram, Release},
    scenarios::Bed,
};
use serde_json::Value;

/// `nobody`, on every distribution.
const NOBODY: u32 = 65534;

#[test]
fn a_file_is_planned_without_any_rights() {
    let folder = Folder::new("planned");
    let kubelet = folder.copy(&Release::V1_36.program(KubernetesProgram::Kubelet).build().unwrap(), usize::MAX);
    let output = folder.kubewitness(&["doctor", "-o", "json", "--kubelet-file", kubelet.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let plan = &report["kubelets"][0]["plan"];
    assert_eq!(plan["kubelet_version"], "v1.36.3");
    assert_eq!(plan["go_version"], "go1.26.8");
    let sites = plan["sites"].as_array().unwrap();
    let server = "k8s.io/kubernetes/pkg/kubelet/server.";
    for symbol in [
        format!("{server}(*Server).ServeHTTP"),
        format!("{server}(*Server).ServeHTTP.deferwrap1"),
        "k8s.io/apimachinery/pkg/util/proxy.(*UpgradeAwareHandler).tryUpgrade".to_owned(),
    ] {
        assert_eq!(sites.iter().filter(|site| site["symbol"] == symbol.as_str()).count(), 1, "{symbol}");
    }
    assert!(sites.iter().any(|site| site["symbol"].as_str().unwrap().ends_with("InstallAuthFilter.func1")));
    let content = fs::read(&kubelet).unwrap();
    for site in sites {
        let bytes = unhex(site["bytes"].as_str().unwrap());
        let offset = usize::from_str_radix(site["file_offset"].as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap();
        assert!(!bytes.is_empty());
        assert_eq!(content[offset..offset + bytes.len()], bytes, "the instruction is not at its place: {site}");
    }
    let output = folder.kubewitness(&["doctor", "--kubelet-file", kubelet.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains(sites[0]["address"].as_str().unwrap()), "{}", text(&output));
}

#[test]
fn a_file_that_is_no_kubelet_gets_one_sentence() {
    let folder = Folder::new("refused");
    let kubelet = Release::V1_36.program(KubernetesProgram::Kubelet).build().unwrap();
    let size = usize::try_from(fs::metadata(&kubelet).unwrap().len()).unwrap();
    let table = [
        folder.copy(&kubelet, 10 << 20),
        folder.copy(&kubelet, size / 2),
        folder.copy(&kubelet, size - 1000),
        folder.copy(&kubelet, 64),
        folder.copy(&kubelet, 0),
        folder.copy(&OwnProgram::AuditCheck.recipe().build().unwrap(), usize::MAX),
        folder.copy(Path::new(&std::env::current_exe().unwrap()), usize::MAX),
        folder.copy(Path::new("/etc/os-release"), usize::MAX),
    ];
    for file in table {
        let output = folder.kubewitness(&["doctor", "--kubelet-file", file.to_str().unwrap()]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let sentences: Vec<_> = said.lines().filter(|line| line.contains("FAIL") || line.starts_with("kubewitness: ")).collect();
        assert_eq!(sentences.len(), 1, "{said}");
        assert!(sentences[0].len() > 30, "{said}");
        assert_no_trace(&said);
    }
    for absent in ["/nonexistent/kubelet", "/", "/root-only"] {
        let output = folder.kubewitness(&["doctor", "--kubelet-file", absent]);
        assert_eq!(output.status.code(), Some(1));
        assert_one_sentence(&output, absent);
    }
}

#[test]
fn without_rights_the_daemon_ends_with_one_sentence() {
    let folder = Folder::new("rights");
    let run = ["run", "--rbac", "off", "--metrics-listen", "127.0.0.1:0", "--log", "warn"];
    let output = folder.kubewitness(&run);
    assert_eq!(output.status.code(), Some(1));
    assert_one_sentence(&output, "CAP_BPF");
    let output = folder.kubewitness(&[&run[..], &["--events", "/nonexistent/events"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_one_sentence(&output, "/nonexistent/events");
    let output = folder.kubewitness(&["run", "--rbac", "off", "--metrics-listen", "192.0.2.1:9464"]);
    assert_eq!(output.status.code(), Some(1));
    assert_one_sentence(&output, "192.0.2.1:9464");

    let output = folder.kubewitness(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("CAP_BPF"), "{}", text(&output));
    assert_no_trace(&text(&output));
}

#[test]
fn wrong_usage_is_2() {
    let folder = Folder::new("usage");
    for arguments in [
        &[][..],
        &["nonsense"],
        &["run", "--nonsense"],
        &["run", "--metrics-listen", "nowhere"],
        &["run", "--kubelet-pid", "x"],
        &["run", "--commands", "hidden"],
        &["run", "--max-identities", "-1"],
        &["run", "--rbac", "maybe"],
        &["doctor", "-o", "xml"],
        &["doctor", "extra"],
    ] {
        let output = folder.kubewitness(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Exactly one line on stderr, which names the thing, and nothing on stdout.
fn assert_one_sentence(output: &Output, named: &str) {
    let said = text(output);
    assert!(output.stdout.is_empty(), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.starts_with("kubewitness: ") && said.contains(named), "{said}");
    assert_no_trace(&said);
}

fn assert_no_trace(said: &str) {
    for sign in ["panicked", "backtrace", "RUST_BACKTRACE", ".rs:"] {
        assert!(!said.contains(sign), "{said}");
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder that everybody can read, with the agent in it; it is removed when it is dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kubewitness-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let this = Self { path };
        fs::set_permissions(&this.path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(Bed::binary(), this.path.join("kubewitness")).unwrap();
        this
    }

    /// The first `length` bytes of a file, at most, under a name of its own.
    fn copy(&self, file: &Path, length: usize) -> PathBuf {
        let count = fs::read_dir(&self.path).unwrap().count();
        let copy = self.path.join(format!("file-{count}"));
        let bytes = fs::read(file).unwrap();
        fs::write(&copy, &bytes[..length.min(bytes.len())]).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    }

    /// Runs the agent as nobody, who has no rights at all.
    fn kubewitness(&self, arguments: &[&str]) -> Output {
        Command::new(self.path.join("kubewitness")).args(arguments).current_dir("/").uid(NOBODY).gid(NOBODY).output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.path);
    }
}
