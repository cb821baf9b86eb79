//! What `kubewitness doctor` says about a kubelet that runs.

use std::{collections::BTreeMap, process::Command};

use kubewitness_tests::{agent::output_of, scenarios::Bed};
use serde_json::Value;

/// All of it, in text, about the kubelet that is this process.
pub(crate) fn text(pid: u32) -> String {
    doctor(pid, "text")
}

/// How the kubelet is set up: what, how, and whether doctor advises against it. `None` if it says that it does not know.
pub(crate) fn settings(pid: u32) -> Option<BTreeMap<String, (String, bool)>> {
    let report: Value = serde_json::from_str(&doctor(pid, "json")).expect("doctor writes JSON");
    let kubelets = report["kubelets"].as_array().expect("kubelets");
    let its = kubelets.iter().find(|kubelet| kubelet["pid"] == pid).expect("the kubelet that was named");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let told = |setting: &Value| (text(&setting["what"]), (text(&setting["value"]), setting["advice"].is_string()));
    let settings = its["settings"].as_array().map(|settings| settings.iter().map(told).collect());
    assert_eq!(settings.is_none(), its["settings_unknown"].is_string(), "it says that it does not know, or what it knows: {its}");
    settings
}

fn doctor(pid: u32, format: &str) -> String {
    let pid = pid.to_string();
    output_of(Command::new(Bed::binary()).args(["doctor", "-o", format, "--kubelet-pid", &pid])).expect("everything is in place")
}
