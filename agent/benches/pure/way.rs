//! The recorded trace on its way through the agent: each part of the way, and all of it.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use kubewitness::{
    exchange::{Arrival, Connections, Exchanges, LocalCaller, Part, Place, Step},
    export::{
        Clock,
        audit::{Auditor, Commands, Marks},
    },
    judge::{Judge, Policy, Verdict},
    observation::{Observation, RequestId, Socket, SocketEvent, Timestamp},
    probe::{Decoded, Told, Users, decode},
};
use uuid::Uuid;

use crate::trace::{LIMIT, PORTS, records, verdicts, witness};

pub(crate) fn benches(criterion: &mut Criterion) {
    let records = records();
    decoding(criterion, &records);
    assembling(criterion, &records);
    judging(criterion, &records);
    serialising(criterion, &records);
    whole(criterion, &records);
}

fn decoding(criterion: &mut Criterion, records: &[Bytes]) {
    let mut users = Users::default();
    in_elements(criterion, records.len()).bench_function("decode", |bencher| {
        bencher.iter(|| records.iter().for_each(|record| drop(decode(record, &mut users).expect("a record"))));
    });
}

fn assembling(criterion: &mut Criterion, records: &[Bytes]) {
    let inputs = inputs(records);
    in_elements(criterion, inputs.len()).bench_function("assemble", |bencher| {
        bencher.iter_batched(|| (inputs.clone(), Assembler::new()), |(inputs, assembler)| assembler.steps(inputs), BatchSize::SmallInput);
    });
}

fn judging(criterion: &mut Criterion, records: &[Bytes]) {
    let (steps, _) = Assembler::new().steps(inputs(records));
    let mut judge = Judge::new(Policy::new("node1"), LIMIT);
    in_elements(criterion, steps.len()).bench_function("judge", |bencher| {
        let all = |steps: Vec<Step>| steps.into_iter().map(|step| judged(&mut judge, step)).collect::<Vec<_>>();
        bencher.iter_batched(|| steps.clone(), all, BatchSize::SmallInput);
    });
}

fn serialising(criterion: &mut Criterion, records: &[Bytes]) {
    let mut witness = witness();
    let verdicts: Vec<Verdict> = records.iter().flat_map(|record| verdicts(&mut witness, record).collect::<Vec<_>>()).collect();
    let auditor = auditor();
    in_elements(criterion, verdicts.len()).bench_function("serialise", |bencher| {
        bencher.iter(|| verdicts.iter().for_each(|verdict| auditor.line(verdict, clock(), Marks::default(), seen)));
    });
}

fn seen(line: &[u8]) {
    black_box(line);
}

/// Again and again over the same witness: users are known, as on a node where the same few call.
fn whole(criterion: &mut Criterion, records: &[Bytes]) {
    let (mut witness, auditor) = (witness(), auditor());
    in_elements(criterion, records.len()).bench_function("whole", |bencher| {
        bencher.iter(|| {
            for record in records {
                verdicts(&mut witness, record).for_each(|verdict| auditor.line(&verdict, clock(), Marks::default(), seen));
            }
        });
    });
}

fn in_elements(criterion: &mut Criterion, count: usize) -> BenchmarkGroup<'_, WallTime> {
    let mut group = criterion.benchmark_group("way");
    group.throughput(Throughput::Elements(count as u64));
    group
}

fn auditor() -> Auditor {
    Auditor::new(Uuid::nil(), "node1", Commands::Full)
}

fn clock() -> Clock {
    Clock::new(Timestamp(0), jiff::Timestamp::UNIX_EPOCH)
}

/// What comes to the assembler.
#[derive(Clone)]
enum Input {
    Part(RequestId, Part, Arrival),
    Socket(Socket, Option<LocalCaller>),
}

fn inputs(records: &[Bytes]) -> Vec<Input> {
    let mut users = Users::default();
    let decoded = records.iter().flat_map(|record| match decode(record, &mut users).expect("a record") {
        Told::One(decoded) => vec![decoded],
        Told::Whole(whole) => whole.parts,
        Told::Again(_) => Vec::new(),
    });
    let input = |Decoded { observation, arrival }| match observation {
        Observation::Request(id, request) => Input::Part(id, Part::Request(request), arrival),
        Observation::Check(id, check) => Input::Part(id, Part::Check(check), arrival),
        Observation::Answer(id, time, status) => Input::Part(id, Part::Answer(time, status), arrival),
        Observation::End(id, end) => Input::Part(id, Part::End(end), arrival),
        Observation::Socket(socket) => {
            let caller = match &socket.event {
                SocketEvent::Connected(process) => Some(LocalCaller { pid: process.pid, comm: process.comm.clone(), place: Place::Host }),
                _ => None,
            };
            Input::Socket(socket, caller)
        }
    };
    decoded.map(input).collect()
}

struct Assembler {
    exchanges: Exchanges,
    connections: Connections,
}

impl Assembler {
    fn new() -> Self {
        Self { exchanges: Exchanges::new(LIMIT, PORTS.0, PORTS.1), connections: Connections::new(LIMIT) }
    }

    /// What the inputs lead to; the assembler is handed back, so that its end is not measured.
    fn steps(mut self, inputs: Vec<Input>) -> (Vec<Step>, Self) {
        let mut steps = Vec::new();
        for input in inputs {
            match input {
                Input::Part(id, part, arrival) => steps.extend(self.exchanges.observe(id, part, arrival, &mut self.connections)),
                Input::Socket(socket, caller) => drop(self.connections.observe(&socket, caller)),
            }
        }
        (steps, self)
    }
}

fn judged(judge: &mut Judge, step: Step) -> Option<Verdict> {
    match step {
        Step::Authorized(exchange) => Some(judge.authorized(exchange)),
        Step::Answered(exchange) => judge.answered(exchange),
        Step::Ended(exchange) => Some(judge.ended(exchange)),
    }
}
