//! Interleavings and cuts: what comes out is either whole and right, or says that it is not.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::observation::{Decision, Lookup, Process, Response, Socket, SocketEvent, Text, User};

const PORT: u16 = 10250;
const READ_ONLY: u16 = 10255;
const NETNS: u32 = 7;

const SECOND: u64 = 1_000_000_000;

fn at(goroutine: u64, number: u64, step: u64) -> Timestamp {
    Timestamp(SECOND * number + 100 * goroutine + step)
}

fn peer(goroutine: u64) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000 + u16::try_from(goroutine).unwrap()))
}

/// The `number`th request of a goroutine, part by part; each third one is an exec, each third a refusal.
fn trace(goroutine: u64, number: u64) -> Vec<(RequestId, Part)> {
    let id = RequestId { tgid: 1, goroutine, begin: Some(at(goroutine, number, 0)) };
    let path = match number % 3 {
        0 => "/pods",
        1 => "/exec/default/web/main",
        _ => "/metrics",
    };
    let check = |step, subresource: &str, decision| {
        Part::Check(Check {
            time: at(goroutine, number, step),
            user: User { name: Text::from("alice"), group_count: Some(0), ..User::default() }.into(),
            verb: Text::from("get"),
            subresource: Text::from(subresource),
            node: Text::from("node1"),
            decision,
            reason: Text::from(""),
        })
    };
    let mut parts = vec![Part::Request(Request {
        time: at(goroutine, number, 0),
        netns: NETNS,
        read_only: false,
        method: Text::from("GET"),
        path: Text::from(path),
        uri: Text::from(path),
        remote: Some(peer(goroutine)),
        user_agent: Lookup::Absent,
        upgrade: Lookup::Absent,
    })];
    match number % 3 {
        0 => parts.extend([check(1, "pods", Decision::NoOpinion), check(2, "proxy", Decision::Allow)]),
        1 => parts.extend([check(1, "proxy", Decision::Allow), Part::Answer(at(goroutine, number, 2), 101)]),
        _ => parts.push(check(1, "metrics", Decision::NoOpinion)),
    }
    parts.push(Part::End(End {
        time: at(goroutine, number, 3),
        response: Some(Response { status: 200, written: 1, hijacked: false }),
        panicked: Some(false),
    }));
    parts.into_iter().map(|part| (id, part)).collect()
}

/// Execs come over the priority ring.
fn over_its_ring(id: &RequestId) -> Arrival {
    Arrival { priority: id.begin.is_some_and(|begin| begin.0 / SECOND % 3 == 1), ..Arrival::default() }
}

fn observe_all(parts: &[(RequestId, Part)]) -> Vec<Exchange> {
    let mut connections = Connections::new(100);
    let mut exchanges = Exchanges::new(100, PORT, READ_ONLY);
    let mut steps = Vec::new();
    for (id, part) in parts {
        steps.extend(exchanges.observe(*id, part.clone(), over_its_ring(id), &mut connections));
    }
    steps.extend(exchanges.process_gone(1));
    assert_eq!(exchanges.in_flight(), 0);
    ended_of(steps)
}

fn ended_of(steps: Vec<Step>) -> Vec<Exchange> {
    let mut ended: Vec<_> = steps
        .into_iter()
        .filter_map(|step| match step {
            Step::Ended(exchange) => Some(*exchange),
            Step::Authorized(_) | Step::Answered(_) => None,
        })
        .collect();
    ended.sort_by_key(|exchange| exchange.id);
    ended
}

/// The requests of some goroutines, one after the other.
fn goroutines(requests: u64) -> Vec<Vec<(RequestId, Part)>> {
    (0..3).map(|goroutine| (0..requests).flat_map(|number| trace(goroutine, number)).collect()).collect()
}

/// Takes from one of the goroutines at a time, as `choices` say.
fn interleave(mut of: Vec<Vec<(RequestId, Part)>>, choices: &[usize]) -> Vec<(RequestId, Part)> {
    for parts in &mut of {
        parts.reverse();
    }
    let mut merged = Vec::new();
    for choice in choices.iter().cycle() {
        of.retain(|parts| !parts.is_empty());
        if of.is_empty() {
            break;
        }
        let index = choice % of.len();
        merged.extend(of[index].pop());
    }
    merged
}

fn reference(requests: u64) -> Vec<Exchange> {
    observe_all(&goroutines(requests).concat())
}

#[test]
fn a_whole_trace_gives_whole_exchanges() {
    let reference = reference(6);
    assert_eq!(reference.len(), 18);
    for exchange in &reference {
        assert_eq!(exchange.gaps, [], "{exchange:?}");
        assert!(exchange.request.is_some() && exchange.end.is_some() && !exchange.checks.is_empty());
        assert_eq!(exchange.answer.is_some(), exchange.is_exec_class());
    }
}

#[test]
fn a_trace_that_begins_or_ends_anywhere_is_right_or_marked() {
    let reference = reference(6);
    let merged = interleave(goroutines(6), &[0, 1, 2, 2, 1]);
    for begin in 0..merged.len() {
        for end in begin..=merged.len() {
            for exchange in observe_all(&merged[begin..end]) {
                let whole = reference.iter().find(|whole| whole.id == exchange.id).expect("a request of the trace");
                assert_eq!(exchange.gaps.is_empty(), exchange == *whole, "cut {begin}..{end}: {exchange:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn goroutines_do_not_disturb_each_other(choices in proptest::collection::vec(0usize..6, 1..40)) {
        prop_assert_eq!(observe_all(&interleave(goroutines(5), &choices)), reference(5));
    }

    #[test]
    fn a_missing_record_never_makes_a_whole_exchange_wrong(choices in proptest::collection::vec(0usize..6, 1..40), lost in 0usize..60) {
        let reference = reference(5);
        let mut merged = interleave(goroutines(5), &choices);
        let (id, part) = merged.remove(lost % merged.len());
        let seen = observe_all(&merged);
        for exchange in &seen {
            let whole = reference.iter().find(|whole| whole.id == exchange.id).expect("a request of the trace");
            // A check or an answer that is lost leaves no trace here: the kernel programs count it, see the next test.
            let silent = exchange.id == id && matches!(part, Part::Check(_) | Part::Answer(..));
            prop_assert!(silent || exchange.gaps.is_empty() == (exchange == whole), "{:?}", exchange);
        }
    }
}

#[test]
fn lost_records_that_the_kernel_counted_mark_the_exchange() {
    let mut connections = Connections::new(10);
    let mut exchanges = Exchanges::new(10, PORT, READ_ONLY);
    let parts = trace(1, 0);
    let last = parts.len() - 1;
    let mut steps = Vec::new();
    for (index, (id, part)) in parts.into_iter().enumerate() {
        if !matches!(part, Part::Check(_)) {
            steps.extend(exchanges.observe(
                id,
                part,
                Arrival { lost: if index == last { 2 } else { 0 }, ..Arrival::default() },
                &mut connections,
            ));
        }
    }
    let ended = ended_of(steps);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].gaps, [Gap::Lost]);
}

#[test]
fn an_exec_that_overtakes_what_its_connection_asked_before_is_whole_and_so_is_that() {
    // Its ring wakes the agent and is read first.
    let is_exec = |(id, _): &&(RequestId, Part)| id.begin.is_some_and(|begin| begin.0 / 1000 % 3 == 1);
    let parts = goroutines(6).concat();
    let (priority, routine): (Vec<_>, Vec<_>) = parts.iter().partition(is_exec);
    for seen_first in 0..=priority.len() {
        let (before, after) = priority.split_at(seen_first);
        let overtaking: Vec<_> = before.iter().chain(&routine).chain(after).map(|part| (*part).clone()).collect();
        assert_eq!(observe_all(&overtaking), reference(6), "{seen_first}");
    }
}

#[test]
fn an_exec_is_reported_when_allowed_and_when_answered() {
    let mut connections = Connections::new(10);
    let mut exchanges = Exchanges::new(10, PORT, READ_ONLY);
    let mut seen = Vec::new();
    for (id, part) in trace(1, 1) {
        for step in exchanges.observe(id, part, over_its_ring(&id), &mut connections) {
            seen.push(match step {
                Step::Authorized(exchange) => ("authorized", exchange.checks.len(), exchange.answer.is_some()),
                Step::Answered(exchange) => ("answered", exchange.checks.len(), exchange.answer.is_some()),
                Step::Ended(exchange) => ("ended", exchange.checks.len(), exchange.answer.is_some()),
            });
        }
    }
    assert_eq!(seen, [("authorized", 1, false), ("answered", 1, true), ("ended", 1, true)]);
}

#[test]
fn what_is_in_flight_ends_once_when_nobody_watches_any_more() {
    let mut connections = Connections::new(10);
    let mut exchanges = Exchanges::new(10, PORT, READ_ONLY);
    // An exec that runs, a request that was begun, and one that is over.
    for (id, part) in trace(1, 1).into_iter().take(3).chain(trace(2, 0).into_iter().take(1)).chain(trace(3, 0)) {
        exchanges.observe(id, part, over_its_ring(&id), &mut connections);
    }
    let ended = ended_of(exchanges.stop());
    assert_eq!(
        ended.iter().map(|exchange| (exchange.id.goroutine, exchange.gaps.clone())).collect::<Vec<_>>(),
        [(1, vec![Gap::End]), (2, vec![Gap::End])]
    );
    assert_eq!((exchanges.stop(), exchanges.in_flight()), (vec![], 0));
}

#[test]
fn a_flood_of_requests_does_not_push_out_an_exec() {
    let mut connections = Connections::new(10);
    let mut exchanges = Exchanges::new(4, PORT, READ_ONLY);
    for (id, part) in trace(1, 1).into_iter().take(2) {
        exchanges.observe(id, part, over_its_ring(&id), &mut connections);
    }
    let mut evicted = Vec::new();
    for goroutine in 100..200 {
        let (id, part) = trace(goroutine, 0).remove(0);
        evicted.extend(ended_of(exchanges.observe(id, part, over_its_ring(&id), &mut connections)));
    }
    assert_eq!(evicted.len(), 96);
    assert!(evicted.iter().all(|exchange| exchange.gaps == [Gap::Evicted] && !exchange.is_exec_class()));
    assert_eq!(exchanges.in_flight(), 5);
}

fn socket(event: SocketEvent, netns: u32, client: SocketAddr) -> Socket {
    Socket { time: Timestamp(1), event, netns, server: SocketAddr::from(([192, 0, 2, 9], PORT)), client }
}

fn local(pid: u32) -> LocalCaller {
    LocalCaller { pid, comm: "curl".to_owned(), place: Place::Host }
}

#[test]
fn a_request_knows_who_opened_its_connection() {
    type Row = (Vec<(SocketEvent, Option<LocalCaller>)>, Caller);
    let process = || Process { pid: 4711, comm: "curl".to_owned(), cgroup: 0 };
    let connected = || (SocketEvent::Connected(process()), Some(local(4711)));
    let table: Vec<Row> = vec![
        (vec![], Caller::Unknown),
        (vec![(SocketEvent::Opened, None)], Caller::Remote),
        (vec![connected(), (SocketEvent::Opened, None)], Caller::Local(local(4711).into())),
        // Two clients in different network namespaces with the same addresses: which one it was cannot be told.
        (vec![connected(), (SocketEvent::Connected(process()), Some(local(9))), (SocketEvent::Opened, None)], Caller::Unknown),
        (vec![connected(), (SocketEvent::Opened, None), (SocketEvent::Closed, None)], Caller::Unknown),
    ];
    for (events, expected) in table {
        let mut connections = Connections::new(10);
        for (event, caller) in events.clone() {
            connections.observe(&socket(event, NETNS, peer(1)), caller);
        }
        let mut exchanges = Exchanges::new(10, PORT, READ_ONLY);
        let mut steps = Vec::new();
        for (id, part) in trace(1, 0) {
            steps.extend(exchanges.observe(id, part, over_its_ring(&id), &mut connections));
        }
        assert_eq!(ended_of(steps)[0].caller, expected, "{events:?}");
    }
}

#[test]
fn an_exec_outlives_its_connection_and_its_caller_stays_known() {
    let mut connections = Connections::new(10);
    let process = Process { pid: 4711, comm: "curl".to_owned(), cgroup: 0 };
    connections.observe(&socket(SocketEvent::Connected(process), NETNS, peer(1)), Some(local(4711)));
    connections.observe(&socket(SocketEvent::Opened, NETNS, peer(1)), None);
    let mut exchanges = Exchanges::new(10, PORT, READ_ONLY);
    let mut parts = trace(1, 1);
    let end = parts.pop().unwrap();
    let mut observe = |(id, part), connections: &mut Connections| exchanges.observe(id, part, over_its_ring(&id), connections);
    for part in parts {
        observe(part, &mut connections);
    }
    connections.observe(&socket(SocketEvent::Closed, NETNS, peer(1)), None);
    assert_eq!(ended_of(observe(end, &mut connections))[0].caller, Caller::Local(local(4711).into()));
}

#[test]
fn a_connection_without_a_request_is_told_apart() {
    let mut connections = Connections::new(10);
    let opened = |connections: &mut Connections, peer| connections.observe(&socket(SocketEvent::Opened, NETNS, peer), None);
    let closed = |connections: &mut Connections, peer| connections.observe(&socket(SocketEvent::Closed, NETNS, peer), None);
    assert_eq!(opened(&mut connections, peer(1)), [ConnectionStep::Opened(PORT)]);
    assert_eq!(opened(&mut connections, peer(2)), [ConnectionStep::Opened(PORT)]);
    connections.request(&ConnectionId { netns: NETNS, port: PORT, client: peer(1) }, Timestamp(1));
    assert_eq!(connections.open(), 2);
    assert_eq!(closed(&mut connections, peer(1)), [ConnectionStep::Closed(PORT)]);
    assert_eq!(closed(&mut connections, peer(2)), [ConnectionStep::Closed(PORT)]);
    assert_eq!(closed(&mut connections, peer(3)), [], "it was open before the agent came");
    assert_eq!(connections.forget(Timestamp(10_000_000_000)), [], "a request may be told late");
    assert_eq!(connections.forget(Timestamp(10_000_000_001)), [ConnectionStep::Silent]);
    assert_eq!(connections.stop(), []);
}

/// The kernel programs tell of most requests when they are over, and a client may be gone by then.
#[test]
fn a_request_is_joined_with_the_connection_that_was_open_when_it_began() {
    let id = ConnectionId { netns: NETNS, port: PORT, client: peer(1) };
    let mut connections = Connections::new(10);
    let change = |connections: &mut Connections, event, time| {
        let caller = |event: &SocketEvent| match event {
            SocketEvent::Connected(process) => Some(local(process.pid)),
            _ => None,
        };
        let caller = caller(&event);
        connections.observe(&Socket { time: Timestamp(time), ..socket(event, NETNS, peer(1)) }, caller)
    };
    let process = |pid| Process { pid, comm: "curl".to_owned(), cgroup: 0 };
    for (pid, from) in [(1, 10), (2, 30)] {
        change(&mut connections, SocketEvent::Connected(process(pid)), from);
        change(&mut connections, SocketEvent::Opened, from);
        if pid == 1 {
            assert_eq!(change(&mut connections, SocketEvent::Closed, from + 10), [ConnectionStep::Closed(PORT)]);
        }
    }
    let table = [(9, Caller::Unknown), (10, Caller::Local(local(1).into())), (20, Caller::Local(local(1).into())), (25, Caller::Unknown)];
    for (begin, caller) in table.into_iter().chain([(30, Caller::Local(local(2).into()))]) {
        assert_eq!(connections.caller(&id, Timestamp(begin)), caller, "{begin}");
    }
    connections.request(&id, Timestamp(15));
    change(&mut connections, SocketEvent::Closed, 40);
    assert_eq!(connections.stop(), [ConnectionStep::Silent], "the second one");
}

/// A peer that comes again and again has each of its silent connections counted.
#[test]
fn a_closed_connection_that_gives_way_is_told() {
    let mut connections = Connections::new(1);
    let mut steps = Vec::new();
    for _ in 0..3 {
        for event in [SocketEvent::Opened, SocketEvent::Closed] {
            steps.extend(connections.observe(&socket(event, NETNS, peer(1)), None));
        }
    }
    steps.extend(connections.stop());
    assert_eq!(steps.iter().filter(|step| **step == ConnectionStep::Silent).count(), 3);
}

#[test]
fn a_connection_that_is_forgotten_is_told() {
    let mut connections = Connections::new(1);
    connections.observe(&socket(SocketEvent::Opened, NETNS, peer(1)), None);
    let steps = connections.observe(&socket(SocketEvent::Opened, NETNS, peer(2)), None);
    assert_eq!(steps, [ConnectionStep::Evicted(PORT), ConnectionStep::Opened(PORT)]);
}

/// A request that is refused one right and let in by another is told twice from its begin on: over the routine ring, and over the other.
#[test]
fn a_refusal_over_the_other_ring_comes_before_what_let_the_request_in() {
    let [begin, allowed, answer, end] = trace(1, 1).try_into().unwrap();
    let id = begin.0;
    let refused = match &allowed.1 {
        Part::Check(check) => {
            Part::Check(Check { time: at(1, 1, 0), subresource: "pods".into(), decision: Decision::NoOpinion, ..check.clone() })
        }
        other => panic!("{other:?}"),
    };
    let over = |priority| Arrival { priority, endpoint: Some(Endpoint::Exec(None)), ..Arrival::default() };
    let mut connections = Connections::new(10);
    let mut exchanges = Exchanges::new(10, PORT, READ_ONLY);
    // The ring of the priority class is read first.
    let parts = [(true, begin.1.clone()), (true, allowed.1), (false, begin.1), (false, refused), (true, answer.1), (true, end.1)];
    let steps: Vec<_> =
        parts.into_iter().flat_map(|(priority, part)| exchanges.observe(id, part, over(priority), &mut connections)).collect();
    assert!(matches!(steps[..], [Step::Authorized(_), Step::Answered(_), Step::Ended(_)]), "{steps:?}");
    let [exchange] = ended_of(steps).try_into().unwrap();
    let decisions: Vec<_> = exchange.checks.iter().map(|check| check.decision).collect();
    assert_eq!((decisions, exchange.gaps, exchange.is_let_in), (vec![Decision::NoOpinion, Decision::Allow], vec![], true));
    assert_eq!(exchanges.in_flight(), 0);
}

#[test]
fn what_was_asked_for_is_known_without_the_begin_and_who_is_refused_is_not_let_in() {
    for (priority, part) in
        [true, false].into_iter().flat_map(|priority| trace(1, 1).into_iter().skip(1).map(move |(_, part)| (priority, part)))
    {
        let arrival = Arrival { priority, lost: 1, endpoint: Some(Endpoint::Run(None)) };
        let mut exchanges = Exchanges::new(10, PORT, READ_ONLY);
        let mut steps = exchanges.observe(trace(1, 1)[0].0, part.clone(), arrival, &mut Connections::new(10));
        steps.extend(exchanges.stop());
        let [exchange] = ended_of(steps).try_into().unwrap();
        assert_eq!((exchange.endpoint(), exchange.is_let_in), (Endpoint::Run(None), priority), "{part:?}");
    }
}
