//! What goes wrong on a node, and what the agent misses because of it: each with the count of events expected and seen.
//!
//! The short form is part of every test run; the long one, whose figures stand in `docs/reliability.md`, is run by `cargo xtask torture`.

mod agent;
mod ends;
mod kubelet;
mod memory;
mod sinks;

use std::{path::Path, time::Duration};

use kubewitness_tests::{
    agent::Agent,
    books,
    call::Answers,
    cluster::{Options, Token},
    figures::Figures,
    flood::Flood,
    form::Form,
    scenarios::play,
};

const FIGURES: Figures = Figures::of("docs/reliability.md", "faults");
const SHORT: Form = Form::short(FIGURES);
const LONG: Form = Form::long(FIGURES);
/// What was served is in the events after this time, on a machine that is busy with other things.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn faults() {
    play(
        &Options::named("kf-faults"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults"),
        &[
            ("kubelet restarted", |bed| kubelet::restarted(bed, SHORT)),
            ("kubelet upgraded in place", |bed| kubelet::upgraded(bed, SHORT)),
            ("kubelet overwritten in place", |bed| kubelet::overwritten(bed, SHORT)),
            ("kubelet stopped and continued", |bed| kubelet::stopped(bed, SHORT)),
            ("agent killed and restarted", |bed| agent::killed(bed, SHORT)),
            ("agent started in the middle of an exec", |bed| agent::in_the_middle(bed, SHORT)),
            ("two agents at once", |bed| agent::two(bed, SHORT)),
            ("the agent has little memory", |bed| memory::little_memory(bed, SHORT)),
            ("the agent is killed for memory", |bed| memory::killed_for_memory(bed, SHORT)),
            ("the agent has hardly any memory", |bed| memory::hardly_any_memory(bed, SHORT)),
            ("the pipe of events is blocked", |bed| sinks::blocked_pipe(bed, SHORT)),
            ("the disk is full", |bed| sinks::full_disk(bed, SHORT)),
            ("the API server is away", |bed| ends::api_server_away(bed, SHORT)),
            ("a client goes away in the middle", |bed| ends::client_goes_away(bed, SHORT)),
        ],
    );
}

#[test]
#[ignore = "an hour; cargo xtask torture runs it"]
fn faults_long() {
    play(
        &Options::named("kf-faults-long"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-long"),
        &[
            ("kubelet restarted", |bed| kubelet::restarted(bed, LONG)),
            ("kubelet upgraded in place", |bed| kubelet::upgraded(bed, LONG)),
            ("kubelet overwritten in place", |bed| kubelet::overwritten(bed, LONG)),
            ("kubelet stopped and continued", |bed| kubelet::stopped(bed, LONG)),
            ("two kubelets at once", |bed| kubelet::two(bed, LONG)),
            ("agent killed and restarted", |bed| agent::killed(bed, LONG)),
            ("agent started in the middle of an exec", |bed| agent::in_the_middle(bed, LONG)),
            ("two agents at once", |bed| agent::two(bed, LONG)),
            ("the agent has little memory", |bed| memory::little_memory(bed, LONG)),
            ("the agent is killed for memory", |bed| memory::killed_for_memory(bed, LONG)),
            ("the agent has hardly any memory", |bed| memory::hardly_any_memory(bed, LONG)),
            ("the pipe of events is blocked", |bed| sinks::blocked_pipe(bed, LONG)),
            ("the disk is full", |bed| sinks::full_disk(bed, LONG)),
            ("the API server is away", |bed| ends::api_server_away(bed, LONG)),
            ("a client goes away in the middle", |bed| ends::client_goes_away(bed, LONG)),
        ],
    );
}

/// Numbered requests that are allowed, 500 a second: enough to be a load, and not so many that the machine has no time for anything else.
fn load(token: &Token, mark: &str) -> Flood {
    Flood::get(&format!("/healthz?{mark}{{n}}")).token(token).connections(8).rate(500)
}

/// Waits until the events of an agent hold as many numbers as were answered, and gives what they hold: all that was answered, none twice, and
/// no more than was asked.
fn seen(agent: &mut Agent, folder: &Path, mark: &str, answers: &Answers) -> u64 {
    let files = || books::event_files(folder);
    let all = agent.until("all that was answered is in the events", SEEN_WITHIN, |_| {
        let (numbers, twice) = books::numbers(&files(), mark).expect("events can be read");
        Ok((numbers.len() as u64 >= answers.answered()).then_some((numbers.len() as u64, twice)))
    });
    let (seen, twice) = all.unwrap_or_else(|error| {
        let (numbers, _) = books::numbers(&files(), mark).expect("events can be read");
        panic!("{} were answered, {} are in the events: {error}", answers.answered(), numbers.len())
    });
    assert_eq!(twice, 0, "requests with two ends");
    // What the client lost sight of may have been served.
    assert!(seen <= answers.answered() + answers.failed, "{seen} seen, {answers:?}");
    seen
}

/// The folder that an agent writes its events to.
fn folder(agent: &Agent) -> std::path::PathBuf {
    agent.events_file().parent().expect("a file is in a folder").to_owned()
}
