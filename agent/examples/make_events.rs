//! Writes made-up events to stdout, the same at each run, as an agent would write them: through its own judge and auditor.
//!
//! `cargo run --release --example make_events -- 1073741824 > events.jsonl` writes at least so many bytes: the requests of 30 identities on
//! 50 nodes to every endpoint, mostly metrics, with refusals, fallbacks and a few execs. `cargo xtask bench report` reads them.

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use kubewitness::exchange::{Caller, Exchange};
use kubewitness::export::Clock;
use kubewitness::export::audit::{Auditor, Commands};
use kubewitness::judge::{Judge, Policy};
use kubewitness::kubelet::{Endpoint, Subresource, Verb};
use kubewitness::observation::{Check, Decision, End, Lookup, Request, RequestId, Response, Timestamp, User};
use uuid::Uuid;

fn main() -> Result<()> {
    let wanted: u64 = std::env::args().nth(1).context("how many bytes? see the head of this file")?.parse()?;
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let mut dice = Dice(7);
    let mut nodes: Vec<Node> = (0..50).map(Node::new).collect();
    let clock = Clock::new(Timestamp(0), "2026-03-04T05:06:07Z".parse()?);
    let mut written = 0;
    let mut now = 1_000_000_000;
    while written < wanted {
        now += 1_000_000 + u64::from(dice.below(4_000_000));
        let node = &mut nodes[dice.below(50) as usize];
        for line in node.request(&mut dice, Timestamp(now), clock) {
            written += line.len() as u64;
            out.write_all(&line)?;
        }
    }
    Ok(out.flush()?)
}

/// How often in a thousand, method, target.
const REQUESTS: [(u32, &str, &str); 25] = [
    (150, "GET", "/metrics"),
    (250, "GET", "/metrics/cadvisor"),
    (120, "GET", "/metrics/resource"),
    (80, "GET", "/metrics/probes"),
    (20, "GET", "/metrics/slis"),
    (100, "GET", "/stats/summary?only_cpu_and_memory=true"),
    (120, "GET", "/pods"),
    (10, "GET", "/runningpods/"),
    (60, "GET", "/healthz"),
    (15, "GET", "/configz"),
    (5, "GET", "/statusz"),
    (5, "GET", "/flagz"),
    (5, "GET", "/allocatedPods/default/web"),
    (20, "GET", "/containerLogs/monitoring/prometheus-0/prometheus?tailLines=100&follow=true&timestamps=true"),
    (5, "GET", "/logs/kubelet.log"),
    (5, "GET", "/exec/default/web/main?command=sh&command=-c&command=cat+%2Fetc%2Fpasswd&input=1&output=1&tty=1"),
    (3, "POST", "/exec/default/web/main?command=id&output=1&error=1"),
    (3, "GET", "/attach/default/web/main?input=1&output=1"),
    (3, "POST", "/run/default/web/main?cmd=ls%20-l"),
    (3, "POST", "/portForward/default/web?port=8080"),
    (2, "POST", "/checkpoint/default/web/main"),
    (3, "GET", "/debug/pprof/heap"),
    (2, "PUT", "/debug/flags/v"),
    (10, "GET", "/nothing"),
    (1, "GET", ""),
];

/// Numbers that look like chance and are the same at each run (Steele, Lea, Flood: `SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed >> 32) * u64::from(limit)) >> 32) as u32
    }
}

struct Node {
    name: String,
    judge: Judge,
    auditor: Auditor,
    goroutine: u64,
}

impl Node {
    fn new(number: u32) -> Self {
        let name = format!("ip-10-0-{number}-17.eu-central-1.compute.internal");
        let auditor = Auditor::new(Uuid::from_u128(number.into()), name.clone(), Commands::Full);
        Self { judge: Judge::new(Policy::new(name.clone()), 1024), name, auditor, goroutine: 0xc000_0000 }
    }

    /// The lines of one request.
    fn request(&mut self, dice: &mut Dice, begin: Timestamp, clock: Clock) -> Vec<Vec<u8>> {
        let mut at = dice.below(1000);
        let picked = REQUESTS.iter().find(|(often, ..)| at.checked_sub(*often).map(|rest| at = rest).is_none());
        let (_, method, uri) = *picked.unwrap_or(&REQUESTS[0]);
        self.goroutine += 64;
        let mut exchange = self.exchange(method, uri, begin);
        let status = self.check(&mut exchange, dice, method);
        let allowed = exchange.checks.last().is_some_and(|check| check.decision == Decision::Allow);
        let mut lines = Vec::new();
        let path = uri.split('?').next().unwrap_or_default();
        if allowed && Endpoint::parse(path).is_exec_class() {
            let verdict = self.judge.authorized(Box::new(exchange.clone()));
            lines.push(self.auditor.event(&verdict, clock).to_line());
            exchange.answer = Some((Timestamp(begin.0 + 9_000_000), 101));
            if let Some(verdict) = self.judge.answered(Box::new(exchange.clone())) {
                lines.push(self.auditor.event(&verdict, clock).to_line());
            }
        }
        let response = Response { status, written: 4711, hijacked: exchange.answer.is_some() };
        exchange.end = Some(End { time: Timestamp(begin.0 + 12_000_000), response: Some(response), panicked: Some(false) });
        let verdict = self.judge.ended(Box::new(exchange));
        lines.push(self.auditor.event(&verdict, clock).to_line());
        lines
    }

    fn exchange(&self, method: &str, uri: &str, begin: Timestamp) -> Exchange {
        let request = Request {
            time: begin,
            netns: 4_026_531_840,
            read_only: false,
            method: method.into(),
            path: uri.split('?').next().unwrap_or_default().into(),
            uri: uri.into(),
            remote: Some(([10, 0, 12, 34], 54_758).into()),
            user_agent: Lookup::Found("Prometheus/3.5.0".into()),
            upgrade: Lookup::Absent,
        };
        Exchange {
            id: RequestId { tgid: 1234, goroutine: self.goroutine, begin: Some(begin) },
            request: (!uri.is_empty()).then_some(request),
            asked_for: None,
            is_let_in: false,
            checks: Vec::new(),
            answer: None,
            end: None,
            caller: Caller::Remote,
            gaps: Vec::new(),
        }
    }

    /// Asks the authorizer as the kubelet does; the status of the answer. A tenth has no finer right, a tenth none at all.
    fn check(&self, exchange: &mut Exchange, dice: &mut Dice, method: &str) -> u16 {
        let identity = dice.below(30);
        let (legacy, refused, unknown) = (identity % 10 == 3, identity % 10 == 7, dice.below(200) == 0);
        let path = exchange.request.as_ref().and_then(|request| request.path.whole()).unwrap_or("/pods");
        let endpoint = Endpoint::parse(path);
        let time = Timestamp(exchange.id.begin.unwrap_or_default().0 + 1_000_000);
        if unknown {
            return 401;
        }
        for asked in [endpoint.finer(), endpoint.required()].into_iter().flatten() {
            let finer = endpoint.finer() == Some(asked);
            let decision = if refused || (finer && legacy) { Decision::NoOpinion } else { Decision::Allow };
            exchange.checks.push(self.answer(identity, time, method, asked, decision));
            if decision == Decision::Allow {
                return 200;
            }
        }
        403
    }

    fn answer(&self, identity: u32, time: Timestamp, method: &str, asked: Subresource, decision: Decision) -> Check {
        let account = format!("agent-{identity}");
        let reason = format!(
            r#"RBAC: allowed by ClusterRoleBinding "{account}" of ClusterRole "{account}-kubelet" to ServiceAccount "{account}/monitoring""#
        );
        Check {
            time,
            user: self.user(&account).into(),
            verb: Verb::of_method(method).as_str().into(),
            subresource: asked.as_str().into(),
            node: self.name.as_str().into(),
            decision,
            reason: if decision == Decision::Allow { reason.as_str().into() } else { "".into() },
        }
    }

    fn user(&self, account: &str) -> User {
        User {
            name: format!("system:serviceaccount:monitoring:{account}").as_str().into(),
            uid: "5c0a3a4e-2d1d-4c84-b0a5-3f1f8f6f8f11".into(),
            groups: ["system:serviceaccounts", "system:serviceaccounts:monitoring", "system:authenticated"].map(Into::into).to_vec(),
            group_count: Some(3),
            pod_name: Lookup::Found(format!("{account}-x7k2p").as_str().into()),
            pod_uid: Lookup::Found("0b7cf0b6-8d0e-4d3b-9a59-4fd1f1c5a0a7".into()),
            node_name: Lookup::Found(self.name.as_str().into()),
            node_uid: Lookup::Found("a3f7d6a2-5f0c-4a42-8f8b-7f2b3d1c9e55".into()),
            credential_id: Lookup::Found("JTI=6f0b8a1e-1c55-4df6-9d40-52b7a2b1cbb1".into()),
        }
    }
}
