//! A trace of kernel records, recorded on the testbed with kubelet 1.36.3 (`kubewitness run --trace`), played back whole, cut and
//! interleaved: the events are the same, or say that they are partial. CONTRIBUTING.md tells how to record it anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use kubewitness::{
    exchange::Place,
    export::{
        Clock,
        audit::{Auditor, Commands},
    },
    judge::Policy,
    observation::Timestamp,
    witness::{Outcome, Witness},
};
use kubewitness_wire::Class;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

static TRACE: &[u8] = include_bytes!("fixtures/trace-1.36.3.bin");
/// The kubelet's process when the trace was recorded.
const KUBELET: u32 = 25_429;

/// The records of the trace: each tells its length in the second word of its header.
fn records() -> Vec<Bytes> {
    let mut rest = Bytes::from_static(TRACE);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest[4..8].try_into().unwrap());
        records.push(rest.split_to(usize::try_from(length).unwrap()));
    }
    records
}

/// The goroutine of a record, or `None` for a connection.
fn goroutine(record: &Bytes) -> Option<u64> {
    let goroutine = u64::from_ne_bytes(record[24..32].try_into().unwrap());
    (goroutine != 0).then_some(goroutine)
}

/// When the request of a record began.
fn request(record: &Bytes) -> u64 {
    u64::from_ne_bytes(record[32..40].try_into().unwrap())
}

/// Plays records, then the end of the kubelet, and gives the events as lines.
fn lines(records: &[Bytes], clock: Clock) -> Vec<Vec<u8>> {
    let mut witness = Witness::new(Policy::new("node1"), 1000, 10250, 10255);
    let auditor = Auditor::new(Uuid::nil(), "node1", Commands::Full);
    let mut outcomes = Vec::new();
    for record in records {
        outcomes.extend(witness.take(record, |_| Place::Host).unwrap());
    }
    outcomes.extend(witness.process_gone(KUBELET));
    let verdicts = outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Verdict(verdict) => Some(verdict),
        Outcome::Connection(_) | Outcome::Listening { .. } => None,
    });
    verdicts.map(|verdict| auditor.event(&verdict, clock).to_line()).collect()
}

/// The same, without what a connection alone can tell.
fn play(records: &[Bytes]) -> Vec<Value> {
    let events = lines(records, Clock::new(Timestamp(0), jiff::Timestamp::UNIX_EPOCH)).into_iter();
    events
        .map(|line| {
            let mut event: Value = serde_json::from_slice(&line).unwrap();
            event["annotations"].as_object_mut().unwrap().remove("kubewitness.dev/caller");
            event
        })
        .collect()
}

fn sorted(mut events: Vec<Value>) -> Vec<Value> {
    events.sort_by_key(|event| (event["auditID"].to_string(), event["stageTimestamp"].to_string()));
    events
}

fn is_partial(event: &Value) -> bool {
    event["annotations"].get("kubewitness.dev/completeness").is_some()
}

fn annotation<'a>(event: &'a Value, key: &str) -> &'a str {
    event["annotations"][format!("kubewitness.dev/{key}")].as_str().unwrap_or_default()
}

#[test]
fn the_whole_trace_tells_what_was_done() {
    let events = play(&records());
    assert!(events.iter().all(|event| !is_partial(event)));
    let told: BTreeMap<_, _> = events
        .iter()
        .filter(|event| event["stage"] == "ResponseComplete")
        .map(|event| {
            let uri = event["requestURI"].as_str().unwrap();
            let by = event["user"]["username"].as_str().unwrap_or_default().rsplit(':').next().unwrap();
            let code = event["responseStatus"]["code"].as_u64().unwrap();
            ((uri, by), (annotation(event, "access"), code, annotation(event, "transport"), annotation(event, "findings")))
        })
        .collect();
    let server = "kube-apiserver-kubelet-client";
    let attack = "/exec/default/web/main?output=1&error=1&command=id";
    let expected = BTreeMap::from([
        (("//pods", ""), ("unchecked", 307, "plain", "")),
        (("/pods", "monitoring"), ("fallback", 200, "plain", "nodes-proxy-fallback")),
        (("/healthz", "monitoring"), ("fallback", 200, "plain", "nodes-proxy-fallback")),
        (("/configz", "monitoring"), ("fallback", 200, "plain", "nodes-proxy-fallback")),
        (("/metrics", "monitoring"), ("denied", 403, "plain", "")),
        (("/metrics", ""), ("unauthenticated", 401, "plain", "")),
        (("/run/default/web/main?cmd=id", "monitoring"), ("denied", 403, "plain", "exec-attempt")),
        ((attack, "monitoring"), ("proxy-only", 101, "websocket", "unlogged-exec")),
        (("/exec/default/web/main?command=id&error=1&output=1", server), ("proxy-only", 101, "websocket", "")),
        (("/containerLogs/default/web/main?tailLines=1", server), ("proxy-only", 200, "plain", "")),
    ]);
    assert_eq!(told, expected);
}

/// What `docs/start.md` has people look at. `UPDATE_DOCS=1 cargo test -p kubewitness --test trace sample` writes it anew.
#[test]
fn the_sample_is_current() {
    let records = records();
    let begin = records.iter().filter(|record| goroutine(record).is_some()).map(request).min().unwrap();
    // A trace has no wall time: this one is given that of the commit which brought it.
    let clock = Clock::new(Timestamp(begin), "2026-11-26T04:38:18Z".parse().unwrap());
    let events = lines(&records, clock).concat();
    let how = "cargo test -p kubewitness --test trace sample";
    kubewitness_pages::generated::keep_file("docs/sample/events.jsonl", str::from_utf8(&events).unwrap(), how);
}

#[test]
fn a_trace_that_begins_or_ends_anywhere_gives_the_same_events_or_partial_ones() {
    let records = records();
    let whole = play(&records);
    let mut partial = 0;
    for begin in 0..records.len() {
        for end in begin + 1..=records.len() {
            for event in play(&records[begin..end]) {
                partial += usize::from(is_partial(&event));
                assert!(is_partial(&event) || whole.contains(&event), "cut {begin}..{end}: {event:#}");
            }
        }
    }
    assert!(partial > records.len(), "cuts inside of requests make partial events");
}

/// Of a request that was let in any one record is enough to tell that somebody was in a pod: each of those of the attack, alone.
#[test]
fn an_attack_is_told_whichever_of_its_records_are_lost() {
    let all = records();
    let guarded: Vec<_> = all.iter().filter(|record| record[1] == Class::Priority as u8).collect();
    // The attack, and what the API server did.
    assert_eq!(guarded.iter().map(|record| request(record)).collect::<std::collections::BTreeSet<_>>().len(), 2);
    let attack = request(guarded[0]);
    let parts: Vec<_> = guarded.into_iter().filter(|record| request(record) == attack).cloned().collect();
    assert_eq!(parts.len(), 4, "begin, check, answer, end");
    for kept in 2..16_u32 {
        let records: Vec<_> = (0..4).filter(|index| kept & (1 << index) != 0).map(|index| parts[index].clone()).collect();
        let events = play(&records);
        assert!(events.iter().any(|event| annotation(event, "findings").contains("unlogged-exec")), "{kept:04b}: {events:?}");
        assert!(events.iter().all(|event| annotation(event, "endpoint") == "exec"), "{kept:04b}: {events:?}");
    }
}

/// The rings are drained one after the other, so a request can overtake an earlier one of its own connection.
#[test]
fn the_order_between_the_rings_does_not_matter() {
    let mut by_ring = records();
    by_ring.sort_by_key(|record| match record[1] {
        class if class == Class::Socket as u8 => 0,
        class if class == Class::Priority as u8 => 1,
        _ => 2,
    });
    assert_ne!(by_ring, records());
    assert_eq!(sorted(play(&by_ring)), sorted(play(&records())));
}

proptest! {
    /// A check may point to another goroutine's for its user, who is unknown if that comes later, which a ring does not do.
    #[test]
    fn the_order_between_goroutines_does_not_matter_or_is_told(choices in proptest::collection::vec(0usize..16, 1..100)) {
        let records = records();
        let (connections, requests): (Vec<_>, Vec<_>) = records.iter().cloned().partition(|record| goroutine(record).is_none());
        let mut goroutines: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in requests.into_iter().rev() {
            goroutines.entry(goroutine(&record)).or_default().push(record);
        }
        let mut left: Vec<_> = goroutines.into_values().collect();
        let mut merged = connections;
        for choice in choices.iter().cycle() {
            left.retain(|records| !records.is_empty());
            if left.is_empty() {
                break;
            }
            let index = choice % left.len();
            merged.extend(left[index].pop());
        }
        let whole = sorted(play(&records));
        let ends = |events: &[Value]| events.iter().filter(|event| event["stage"] == "ResponseComplete").count();
        let told = play(&merged);
        prop_assert_eq!(ends(&told), ends(&whole));
        for event in &told {
            prop_assert!(is_partial(event) || whole.contains(event), "{event:#}");
        }
    }

    #[test]
    fn a_broken_record_is_an_error_and_never_a_panic(index in 0usize..1000, at in 0usize..2000, byte: u8, cut in 0usize..2000) {
        let records = records();
        let mut record = records[index % records.len()].to_vec();
        let at = at % record.len();
        record[at] = byte;
        record.truncate(1 + cut % record.len());
        let mut witness = Witness::new(Policy::new("node1"), 10, 10250, 10255);
        let _either = witness.take(&Bytes::from(record), |_| Place::Unknown);
    }
}
