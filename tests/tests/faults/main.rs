//! What goes wrong on a node, and what the agent misses because of it: each with the count of events expected and seen.
//!
//! The short form is part of every test run; the long one, whose figures stand in `docs/reliability.md`, is run by `cargo xtask torture`.

mod agent;
mod ends;
mod kubelet;
mod sinks;

use std::{fmt::Display, path::Path, time::Duration};

use kubewitness_tests::{
    agent::Agent,
    books,
    call::Answers,
    cluster::{Options, Token},
    figures::Figures,
    flood::Flood,
    scenarios::play,
};

/// What was served is in the events after this time, on a machine that is busy with other things.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn faults() {
    play(
        &Options::named("kf-faults"),
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults"),
        &[
            ("kubelet restarted", |bed| kubelet::restarted(bed, Form::SHORT)),
            ("kubelet upgraded in place", |bed| kubelet::upgraded(bed, Form::SHORT)),
            ("kubelet overwritten in place", |bed| kubelet::overwritten(bed, Form::SHORT)),
            ("kubelet stopped and continued", |bed| kubelet::stopped(bed, Form::SHORT)),
            ("agent killed and restarted", |bed| agent::killed(bed, Form::SHORT)),
            ("agent started in the middle of an exec", |bed| agent::in_the_middle(bed, Form::SHORT)),
            ("two agents at once", |bed| agent::two(bed, Form::SHORT)),
            ("the agent is out of memory", |bed| agent::out_of_memory(bed, Form::SHORT)),
            ("the pipe of events is blocked", |bed| sinks::blocked_pipe(bed, Form::SHORT)),
            ("the disk is full", |bed| sinks::full_disk(bed, Form::SHORT)),
            ("the API server is away", |bed| ends::api_server_away(bed, Form::SHORT)),
            ("a client goes away in the middle", |bed| ends::client_goes_away(bed, Form::SHORT)),
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
            ("kubelet restarted", |bed| kubelet::restarted(bed, Form::LONG)),
            ("kubelet upgraded in place", |bed| kubelet::upgraded(bed, Form::LONG)),
            ("kubelet overwritten in place", |bed| kubelet::overwritten(bed, Form::LONG)),
            ("kubelet stopped and continued", |bed| kubelet::stopped(bed, Form::LONG)),
            ("two kubelets at once", |bed| kubelet::two(bed, Form::LONG)),
            ("agent killed and restarted", |bed| agent::killed(bed, Form::LONG)),
            ("agent started in the middle of an exec", |bed| agent::in_the_middle(bed, Form::LONG)),
            ("two agents at once", |bed| agent::two(bed, Form::LONG)),
            ("the agent is out of memory", |bed| agent::out_of_memory(bed, Form::LONG)),
            ("the pipe of events is blocked", |bed| sinks::blocked_pipe(bed, Form::LONG)),
            ("the disk is full", |bed| sinks::full_disk(bed, Form::LONG)),
            ("the API server is away", |bed| ends::api_server_away(bed, Form::LONG)),
            ("a client goes away in the middle", |bed| ends::client_goes_away(bed, Form::LONG)),
        ],
    );
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

    /// A row of `docs/reliability.md`: what happened, events expected, seen, lost and counted, and what is to be said about it. The short form
    /// measures nothing worth a document.
    fn row(self, fault: &str, expected: impl Display, seen: u64, lost: u64, note: &str) {
        let cells = [fault.to_owned(), expected.to_string(), seen.to_string(), lost.to_string(), note.to_owned()];
        if self.is_long {
            Figures::of("docs/reliability.md", "faults").row(&cells);
        } else {
            eprintln!("{}", cells.join(" | "));
        }
    }
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
