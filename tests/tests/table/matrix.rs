//! The same table, on every kubelet of the matrix in every shape, each beside the API server that upstream's policy on version skew allows.
//!
//! `KUBEWITNESS_E2E_KUBELETS` names builds instead of all; what is not built yet is built, which takes minutes each. Needs root.

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

use kubewitness_tests::build::{Release, Shape};
use kubewitness_tests::figures::Figures;
use testbed::Testbed;

const FIGURES: Figures = Figures::of("docs/compatibility.md", "kubelets");

#[test]
#[ignore = "runs every kubelet of the matrix: a minute each, and minutes for those that are not built yet"]
fn every_kubelet_of_the_matrix_is_told_as_it_was() {
    let mut failed = Vec::new();
    for release in chosen() {
        let api_server = release.api_server();
        let outcome = Testbed::up("kx-table", release, api_server).test();
        let second = if release.minor() < 36 { "1,000 streams on one connection" } else { "not spoken" };
        let cells = [
            release.to_string(),
            api_server.version().to_owned(),
            outcome.sent.to_string(),
            outcome.counted.to_string(),
            outcome.told.to_string(),
            outcome.wrong.len().to_string(),
            second.to_owned(),
        ];
        FIGURES.row(&cells);
        // At once: one that does not come up at all ends the test.
        outcome.wrong.iter().for_each(|wrong| eprintln!("{release}: {wrong}"));
        failed.extend(outcome.wrong.into_iter().map(|wrong| format!("{release}: {wrong}")));
    }
    assert!(failed.is_empty(), "{} things are wrong\n{}", failed.len(), failed.join("\n"));
}

fn chosen() -> Vec<Release> {
    let parse = |name: &str| name.parse().unwrap_or_else(|error: String| panic!("{error}"));
    match env::var("KUBEWITNESS_E2E_KUBELETS") {
        Ok(names) => names.split(',').map(parse).collect(),
        // One that is refused has no events; `modes` shows what is said of it instead.
        Err(_) => Release::MATRIX.into_iter().chain(Release::SHAPES).filter(|release| release.shape() != Shape::Unoptimized).collect(),
    }
}
