//! Every row of the kubelet's endpoint table, by everybody, on real kubelets: each request must be told as it was, field by field, and no
//! request may be missing.
//!
//! `KUBEWITNESS_E2E_KUBELETS` names the releases, `1.36` if it is not set; `KUBEWITNESS_BIN` the agent, `target/release/kubewitness` if it
//! is not set. Needs root.

mod clients;
mod expect;
mod http;
mod http2;
mod pages;
mod people;
mod row;
mod run;
mod seen;
mod sessions;
mod testbed;

use std::env;

use kubewitness_tests::build::Release;
use testbed::Testbed;

#[test]
fn every_request_is_told_as_it_was() {
    let releases = env::var("KUBEWITNESS_E2E_KUBELETS").unwrap_or_else(|_| "1.36".to_owned());
    for release in releases.split(',') {
        let release: Release = release.parse().expect("KUBEWITNESS_E2E_KUBELETS names releases");
        let outcome = Testbed::up("table", release, Release::V1_36).test();
        let wrong = &outcome.wrong;
        eprintln!("{release}: {} requests sent, {} counted by the kubelet, {} told", outcome.sent, outcome.counted, outcome.told);
        assert!(wrong.is_empty(), "kubelet {}: {} things are wrong\n{}", release.version(), wrong.len(), wrong.join("\n"));
    }
}
