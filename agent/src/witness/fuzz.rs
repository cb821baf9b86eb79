//! The body of the fuzz target, which a test calls too.

use bytes::Bytes;
use uuid::Uuid;

use super::{Outcome, Witness};
use crate::{
    exchange::Place,
    export::{
        Clock,
        audit::{Auditor, Commands, Marks},
        metrics::Metrics,
    },
    inert::obeyed,
    judge::Policy,
    observation::Timestamp,
};

/// Few, so that a short input already makes requests and connections give way to others.
const LIMIT: usize = 8;

/// Takes hostile records, one after the other as in a trace, the whole way to events and metrics. Whatever they are, it returns.
///
/// # Panics
///
/// If an event is not one line of JSON, or another one when it comes again, or a line or the metrics hold something that a terminal obeys.
pub fn fuzz_entry(bytes: &[u8]) {
    let mut witness = Witness::new(Policy::new("node1"), LIMIT, 10250, 10255);
    let metrics = Metrics::new("node1", LIMIT).expect("metrics of a node");
    let auditors = [Commands::Full, Commands::Redacted].map(|commands| Auditor::new(Uuid::nil(), "node1", commands));
    let clock = Clock::new(Timestamp(0), jiff::Timestamp::UNIX_EPOCH);
    let take = |outcomes: Vec<Outcome>| {
        for outcome in outcomes {
            let Outcome::Verdict(verdict) = outcome else { continue };
            metrics.record(&verdict);
            for auditor in &auditors {
                let anew = auditor.event(&verdict, clock).to_line();
                check_line(&anew);
                // What comes again is made of what was kept: it must be the same.
                for _ in 0..2 {
                    let check = |line: &[u8]| assert!(line == anew, "{}", String::from_utf8_lossy(line));
                    auditor.line(&verdict, clock, Marks::default(), check);
                }
            }
        }
    };
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut last = Timestamp(0);
    while !rest.is_empty() {
        let record = rest.split_to(length(&rest));
        let Ok(outcomes) = witness.take(&record, |process| place(process.cgroup)) else { continue };
        take(outcomes);
        last = Timestamp(last.0.max(time(&record)));
        take(witness.lasting(last));
    }
    take(witness.process_gone(1));
    take(witness.stop());
    assert!(witness.is_idle());
    let page = metrics.render().expect("metrics are text");
    assert_eq!(page.lines().find(|line| line.contains(obeyed)), None);
}

/// What the record says of its own length, as far as so much is there.
fn length(bytes: &Bytes) -> usize {
    let stated = bytes.get(4..8).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    usize::try_from(stated.unwrap_or(0)).unwrap_or(usize::MAX).clamp(1, bytes.len())
}

fn time(record: &Bytes) -> u64 {
    record.get(8..16).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn place(cgroup: u64) -> Place {
    match cgroup % 3 {
        0 => Place::Host,
        1 => Place::Unknown,
        _ => Place::Pod { uid: format!("{cgroup:x}"), name: None },
    }
}

fn check_line(line: &[u8]) {
    let text = std::str::from_utf8(line).expect("events are UTF-8");
    let text = text.strip_suffix('\n').expect("an event is a line");
    assert!(!text.contains(obeyed), "{text:?}");
    assert!(serde_json::from_str::<serde_json::Value>(text).is_ok_and(|event| event.is_object()), "{text}");
}
