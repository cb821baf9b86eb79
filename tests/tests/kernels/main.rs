//! The agent on kernels that are not this machine's: Debian's, in virtual machines. It is chosen at run time how probes are attached, and
//! `doctor` tells; every request of every kind is seen once, whichever way it is.

use std::path::Path;

use kubewitness_tests::build::{OwnProgram, ServerProgram};
use kubewitness_tests::figures::Figures;
use kubewitness_tests::scenarios::Bed;
use kubewitness_tests::vm::scene::{Kind, Scene, assert_all_seen};
use kubewitness_tests::vm::{Processor, Report, Series};
use serde_json::Value;

#[test]
#[ignore = "boots a virtual machine, a minute: cargo xtask matrix --only kernels"]
fn linux_6_1_has_perf_events_and_asks_for_sys_admin() {
    let report = play(Series::V6_1);
    assert_seen_and_told(&report, "perf_events");
    assert!(file(&report, "few-doctor").contains("CAP_SYS_ADMIN"), "{}", file(&report, "few-doctor"));
    assert!(file(&report, "few-run").contains("CAP_SYS_ADMIN"), "{}", file(&report, "few-run"));
    assert!(file(&report, "one-more").contains("attached to a kubelet"), "{}", file(&report, "one-more"));
    row(&report, "perf events", "BPF, PERFMON, SYS_PTRACE, SYS_ADMIN");
}

#[test]
#[ignore = "boots a virtual machine, a minute: cargo xtask matrix --only kernels"]
fn linux_6_12_has_uprobe_multi_for_few_capabilities() {
    with_uprobe_multi(Series::V6_12);
}

#[test]
#[ignore = "boots a virtual machine, a minute: cargo xtask matrix --only kernels"]
fn linux_7_has_uprobe_multi_for_few_capabilities() {
    with_uprobe_multi(Series::V7);
}

fn with_uprobe_multi(series: Series) {
    let report = play(series);
    assert_seen_and_told(&report, "uprobe_multi");
    assert!(file(&report, "few-run").contains("attached to a kubelet"), "{}", file(&report, "few-run"));
    row(&report, "`uprobe_multi`", "BPF, PERFMON, SYS_PTRACE");
}

/// What the agent does with the chart's three capabilities, with one more, and on a kernel that is locked down. A mode can only be raised.
const MORE: &str = "\
run='timeout 5 kubewitness run --rbac off --events /dev/null'
fewcaps 19,38,39 kubewitness doctor >/out/few-doctor 2>&1
fewcaps 19,38,39 $run >/out/few-run 2>&1
fewcaps 19,21,38,39 $run >/out/one-more 2>&1
echo integrity >/sys/kernel/security/lockdown
$run >/out/integrity 2>&1
echo confidentiality >/sys/kernel/security/lockdown
$run >/out/confidentiality 2>&1
kubewitness doctor >/out/confidentiality-doctor 2>&1
";

fn play(series: Series) -> Report {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels").join(series.name());
    let scene = Scene {
        processor: Processor::Amd64,
        kernel: series.fetch(Processor::Amd64).unwrap(),
        kernel_arguments: String::new(),
        agent: Bed::binary(),
        server: ServerProgram::KubeletServer.recipe().build().unwrap(),
        client: OwnProgram::KubeletCall.recipe().build().unwrap(),
        programs: vec![("fewcaps", ServerProgram::FewCaps.recipe().build().unwrap())],
    };
    let report = scene.play(&folder, MORE).unwrap();
    assert!(report.release.starts_with(series.name()), "{}", report.release);
    report
}

fn assert_seen_and_told(report: &Report, attachment: &str) {
    assert_all_seen(report);
    let doctor: Value = serde_json::from_str(file(report, "doctor.json")).unwrap();
    assert_eq!(doctor["attachment"], attachment, "{doctor}");
    for finding in doctor["preconditions"].as_array().unwrap() {
        assert_ne!(finding["state"], "fail", "{finding}");
        assert!(finding["state"] == "ok" || finding["group"] != "kernel", "{finding}");
    }
    assert!(file(report, "doctor").contains(&report.release), "{}", file(report, "doctor"));
    assert!(file(report, "integrity").contains("attached to a kubelet"), "{}", file(report, "integrity"));
    let locked = file(report, "confidentiality");
    assert!(locked.contains("locked down in mode `confidentiality`") && locked.lines().count() == 1, "{locked}");
    let told = file(report, "confidentiality-doctor");
    assert!(told.lines().any(|line| line.starts_with("  FAIL  lockdown")), "{told}");
}

fn row(report: &Report, attachment: &str, capabilities: &str) {
    let (all, executed) = (Kind::all().to_string(), Kind::executed().to_string());
    let seen = format!("{all} of {all}");
    let unlogged = format!("{executed} of {executed}");
    Figures::of("docs/compatibility-kernels.md", "kernels").row(&[&report.release, attachment, capabilities, &seen, &unlogged, "0"]);
}

fn file<'a>(report: &'a Report, name: &str) -> &'a str {
    report.files.get(name).map_or("", String::as_str)
}
