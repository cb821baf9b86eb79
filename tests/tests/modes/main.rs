//! The ways a kubelet can be set up: whatever they are, every request that it counted is told, and what is told is what that way means.
//!
//! Needs root, and the agent as `cargo xtask build` leaves it.

mod doctor;
mod gate;
mod refused;
mod rotation;
mod standalone;
mod ways;
mod watched;

use std::path::{Path, PathBuf};

use kubewitness_tests::{cluster::Options, figures::Figures, scenarios::play};

/// One row a mode: the kubelet, the mode, what it counted, what is told, and how.
const FIGURES: Figures = Figures::of("docs/compatibility.md", "modes");

#[test]
fn modes() {
    play(
        &Options::named("kx-modes"),
        &folder("modes"),
        &[
            ("authorization AlwaysAllow", ways::always_allow),
            ("anonymous requests", ways::anonymous),
            ("no debugging handlers, and then the read-only port by --config-dir", ways::another_config),
            ("standalone, without an API server", standalone::standalone),
            ("certificates change while it runs", rotation::rotation),
        ],
    );
}

/// A folder for the scenarios of one cluster.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kx-{name}"))
}
