//! Requests as fast as the machine gives, by those who are let in and by those who are not: no exec is missed, nothing grows without bound, and
//! what is not seen is counted.
//!
//! The short form is part of every test run; the long one, whose figures stand in `docs/reliability.md`, is run by `cargo xtask torture`.

mod distinct;
mod execs;
mod identities;
mod overflow;
mod refused;

use std::{fmt::Display, path::Path};

use kubewitness_tests::{agent::Agent, cluster::Options, figures::Figures, scenarios::play};

#[test]
fn floods() {
    play(
        &Options::named("kf-floods"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("floods"),
        &[
            ("execs under a flood", |bed| execs::under_a_flood(bed, Form::SHORT)),
            ("execs while the agent sleeps", |bed| execs::while_the_agent_sleeps(bed, Form::SHORT)),
            ("refused requests leave the disk its room", |bed| refused::on_the_disk(bed, Form::SHORT)),
            ("records that overflow are counted", |bed| overflow::counted(bed, Form::SHORT)),
            ("distinct targets, headers and user agents", |bed| distinct::requests(bed, Form::SHORT)),
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
            ("execs under a flood", |bed| execs::under_a_flood(bed, Form::LONG)),
            ("execs while the agent sleeps", |bed| execs::while_the_agent_sleeps(bed, Form::LONG)),
            ("refused requests leave the disk its room", |bed| refused::on_the_disk(bed, Form::LONG)),
            ("records that overflow are counted", |bed| overflow::counted(bed, Form::LONG)),
            ("distinct targets, headers and user agents", |bed| distinct::requests(bed, Form::LONG)),
        ],
    );
}

#[test]
fn identities() {
    identities::distinct(Form::SHORT);
}

#[test]
#[ignore = "minutes; cargo xtask torture runs it"]
fn identities_long() {
    identities::distinct(Form::LONG);
}

/// How thoroughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    is_long: bool,
}

impl Form {
    const SHORT: Self = Self { is_long: false };
    const LONG: Self = Self { is_long: true };

    /// One of two, by the form.
    fn of<T>(self, short: T, long: T) -> T {
        if self.is_long { long } else { short }
    }

    /// A row of `docs/reliability.md`: what came, what was to be seen, what was, what is counted as lost, and what is to be said about it.
    fn row(self, flood: &str, expected: impl Display, seen: u64, lost: u64, note: &str) {
        let cells = [flood.to_owned(), expected.to_string(), seen.to_string(), lost.to_string(), note.to_owned()];
        if self.is_long {
            Figures::of("docs/reliability.md", "floods").row(&cells);
        } else {
            eprintln!("{}", cells.join(" | "));
        }
    }
}

/// The folder that an agent writes its events to.
fn folder(agent: &Agent) -> std::path::PathBuf {
    agent.events_file().parent().expect("a file is in a folder").to_owned()
}
