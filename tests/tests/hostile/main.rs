//! Everything that is chosen by somebody who means harm: processes that would like to be the kubelet, executables, names, requests, connections,
//! and a crash at the wrong moment. `docs/reliability-hostile.md` tells what was found.

#[path = "../../../agent/tests/crafted/mod.rs"]
mod crafted;
#[path = "../front/client.rs"]
#[expect(dead_code, reason = "the tests of the front ask more")]
mod client;
mod crash;
mod executables;
mod impostor;
mod injection;
mod port;
mod raw;
#[path = "../webhook/receiver.rs"]
#[expect(dead_code, reason = "the webhook's own tests make it misbehave")]
mod receiver;
mod spoofing;

use std::path::Path;

use kubewitness_tests::{
    cluster::Options,
    scenarios::{Scenario, play},
};

const SCENARIOS: &[Scenario] = &[
    ("what callers chose is inert in every sink", injection::everywhere),
    ("a crash leaves no core, and no log holds a secret", crash::nothing_is_left),
    ("the agent's own port answers whatever comes", port::holds),
    ("programs that would like to be the kubelet are told apart", spoofing::programs),
    ("a kubelet in a pod is not the node's, with its file or a copy", spoofing::kubelets),
];

#[test]
fn hostile() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    play(&Options::named("kh-hostile"), &folder, SCENARIOS);
}

/// 10,000 connections at once.
#[test]
#[ignore = "a minute, and 10,000 file descriptors"]
fn flooded() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flooded");
    play(&Options::named("kh-flooded"), &folder, &[("10,000 connections at the agent's own port", port::flooded)]);
}

/// What is read of an executable, and what it costs.
#[test]
fn executables() {
    executables::all();
}
