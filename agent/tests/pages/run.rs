//! What is told to be typed, typed.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use kubewitness_pages::{console::Invocation, root};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::{Told, shown, told};

/// Commands that read what they are told and print, and do nothing else. Only these are run: others may write where a page tells people to.
const RUN: [&str; 6] = ["completions", "rbac", "report", "watch", "--help", "--version"];

/// What is not run here, and why; `*` stands for any words. A line that is neither here nor run fails the test, and so does a pattern that no
/// line has any more.
const NOT_RUN: &[(&str, &str)] = &[
    ("run *", "watches a kubelet, as root: the tests on real clusters start it with these flags"),
    ("run", "the same"),
    ("doctor *", "tells of the node that it runs on, and plans a kubelet that must be there: tests/tests/doctor.rs, agent/tests/plan.rs"),
    ("doctor", "the same"),
    ("watch --findings-only", "watches a kubelet, as root: tests/tests/outputs.rs does beside an agent and without one"),
    ("watch --top", "the same, on a terminal: agent/tests/watch_cli.rs has it with files"),
    ("watch -o json", "watches a kubelet, as root"),
    ("watch", "the same"),
    ("man *", "writes pages into a folder"),
    ("rbac", "asks a cluster: tests/tests/rbac_command.rs"),
    ("rbac --fail-on critical", "pre-commit adds the files"),
    ("rbac --allow ServiceAccount:monitoring/agent", "asks a cluster: agent/tests/rbac_cli.rs has it with files"),
    ("rbac -o json", "asks a cluster: tests/tests/rbac_command.rs"),
    ("report * --rbac cluster *", "asks a cluster: tests/tests/migration.rs"),
    ("report * --rbac cluster", "asks a cluster: tests/tests/migration.rs"),
];

/// Where agents of the pages write their events.
const LOG: &str = "/var/log/kubewitness";

/// A folder with what the pages take for granted: events, RBAC objects, a folder of manifests, the project's own files.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    let _absent = fs::remove_dir_all(&folder);
    for below in ["deploy", &LOG[1..]] {
        fs::create_dir_all(folder.join(below)).expect("a folder");
    }
    let sample = |name: &str| fs::read(root().join("docs/sample").join(name)).expect("the sample");
    let (events, rbac) = (sample("events.jsonl"), sample("rbac.yaml"));
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&events).expect("memory");
    let files = [
        ("events.jsonl", events.clone()),
        ("var/log/kubewitness/events.jsonl", events.clone()),
        ("events.jsonl.zst", compress_to_vec(&events[..], CompressionLevel::Fastest)),
        ("audit.log", Vec::new()),
        ("audit.log.gz", packed.finish().expect("memory")),
        ("rbac.yaml", rbac.clone()),
        ("deploy/rbac.yaml", rbac),
    ];
    for (name, content) in files {
        fs::write(folder.join(name), content).expect("a file");
    }
    symlink(root().join("docs"), folder.join("docs")).expect("a link");
    folder
}

/// What a chart renders to, or whatever else is sent through a pipe: manifests for `rbac`, events for all others.
fn piped(invocation: &Invocation) -> &'static str {
    if invocation.arguments.first().is_some_and(|command| command == "rbac") { "docs/sample/rbac.yaml" } else { "docs/sample/events.jsonl" }
}

fn typed(folder: &Path, invocation: &Invocation) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubewitness"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KUBEWITNESS_")) {
        command.env_remove(name);
    }
    let input =
        if invocation.reads { Stdio::from(fs::File::open(root().join(piped(invocation))).expect("the sample")) } else { Stdio::null() };
    let arguments = invocation.arguments.iter().map(|word| word.strip_prefix('/').filter(|_| word.starts_with(LOG)).unwrap_or(word));
    command.args(arguments).current_dir(folder).stdin(input).output().expect("kubewitness starts")
}

#[test]
fn what_needs_no_cluster_does_what_the_page_says() {
    let folder = folder();
    let (mut ran, mut left_out) = (0, BTreeSet::new());
    for Told { place, typed: line } in &told() {
        for invocation in (Told { place: place.clone(), typed: line.clone() }).invocations() {
            let words = invocation.arguments.join(" ");
            if let Some((pattern, _)) = NOT_RUN.iter().find(|(pattern, _)| shown::matches(pattern, "*", &words)) {
                left_out.insert(*pattern);
                continue;
            }
            let command = invocation.arguments.first().map_or("", String::as_str);
            assert!(
                RUN.contains(&command),
                "{place}: {}\nif it only reads, it belongs into RUN of {}, otherwise into NOT_RUN",
                line.text,
                file!()
            );
            ran += 1;
            let output = typed(&folder, &invocation);
            let said = String::from_utf8(output.stdout).expect("text");
            let status = output.status.code().expect("an exit status");
            // The sample has findings of every severity.
            let expected = if invocation.arguments.iter().any(|word| word == "--fail-on") { 3 } else { 0 };
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert_eq!(status, expected, "{place}: {}\n{complaint}\nNOT_RUN in {} names what cannot be run", line.text, file!());
            if let Err(difference) = shown::is(&line.output, &said) {
                panic!("{place}: {}\n{difference}\nIt printed:\n{said}", line.text);
            }
        }
    }
    assert!(ran > 10, "only {ran} were run");
    let all: BTreeSet<_> = NOT_RUN.iter().map(|(pattern, _)| *pattern).collect();
    assert_eq!(left_out, all, "what NOT_RUN names, and what pages have of it");
}
