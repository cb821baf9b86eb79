//! The chart as helm renders it, without a cluster: what is committed in `deploy/manifests` is current, and no value makes the agent ask for
//! more than `docs/permissions.md` says. Part of `cargo xtask test --only e2e`, because helm is built with Go.

mod pages;
mod reference;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kubewitness_tests::build::helm;
use kubewitness_tests::scenarios::Bed;

/// Values files, and the manifests in `deploy` that they give: the defaults, which people apply, and everything that can be turned on, for review.
const RENDERINGS: [(Option<&str>, &str); 2] =
    [(None, "manifests/kubewitness.yaml"), (Some("everything-values.yaml"), "helm/kubewitness/ci/everything.yaml")];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn chart() -> PathBuf {
    deploy().join("helm/kubewitness")
}

fn helm_with(arguments: &[&str]) -> Output {
    let program = helm().build().expect("helm builds");
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let folders = ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, state.join(name)));
    Command::new(program).args(arguments).envs(folders).env_remove("KUBECONFIG").output().expect("helm starts")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("helm prints text")
}

/// The release `kubewitness` in a namespace of that name.
fn template(arguments: &[&str]) -> Output {
    let chart = chart();
    let chart = chart.to_str().expect("the repository's path is text");
    helm_with(&[&["template", "kubewitness", chart, "--namespace", "kubewitness"], arguments].concat())
}

fn rendered(values: Option<&str>) -> String {
    let file = values.map(|values| chart().join("ci").join(values));
    let arguments: Vec<&str> = file.iter().flat_map(|file| ["--values", file.to_str().expect("text")]).collect();
    said(&template(&arguments))
}

/// `UPDATE_DOCS=1 cargo test -p kubewitness-tests --features e2e --test rendering` writes the manifests anew.
#[test]
fn manifests_are_current() {
    for (values, file) in RENDERINGS {
        let path = deploy().join(file);
        let manifest = rendered(values);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, manifest).expect("the repository is writable");
            continue;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let stale = "UPDATE_DOCS=1 cargo test -p kubewitness-tests --features e2e --test rendering";
        assert!(committed == manifest, "deploy/{file} is stale: {stale}");
    }
}

#[test]
fn the_chart_is_in_order() {
    let chart = chart();
    let chart = chart.to_str().expect("text");
    let everything = format!("{chart}/ci/everything-values.yaml");
    for more in [&[][..], &["--values", &everything]] {
        said(&helm_with(&[&["lint", "--strict", chart], more].concat()));
    }
    for (values, file) in RENDERINGS {
        let manifest = rendered(values);
        for line in manifest.lines() {
            assert_eq!(line, line.trim_end(), "{file}: space at the end of a line");
        }
        for document in documents(&manifest) {
            for text in ["\nkind: ", "\n    app.kubernetes.io/name: kubewitness\n", "\n    app.kubernetes.io/instance: kubewitness\n"] {
                assert!(document.contains(text), "{file}: no {text:?} in\n{document}");
            }
            // Grafana writes null for the lowest threshold.
            let null = if document.contains("kubewitness.json: |") { "<no value>" } else { ": null" };
            for text in ["<no value>", null] {
                assert!(!document.contains(text), "{file}: {text:?} in\n{document}");
            }
        }
    }
}

fn documents(manifest: &str) -> Vec<&str> {
    manifest.split("\n---\n").map(|document| document.trim_start_matches("---\n")).collect()
}

/// Each of these lines is there whatever the values say; `docs/permissions.md` explains them.
#[test]
fn the_pod_asks_for_no_more_than_is_documented() {
    let most = rendered(Some("everything-values.yaml"));
    let turned_on = ["hostNetwork=true", "events.sink=stdout", "rbac=false", "metrics.auth=none", "auditPolicy.enabled=false"];
    let mut renderings = vec![rendered(None), most];
    renderings.extend(turned_on.iter().map(|value| said(&template(&["--set", value]))));
    for manifest in &renderings {
        for line in [
            "privileged: false",
            "allowPrivilegeEscalation: false",
            "readOnlyRootFilesystem: true",
            "drop: [ALL]",
            "add: [BPF, PERFMON, SYS_PTRACE]",
            "type: RuntimeDefault",
            "hostPID: true",
        ] {
            assert_eq!(manifest.lines().filter(|present| present.trim() == line).count(), 1, "{line}");
        }
        // The audit policy, the alerts and the dashboard speak of what others may.
        let speaks = |document: &str| document.contains("\nkind: ConfigMap") || document.contains("\nkind: PrometheusRule");
        for document in documents(manifest).into_iter().filter(|document| !speaks(document)) {
            // The kubelet's own counters are the one thing of nodes that it may ask for.
            let beyond = document.replace("resources: [nodes/metrics]", "");
            for word in ["nodes/proxy", "resources: [nodes", "hostIPC", "secrets]", "verbs: [\"*\"]"] {
                assert!(!beyond.contains(word), "{word} in\n{document}");
            }
        }
    }
    let old = said(&template(&["--set", "oldKernels=true"]));
    assert!(old.contains("add: [BPF, PERFMON, SYS_PTRACE, SYS_ADMIN]"), "the one value that adds a capability");
    let host_network = |manifest: &str| manifest.contains("hostNetwork: true");
    assert_eq!(renderings.iter().filter(|manifest| host_network(manifest)).count(), 1, "only where it is asked for");
}

/// What the project tells others to run in their CI.
#[test]
fn the_chart_itself_passes_the_check_of_charts() {
    let mut check = Command::new(Bed::binary());
    let mut child = check.args(["rbac", "--fail-on", "info", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let manifest = rendered(Some("everything-values.yaml"));
    child.stdin.take().expect("a pipe").write_all(manifest.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A flag that the agent does not know would end it at its start, on every node at once.
#[test]
fn the_agent_knows_every_flag() {
    let help = said(&Command::new(Bed::binary()).args(["run", "--help"]).output().expect("it starts"));
    let manifest = rendered(Some("everything-values.yaml"));
    let flags: BTreeSet<&str> = manifest
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").trim_matches('"').strip_prefix("--"))
        .filter_map(|flag| flag.split('=').next())
        .filter(|flag| flag.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect();
    assert!(flags.len() > 12, "{flags:?}");
    for flag in flags {
        assert!(
            help.split_whitespace().any(|word| word == format!("--{flag}")),
            "--{flag} is in the chart and not in `kubewitness run --help`"
        );
    }
}

/// A pod that does nothing at the API server holds no token for it.
#[test]
fn a_token_is_there_only_where_it_is_needed() {
    let alone = said(&template(&["--set", "rbac=false", "--set", "metrics.auth=none"]));
    assert!(alone.contains("      automountServiceAccountToken: false\n"));
    assert!(!alone.contains("ClusterRole"), "{alone}");
    let kinds = |manifest: &str| manifest.lines().filter(|line| line.starts_with("kind: ")).map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(!kinds(&alone).contains("kind: ClusterRoleBinding"));
    for value in ["rbac=true", "kubernetesEvents=true"] {
        let with = said(&template(&["--set", "rbac=false", "--set", "metrics.auth=none", "--set", value]));
        assert!(with.contains("      automountServiceAccountToken: true\n"), "{value}");
        assert!(kinds(&with).contains("kind: ClusterRoleBinding"), "{value}");
    }
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    for (value, said) in [
        ("metrics.auht=none", "auht"),
        ("metrics.auth=basic", "/metrics/auth"),
        ("metrics.port=0", "/metrics/port"),
        ("events.sink=syslog", "/events/sink"),
        ("events.commands=all", "/events/commands"),
        ("events.file.maxFiles=1", "/events/file/maxFiles"),
        ("events.file.maxSize=100MB", "/events/file/maxSize"),
        ("image.digest=0abc", "/image/digest"),
        ("apiServer.users=admin", "/apiServer/users"),
        ("apiServer.peers={everybody}", "/apiServer/peers"),
        ("auditPolicy.policy.kind=Policy", "/auditPolicy/policy"),
        ("privileged=true", "privileged"),
        ("securityContext.privileged=true", "securityContext"),
        ("prometheus.monitor=PodMonitor", "prometheus.credentials.secretName"),
    ] {
        let output = template(&["--set", value]);
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value} is taken");
        assert!(why.contains(said), "{value}: {why}");
    }
}
