//! What `kubewitness doctor` says about a kubelet that runs.

use std::{collections::BTreeMap, process::Command};

use kubewitness_tests::{agent::output_of, scenarios::Bed};
use serde_json::Value;

/// All of it, in text, about the kubelet that is this process.
pub(crate) fn text(pid: u32) -> String {
    doctor(pid, "text")
}

/// How the kubelet is set up: what, how, and whether doctor advises against it.
pub(crate) fn settings(pid: u32) -> BTreeMap<String, (String, bool)> {
    let report: Value = serde_json::from_str(&doctor(pid, "json")).expect("doctor writes JSON");
    let kubelets = report["kubelets"].as_array().expect("kubelets");
    let its = kubelets.iter().find(|kubelet| kubelet["pid"] == pid).expect("the kubelet that was named");
    let settings = its["settings"].as_array().unwrap_or_else(|| panic!("its settings are not known: {its}"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    settings.iter().map(|setting| (text(&setting["what"]), (text(&setting["value"]), setting["advice"].is_string()))).collect()
}

fn doctor(pid: u32, format: &str) -> String {
    let pid = pid.to_string();
    output_of(Command::new(Bed::binary()).args(["doctor", "-o", format, "--kubelet-pid", &pid])).expect("everything is in place")
}
