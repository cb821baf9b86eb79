//! The records of a routine request at once, and those of requests that are as one before them: they tell what the same records tell one by one.
//! Made from the trace that `trace.rs` plays.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use bytes::Bytes;
use kubewitness::{
    exchange::Place,
    export::{
        Clock,
        audit::{Auditor, Commands, Marks},
    },
    judge::Policy,
    observation::Timestamp,
    probe::DecodeError,
    rbac::{Change, Kind, Object, Update},
    witness::{Outcome, Witness},
};
use kubewitness_wire as wire;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

static TRACE: &[u8] = include_bytes!("fixtures/trace-1.36.3.bin");
const PADDING: usize = wire::PADDING as usize;

/// The records of the trace.
fn trace() -> Vec<Bytes> {
    let mut rest = Bytes::from_static(TRACE);
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(rest.split_to(usize::try_from(int(&rest, offset_of!(wire::Header, len))).unwrap()));
    }
    records
}

/// Its routine requests, each with its records from its begin to its end.
fn requests() -> Vec<Vec<Bytes>> {
    let mut requests: BTreeMap<u64, Vec<Bytes>> = BTreeMap::new();
    for record in trace() {
        let is_routine = record[offset_of!(wire::Header, class)] == wire::Class::Routine as u8;
        if is_routine && record[offset_of!(wire::Header, path)] == wire::Guarded::No as u8 {
            requests.entry(word(&record, offset_of!(wire::Header, request))).or_default().push(record);
        }
    }
    let is_whole = |records: &Vec<Bytes>| {
        let (first, last) = (records[0][0], records[records.len() - 1][0]);
        first == wire::Kind::Request as u8 && last == wire::Kind::End as u8
    };
    let requests: Vec<_> = requests.into_values().filter(is_whole).collect();
    assert!(requests.len() >= 3, "{}", requests.len());
    requests
}

fn int(record: &Bytes, at: usize) -> u32 {
    u32::from_ne_bytes(record[at..at + 4].try_into().unwrap())
}

fn word(record: &Bytes, at: usize) -> u64 {
    u64::from_ne_bytes(record[at..at + 8].try_into().unwrap())
}

fn put(record: &mut [u8], at: usize, value: u64) {
    record[at..at + 8].copy_from_slice(&value.to_ne_bytes());
}

/// The same records later.
fn later(records: &[Bytes], by: u64) -> Vec<Bytes> {
    let shift = |record: &Bytes| {
        let mut bytes = record.to_vec();
        for at in [offset_of!(wire::Header, time), offset_of!(wire::Header, request)] {
            put(&mut bytes, at, word(record, at) + by);
        }
        bytes.into()
    };
    records.iter().map(shift).collect()
}

/// What the kernel programs tell of these records at once: `Whole`, or `Again` without them.
fn gathered(kind: wire::Kind, name: u64, records: &[Bytes]) -> Bytes {
    let mut whole = vec![0; size_of::<wire::Whole>()];
    whole[..size_of::<wire::Header>()].copy_from_slice(&records[0][..size_of::<wire::Header>()]);
    whole[0] = kind as u8;
    put(&mut whole, offset_of!(wire::Whole, name), name);
    let place = offset_of!(wire::Whole, slot);
    whole[place..place + 4].copy_from_slice(&7_u32.to_ne_bytes());
    let parts = offset_of!(wire::Whole, parts);
    whole[parts..parts + 4].copy_from_slice(&u32::try_from(records.len()).unwrap().to_ne_bytes());
    for (index, record) in records.iter().enumerate() {
        put(&mut whole, offset_of!(wire::Whole, times) + 8 * index, word(record, offset_of!(wire::Header, time)));
        if kind as u8 == wire::Kind::Whole as u8 {
            let mut part = record.to_vec();
            put(&mut part, offset_of!(wire::Header, time), 0);
            put(&mut part, offset_of!(wire::Header, request), 0);
            part.resize(part.len().next_multiple_of(PADDING), 0);
            whole.extend_from_slice(&part);
        }
    }
    let len = u32::try_from(whole.len()).unwrap();
    whole[offset_of!(wire::Header, len)..][..4].copy_from_slice(&len.to_ne_bytes());
    whole.into()
}

struct Player {
    witness: Witness,
    auditor: Auditor,
}

impl Player {
    fn new() -> Self {
        let auditor = Auditor::new(Uuid::nil(), "node1", Commands::Full);
        let policy = Policy { rbac: true, ..Policy::new("node1") };
        Self { witness: Witness::new(policy, 100, 10250, 10255), auditor }
    }

    fn take(&mut self, record: &Bytes) -> Result<Vec<String>, DecodeError> {
        let clock = Clock::new(Timestamp(0), jiff::Timestamp::UNIX_EPOCH);
        let outcomes = self.witness.take(record, |_| Place::Host)?.into_iter();
        let written = outcomes.filter_map(|outcome| {
            let Outcome::Verdict(verdict) = outcome else { return None };
            Some(self.auditor.line(&verdict, clock, Marks::default(), |line| String::from_utf8(line.to_vec()).unwrap()))
        });
        Ok(written.collect())
    }

    fn play(&mut self, records: &[Bytes]) -> Vec<String> {
        records.iter().flat_map(|record| self.take(record).unwrap()).collect()
    }
}

#[test]
fn a_whole_request_is_what_its_records_are_one_by_one() {
    for records in requests() {
        let expected = Player::new().play(&records);
        assert_eq!(expected.len(), 1);
        assert_eq!(Player::new().play(&[gathered(wire::Kind::Whole, 1, &records)]), expected);
    }
}

#[test]
fn a_request_as_one_before_it_is_what_its_records_are_one_by_one() {
    for records in requests() {
        let (mut alone, mut together) = (Player::new(), Player::new());
        assert_eq!(together.play(&[gathered(wire::Kind::Whole, 1, &records)]), alone.play(&records));
        for by in [1, 1000, 1_000_000, 5_000_000_000] {
            let again = later(&records, by);
            assert_eq!(together.play(&[gathered(wire::Kind::Again, 1, &again)]), alone.play(&again));
        }
    }
}

/// What the caller of the trace is let in by, what would be enough, and what says nothing of it.
fn updates() -> Vec<Update> {
    let binding = |name: &str, role: &str| {
        let subject = json!({ "kind": "ServiceAccount", "namespace": "default", "name": "monitoring" });
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role });
        object(&json!({ "kind": "ClusterRoleBinding", "metadata": { "name": name }, "roleRef": role, "subjects": [subject] }))
    };
    let role = |name: &str, resource: &str| {
        let rule = json!({ "apiGroups": [""], "resources": [resource], "verbs": ["get"] });
        object(&json!({ "kind": "ClusterRole", "metadata": { "name": name }, "rules": [rule] }))
    };
    vec![
        Update::Listed(Kind::ClusterRole),
        Update::Listed(Kind::ClusterRoleBinding),
        role("nodes-proxy-get", "nodes/proxy"),
        binding("monitoring-np", "nodes-proxy-get"),
        binding("monitoring-finer", "finer"),
        role("finer", "nodes/*"),
        role("finer", "nodes/stats"),
        Update::Change(Change::BindingGone("monitoring-np".into())),
        Update::Lost(Kind::ClusterRole),
        Update::Listed(Kind::ClusterRole),
        binding("monitoring-np", "nodes-proxy-get"),
    ]
}

fn object(object: &serde_json::Value) -> Update {
    Update::Change(Object::parse(object).expect("an object").into_change())
}

#[test]
fn what_comes_again_is_judged_by_the_rbac_objects_of_then() {
    for records in requests() {
        let (mut alone, mut together) = (Player::new(), Player::new());
        // Some of the requests point to the users of others.
        assert_eq!(together.play(&trace()), alone.play(&trace()));
        assert_eq!(together.play(&[gathered(wire::Kind::Whole, 1, &records)]), alone.play(&records));
        let mut told = BTreeSet::new();
        for (number, update) in (1..).zip(updates()) {
            alone.witness.rbac(update.clone());
            together.witness.rbac(update.clone());
            // At once, a second later, and when the kubelet cannot have remembered any more what is not so.
            for by in [0, 1, 400].map(|seconds| (1000 * number + seconds) * 1_000_000_000) {
                let again = later(&records, by);
                let line = together.play(&[gathered(wire::Kind::Again, 1, &again)]);
                assert_eq!(line, alone.play(&again), "{update:?}");
                let annotations = line[0].find("\"annotations\"").unwrap();
                told.insert(line[0][annotations..].to_owned());
            }
        }
        let is_by_a_right = records.iter().any(|record| memchr::memmem::find(record, b"monitoring-np").is_some());
        assert_eq!(told.len() > 3, is_by_a_right, "{told:?}");
    }
}

#[test]
fn nothing_is_told_of_a_request_as_one_that_was_not_seen() {
    let requests = requests();
    let mut player = Player::new();
    let again = |name| gathered(wire::Kind::Again, name, &requests[0]);
    assert_eq!(player.take(&again(1)), Err(DecodeError::Unknown));
    player.play(&[gathered(wire::Kind::Whole, 1, &requests[0])]);
    assert_eq!(player.take(&again(2)), Err(DecodeError::Unknown), "another one");
    let fewer = gathered(wire::Kind::Again, 1, &requests[0][1..]);
    assert_eq!(player.take(&fewer), Err(DecodeError::Unknown), "it had another question");
    let mut of_another = again(1).to_vec();
    of_another[offset_of!(wire::Header, goroutine)] ^= 64;
    assert_eq!(player.take(&of_another.into()), Err(DecodeError::Unknown), "another goroutine");
    assert_eq!(player.play(&[again(1)]).len(), 1);
    player.play(&[gathered(wire::Kind::Whole, 3, &requests[1])]);
    assert_eq!(player.take(&again(1)), Err(DecodeError::Unknown), "it gave way");
    let without_end = &requests[0][..requests[0].len() - 1];
    assert_eq!(player.play(&[gathered(wire::Kind::Whole, 4, without_end)]), [""; 0]);
    assert_eq!(player.take(&gathered(wire::Kind::Again, 4, without_end)), Err(DecodeError::Unknown), "it was not over");
}

/// A request whose goroutine did not end the one before, as far as was seen.
#[test]
fn what_is_left_of_a_goroutine_is_told_first() {
    let requests = requests();
    let records = &requests[0];
    let mut player = Player::new();
    player.play(&[gathered(wire::Kind::Whole, 1, records)]);
    let unfinished = later(records, 10_000);
    assert_eq!(player.play(&unfinished[..1]), [""; 0]);
    let told = player.play(&[gathered(wire::Kind::Again, 1, &later(records, 20_000))]);
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("end-not-seen") && !told[1].contains("end-not-seen"), "{told:?}");
}

proptest! {
    /// Whatever comes, it is an error or records that are there.
    #[test]
    fn broken_ones_are_survived(number in 0..3_usize, cut in 0..2000_usize, flips in proptest::collection::vec((0..2000_usize, 0..=255_u8), 0..4)) {
        let records = &requests()[number];
        let mut whole = gathered(wire::Kind::Whole, 1, records).to_vec();
        let length = whole.len();
        for (at, with) in flips {
            whole[at % length] ^= with;
        }
        whole.truncate(cut.max(1));
        let mut player = Player::new();
        let _error = player.take(&whole.into());
        let _error = player.take(&gathered(wire::Kind::Again, 1, records));
        let _outcomes = player.witness.stop();
    }
}
