//! `kubewitness report`: made-up events are read on one processor, and a report is made of what they tell.

use criterion::{Criterion, Throughput};
use kubewitness::{
    exchange::Exchange,
    export::{
        Clock,
        audit::{Auditor, Commands, Marks},
    },
    judge::{Judge, Policy},
    kubelet::Endpoint,
    observation::Timestamp,
    report::{
        Collector, Observed, Origin, Report,
        text::{Paint, text},
    },
    when::When,
};
use uuid::Uuid;

use crate::trace::{LIMIT, fallback, of};

/// Bytes of events, at least.
const BYTES: usize = 4 << 20;
/// What the agent reads of a file at once.
const CHUNK: usize = 256 << 10;
const NODES: u64 = 50;
const IDENTITIES: u64 = 30;
const TARGETS: [&str; 8] = [
    "/metrics",
    "/metrics/cadvisor",
    "/metrics/resource",
    "/metrics/probes",
    "/stats/summary?only_cpu_and_memory=true",
    "/pods",
    "/healthz",
    "/configz",
];

pub(crate) fn benches(criterion: &mut Criterion) {
    let events = events();
    let origin = Origin {
        source: "1 file of events".to_owned(),
        api_server_log: false,
        api_server_users: Policy::API_SERVER_USERS.map(str::to_owned).to_vec(),
    };
    let seen = read(&events);
    assert!(seen.notes.is_empty(), "all of them are read: {:?}", seen.notes);
    let mut group = criterion.benchmark_group("report");
    group.bench_function("tell", |bencher| bencher.iter(|| text(&Report::new(&seen, &origin, None), 80, Paint::Plain, &When::Utc)));
    group.throughput(Throughput::Bytes(events.len() as u64));
    group.bench_function("read", |bencher| bencher.iter_with_large_drop(|| read(&events)));
    group.finish();
}

fn read(events: &[u8]) -> Observed {
    let mut collector = Collector::new();
    collector.begin("events.jsonl");
    events.chunks(CHUNK).for_each(|chunk| collector.feed(chunk));
    collector.end();
    collector.finish()
}

/// Lines of events, by the agent's own judge and auditor. A tenth of the identities has no finer right and falls back.
fn events() -> Vec<u8> {
    let template = fallback();
    let mut judge = Judge::new(Policy::new("node1"), LIMIT);
    let auditors: Vec<_> = (0..NODES).map(|node| Auditor::new(Uuid::from_u128(node.into()), node_name(node), Commands::Full)).collect();
    let clock = Clock::new(Timestamp(0), jiff::Timestamp::UNIX_EPOCH);
    let mut events = Vec::with_capacity(2 * BYTES);
    for (number, auditor) in (0..).zip(auditors.iter().cycle()) {
        if events.len() >= BYTES {
            break;
        }
        let verdict = judge.ended(Box::new(exchange(&template, number)));
        auditor.line(&verdict, clock, Marks::default(), |line| events.extend_from_slice(line));
    }
    events
}

/// The recorded request, at another time, to another node and endpoint, of another caller.
fn exchange(template: &Exchange, number: u64) -> Exchange {
    let (target, identity) = (TARGETS[(number % 8) as usize], number / 8 % IDENTITIES);
    let path = target.split('?').next().unwrap_or_default();
    let mut exchange = of(template, "monitoring", &format!("agent-{identity}"));
    let later = |time: &mut Timestamp| time.0 += number * 4_000_000;
    exchange.id.begin.iter_mut().for_each(later);
    exchange.end.iter_mut().for_each(|end| later(&mut end.time));
    if let Some(request) = &mut exchange.request {
        later(&mut request.time);
        (request.path, request.uri) = (path.into(), target.into());
    }
    let endpoint = Endpoint::parse(path);
    let [refused, allowed] = &mut exchange.checks[..] else { panic!("two questions") };
    let asked = endpoint.finer().or(endpoint.required()).expect("a right");
    refused.subresource = asked.as_str().into();
    if endpoint.finer().is_none() || !identity.is_multiple_of(10) {
        allowed.subresource = asked.as_str().into();
        exchange.checks.remove(0);
    }
    for check in &mut exchange.checks {
        later(&mut check.time);
        check.node = node_name(number % NODES).as_str().into();
    }
    exchange
}

fn node_name(number: u64) -> String {
    format!("ip-10-0-{number}-17.eu-central-1.compute.internal")
}
