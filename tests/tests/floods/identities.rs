//! Callers, pods and addresses that are never the same twice, as far as a kubelet cannot be made to see so many: each identity is a token or a
//! certificate that an API server must know. So these go where the kernel's records go, and through all that the agent does with them.

use std::{fs, net::Ipv6Addr};

use kubewitness::{
    exchange::{Arrival, Connections, Exchanges, Part, Step},
    export::{
        Clock,
        audit::{Auditor, Commands},
        metrics::Metrics,
    },
    judge::{Judge, Policy, Verdict},
    observation::{Check, Decision, End, Lookup, Process, Request, RequestId, Response, Socket, SocketEvent, Timestamp, User},
    rbac::{Kind, Update},
};
use uuid::Uuid;

use crate::Form;

const IN_FLIGHT: usize = 16_384;
const IDENTITIES: usize = 1000;
/// After so many every map is as full as it will ever be, those of callers in a minute too.
const FILLED: u64 = 200_000;

/// Everything of a request that its caller chooses, by a number.
struct Caller(u64);

impl Caller {
    fn id(&self) -> RequestId {
        RequestId { tgid: 1, goroutine: 0xc000_0000 + 64 * self.0, begin: Some(self.at(0)) }
    }

    fn at(&self, step: u64) -> Timestamp {
        Timestamp(1_000_000_000 + 1_000_000 * self.0 + step)
    }

    fn address(&self) -> std::net::SocketAddr {
        (Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0000_0000_u128 + u128::from(self.0)), 40_000).into()
    }

    /// Let in and open for ever, let in and over, refused with 403, refused with 401, in turn.
    fn parts(&self) -> Vec<Part> {
        let n = self.0;
        let path = format!("/exec/namespace-{n}/pod-{n}/container-{n}");
        let request = Part::Request(Request {
            time: self.at(0),
            netns: 7,
            read_only: false,
            method: "GET".into(),
            uri: format!("{path}?command={n}").as_str().into(),
            path: path.as_str().into(),
            remote: Some(self.address()),
            user_agent: Lookup::Found(format!("agent-{n}").as_str().into()),
            upgrade: Lookup::Found(format!("protocol-{n}").as_str().into()),
        });
        let check = |decision| {
            let groups = vec![format!("group-{n}").as_str().into()];
            Part::Check(Check {
                time: self.at(1),
                user: User { name: format!("user-{n}").as_str().into(), group_count: Some(1), groups, ..User::default() }.into(),
                verb: "get".into(),
                subresource: "proxy".into(),
                node: "node1".into(),
                decision,
                reason: format!("RBAC: allowed by ClusterRoleBinding \"b-{n}\" of ClusterRole \"r-{n}\" to User \"user-{n}\"")
                    .as_str()
                    .into(),
            })
        };
        let end = |status, hijacked| {
            Part::End(End { time: self.at(3), response: Some(Response { status, written: 0, hijacked }), panicked: Some(false) })
        };
        match n % 4 {
            0 => vec![request, check(Decision::Allow), Part::Answer(self.at(2), 101)],
            1 => vec![request, check(Decision::Allow), Part::Answer(self.at(2), 101), end(0, true)],
            2 => vec![request, check(Decision::NoOpinion), end(403, false)],
            _ => vec![request, end(401, false)],
        }
    }
}

pub(crate) fn distinct(form: Form) {
    let count = form.of(60_000, 1_000_000);
    let metrics = Metrics::new("node1", IDENTITIES).unwrap();
    let auditor = Auditor::new(Uuid::from_u128(1), "node1", Commands::Full);
    let mut judge = Judge::new(Policy { rbac: true, ..Policy::new("node1") }, IN_FLIGHT);
    for kind in [Kind::ClusterRole, Kind::ClusterRoleBinding] {
        judge.rbac(Update::Listing(kind));
        judge.rbac(Update::Listed(kind));
    }
    let mut exchanges = Exchanges::new(IN_FLIGHT, 10250, 10255);
    let mut connections = Connections::new(IN_FLIGHT);
    let clock = Clock::new(Timestamp(0), jiff::Timestamp::UNIX_EPOCH);
    let (mut told, mut ended, mut memory) = (0, 0, 0);
    for n in 0..count {
        let caller = Caller(n);
        for event in [SocketEvent::Connected(Process { pid: 1, comm: "c".to_owned(), cgroup: n }), SocketEvent::Opened] {
            let server = "[2001:db8:1::1]:10250".parse().unwrap();
            connections.observe(&Socket { time: caller.at(0), event, netns: 7, server, client: caller.address() }, None);
        }
        for part in caller.parts() {
            let is_refused = n % 4 > 1;
            let arrival = Arrival { priority: !is_refused, ..Arrival::default() };
            for step in exchanges.observe(caller.id(), part, arrival, &mut connections) {
                let verdict: Option<Verdict> = match step {
                    Step::Authorized(exchange) => Some(judge.authorized(exchange)),
                    Step::Answered(exchange) => judge.answered(exchange),
                    Step::Ended(exchange) => Some(judge.ended(exchange)),
                };
                if let Some(verdict) = verdict {
                    metrics.record(&verdict);
                    told += u64::from(auditor.event(&verdict, clock).to_line().len() > 100);
                    ended += u64::from(verdict.stage == kubewitness::judge::Stage::Ended);
                }
            }
        }
        if n == FILLED {
            memory = resident();
        }
    }
    let in_flight = exchanges.in_flight() as u64;
    assert_eq!(ended + in_flight, count, "each has its end, or is in flight");
    assert!(in_flight <= 2 * IN_FLIGHT as u64 && connections.open() <= IN_FLIGHT);
    let series = metrics.render().unwrap().lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 12 * IDENTITIES, "{series} series");
    let grown = if memory > 0 { resident().saturating_sub(memory) } else { 0 };
    // A hash map that is more than half full and whose entries come and go takes twice its room, once; what is in it is boxed.
    assert!(grown < 16 << 10, "the process grew by {grown} KiB");
    let note =
        format!("{told} events made; {series} series with --max-identities {IDENTITIES}; grown by {grown} KiB after the first {FILLED}");
    form.row("distinct identities, pods, addresses and roles, without a kubelet", count, ended + in_flight, 0, &note);
}

/// Memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    line.expect("the kernel tells it")
}
