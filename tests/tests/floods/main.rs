//! Requests as fast as the machine gives, by those who are let in and by those who are not: no exec is missed, nothing grows without bound, and
//! what is not seen is counted.
//!
//! The short form is part of every test run; the long one, whose figures stand in `docs/reliability.md`, is run by `cargo xtask torture`.

mod distinct;
mod execs;
mod identities;
mod overflow;
mod refused;

use std::path::Path;

use kubewitness_tests::{agent::Agent, cluster::Options, figures::Figures, form::Form, scenarios::play};

const FIGURES: Figures = Figures::of("docs/reliability.md", "floods");
const SHORT: Form = Form::short(FIGURES);
const LONG: Form = Form::long(FIGURES);

#[test]
fn floods() {
    play(
        &Options::named("kf-floods"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("floods"),
        &[
            ("execs under a flood", |bed| execs::under_a_flood(bed, SHORT)),
            ("execs while the agent sleeps", |bed| execs::while_the_agent_sleeps(bed, SHORT)),
            ("refused requests leave the disk its room", |bed| refused::on_the_disk(bed, SHORT)),
            ("records that overflow are counted", |bed| overflow::counted(bed, SHORT)),
            ("distinct targets, headers and user agents", |bed| distinct::requests(bed, SHORT)),
        ],
    );
}

#[test]
#[ignore = "half an hour; cargo xtask torture runs it"]
fn floods_long() {
    play(
        &Options::named("kf-floods-long"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("floods-long"),
        &[
            ("execs under a flood", |bed| execs::under_a_flood(bed, LONG)),
            ("execs while the agent sleeps", |bed| execs::while_the_agent_sleeps(bed, LONG)),
            ("refused requests leave the disk its room", |bed| refused::on_the_disk(bed, LONG)),
            ("records that overflow are counted", |bed| overflow::counted(bed, LONG)),
            ("distinct targets, headers and user agents", |bed| distinct::requests(bed, LONG)),
        ],
    );
}

#[test]
fn identities() {
    identities::distinct(SHORT);
}

#[test]
#[ignore = "minutes; cargo xtask torture runs it"]
fn identities_long() {
    identities::distinct(LONG);
}

/// The folder that an agent writes its events to.
fn folder(agent: &Agent) -> std::path::PathBuf {
    agent.events_file().parent().expect("a file is in a folder").to_owned()
}
