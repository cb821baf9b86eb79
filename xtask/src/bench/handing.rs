//! `cargo xtask bench handing`: two ways to hand a record from the kernel on.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::bed::Bed;
use super::load;
use super::subject::attach;
use super::summary::median;
use crate::arch::Arch;
use crate::args::{self, Usage};
use crate::progress::{note, step};
use crate::{machine, setup};

const HELP: &str = "\
Usage: cargo xtask bench handing [--rounds N]

Measures what it costs to hand a record of 256 bytes on, at each of the agent's sites, under requests to /healthz over 8 connections: through
a ring that nobody is woken for, as the agent does, and through an array of each processor. Both are read twenty times a second. The
time in the kernel is what the kernel counts for the program; a probe's trap is not in it. Needs root, Go, wrk.

Options:
  --rounds N  how often each is measured, 5 unless told

Examples:
  cargo xtask bench handing
";

/// What the reader says at its end.
#[derive(Deserialize)]
struct Told {
    hits: u64,
    lost: u64,
    kernel_ns: f64,
    reader_ns: f64,
}

pub(super) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    let rounds = match args {
        [] => 5,
        [name, count] if name == "--rounds" => count.parse().ok().filter(|count| (1..=100).contains(count)).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    machine::root()?;
    setup::for_build(&[Arch::Amd64])?;
    let bed = step("bench: a cluster", Bed::up)?;
    let mut told = [("ring", Vec::new()), ("array", Vec::new())];
    for round in 1..=rounds {
        step(&format!("bench: round {round} of {rounds}"), || {
            told.iter_mut().try_for_each(|(how, told)| once(&bed, how).map(|one| told.push(one)))
        })?;
    }
    for (how, told) in &told {
        let median = |value: fn(&Told) -> f64| median(&mut told.iter().map(value).collect::<Vec<_>>()).unwrap_or_default();
        let (hits, lost) = (told.iter().map(|one| one.hits).sum::<u64>(), told.iter().map(|one| one.lost).sum::<u64>());
        let (kernel, reader) = (median(|one| one.kernel_ns), median(|one| one.reader_ns));
        note(&format!("{how:<6} {kernel:.0} ns a record in the kernel, {reader:.0} ns where it is read; {hits} hits, {lost} lost"));
    }
    Ok(())
}

fn wrong() -> anyhow::Error {
    Usage::error("`--rounds` needs a number from 1 to 100, and nothing else is understood".into(), "cargo xtask bench handing --help")
}

fn once(bed: &Bed, how: &str) -> Result<Told> {
    let process = attach(bed, bed.kubelet()?, how)?;
    load::at(8).run(bed, Some(process.pid()))?;
    let said = process.finish()?;
    serde_json::from_str(&said).with_context(|| format!("the reader did not say how it went: {said}"))
}
