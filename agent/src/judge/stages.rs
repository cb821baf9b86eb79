//! The judge's bench: an exchange comes up for judgement when it is authorized, when the runtime answers, while it lasts and when it ends,
//! and each of its findings is raised once.

use std::collections::HashMap;
use std::time::Duration;

use super::{Backing, Court, Entitlement, Finding, Findings, Judgement, Policy, Prober, Probing, Rights};
use crate::exchange::Exchange;
use crate::kubelet::Access;
use crate::observation::{RequestId, Timestamp};
use crate::rbac::Update;

/// An exec-class request that is authorized, not answered and not over after this time is taken to be executed. The kubelet ends what it
/// refuses (no such pod, bad options) at once; what it runs may last for hours, and for `run` and WebSocket v5 no answer is ever seen.
pub const GRACE: Duration = Duration::from_millis(300);

/// How far an exchange had come when it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A request of the exec class was allowed.
    Authorized,
    /// The runtime answered it.
    Answered,
    /// It is still there [`GRACE`] after it was allowed, and no answer was seen.
    Lasting,
    /// It is over.
    Ended,
}

/// A judged exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How far it had come.
    pub stage: Stage,
    /// When it came so far.
    pub at: Timestamp,
    /// What was seen of it.
    pub exchange: Box<Exchange>,
    /// What it amounts to.
    pub judgement: Judgement,
    /// Those findings that no earlier verdict on the same exchange had: what counters count.
    pub raised: Findings,
}

impl Verdict {
    /// The kernel's time of the record that led to this verdict, for the latency of detection.
    pub fn cause(&self) -> Timestamp {
        if self.stage == Stage::Lasting { authorized_at(&self.exchange) } else { self.at }
    }
}

/// Judges exchanges as they go on.
#[derive(Debug)]
pub struct Judge {
    court: Court,
    /// Boxed: a hash map whose entries come and go has room for up to four times as many as are in it, and an exchange is large.
    running: HashMap<RequestId, Box<Running>>,
    limit: usize,
    probing: Probing,
}

/// A request of the exec class that was allowed and is not over.
#[derive(Debug)]
struct Running {
    exchange: Box<Exchange>,
    raised: Findings,
    /// What the RBAC objects of the time when it was let in explain: they may change while it runs, and that changes nothing for it.
    entitlement: Option<Entitlement>,
    /// Nothing more can come of its lasting on.
    settled: bool,
}

impl Judge {
    /// Follows at most `limit` running requests, and at most `limit` callers for [`Finding::Probing`]. `limit` should be what the assembler
    /// of exchanges keeps: then every running request has its place. One that has none is judged when authorized and when it ends.
    pub fn new(policy: Policy, limit: usize) -> Self {
        Self { court: Court::new(policy), running: HashMap::new(), limit, probing: Probing::new(limit) }
    }

    /// The RBAC objects changed. Nothing comes of it where the policy does not follow them.
    pub fn rbac(&mut self, update: Update) {
        if let Some(rights) = &mut self.court.rights {
            rights.take(update);
        }
    }

    /// Whether all RBAC objects are known.
    pub fn is_rbac_synced(&self) -> bool {
        self.court.rights.as_ref().is_some_and(Rights::is_synced)
    }

    /// A request of the exec class was allowed.
    pub fn authorized(&mut self, exchange: Box<Exchange>) -> Verdict {
        let at = authorized_at(&exchange);
        let judgement = self.court.judge(&exchange, Stage::Authorized, at, None);
        let mut raised = judgement.findings;
        if self.running.len() < self.limit || self.running.contains_key(&exchange.id) {
            let running = Running { exchange: exchange.clone(), raised, entitlement: lasting(&judgement), settled: false };
            self.running.insert(exchange.id, Box::new(running));
        } else {
            // Nobody will remember that it was raised: its end raises it.
            raised = Findings::default();
        }
        Verdict { stage: Stage::Authorized, at, exchange, judgement, raised }
    }

    /// The runtime answered; a verdict if that raises a finding.
    pub fn answered(&mut self, exchange: Box<Exchange>) -> Option<Verdict> {
        if exchange.request.is_none() && self.running.len() < self.limit {
            // Nobody could tell that it was an exec when it was authorized.
            let running = Running { exchange: exchange.clone(), raised: Findings::default(), entitlement: None, settled: true };
            self.running.entry(exchange.id).or_insert_with(|| Box::new(running));
        }
        let running = self.running.get_mut(&exchange.id)?;
        let at = exchange.answer.map_or_else(|| latest(&exchange), |(time, _)| time);
        running.exchange = exchange;
        running.judge(Stage::Answered, at, &mut self.court)
    }

    /// Time passed. Call it every 100 ms or so: verdicts on those that outlasted [`GRACE`] and thereby raise a finding.
    pub fn lasting(&mut self, now: Timestamp) -> Vec<Verdict> {
        let due = |running: &Running| {
            !running.settled && u128::from(now.0.saturating_sub(authorized_at(&running.exchange).0)) >= GRACE.as_nanos()
        };
        let court = &mut self.court;
        let mut verdicts: Vec<Verdict> = self
            .running
            .values_mut()
            .filter(|running| due(running))
            .filter_map(|running| {
                running.settled = true;
                running.judge(Stage::Lasting, now, court)
            })
            .collect();
        verdicts.sort_by_key(|verdict| verdict.exchange.id);
        verdicts
    }

    /// A request is over.
    pub fn ended(&mut self, exchange: Box<Exchange>) -> Verdict {
        let running = self.running.remove(&exchange.id);
        let (before, entitlement) = running.map_or_else(Default::default, |running| (running.raised, running.entitlement));
        let (at, judgement) = self.last(&exchange, entitlement);
        let mut raised = judgement.findings.minus(before);
        if before.contains(Finding::UnloggedExec) {
            // It outlasted the grace and then failed after all. It was counted as executed; counting it again would make two of one.
            raised.remove(Finding::ExecAttempt);
        }
        Verdict { stage: Stage::Ended, at, exchange, judgement, raised }
    }

    /// The same of a request that was told at once: its exchange is new, the rest is the verdict on another one. `stands` if that was judged on
    /// the same [`Self::basis`], and differs in nothing but the request's name and times.
    pub fn ended_again(&mut self, verdict: &mut Verdict, stands: bool) {
        verdict.stage = Stage::Ended;
        if stands && verdict.judgement.is_timeless() {
            verdict.at = ended_at(&verdict.exchange);
        } else {
            (verdict.at, verdict.judgement) = self.last(&verdict.exchange, None);
        }
        verdict.raised = verdict.judgement.findings;
    }

    /// What judgements rest on beside their exchanges: another number once the RBAC objects are others.
    pub fn basis(&self) -> u64 {
        self.court.rights.as_ref().map_or(0, Rights::generation)
    }

    fn last(&mut self, exchange: &Exchange, entitlement: Option<Entitlement>) -> (Timestamp, Judgement) {
        let at = ended_at(exchange);
        let mut judgement = self.court.judge(exchange, Stage::Ended, at, entitlement);
        if let Some(prober) = prober(exchange, &judgement.access)
            && self.probing.refused(prober, at)
        {
            judgement.findings.insert(Finding::Probing);
        }
        (at, judgement)
    }
}

impl Running {
    fn judge(&mut self, stage: Stage, at: Timestamp, court: &mut Court) -> Option<Verdict> {
        let judgement = court.judge(&self.exchange, stage, at, self.entitlement.clone());
        self.entitlement = lasting(&judgement);
        // An attempt is one when it is over: until then its end may still say otherwise.
        let mut raised = judgement.findings.minus(self.raised);
        raised.remove(Finding::ExecAttempt);
        self.raised = self.raised.union(raised);
        (!raised.is_empty()).then(|| Verdict { stage, at, exchange: self.exchange.clone(), judgement, raised })
    }
}

/// What is concluded for as long as a request lasts. Where it is not explained, the objects may only come late.
fn lasting(judgement: &Judgement) -> Option<Entitlement> {
    judgement.entitlement.clone().filter(|entitlement| entitlement.backing == Backing::Confirmed)
}

/// Whose refusal this was: of the user, or of the address of those whom the kubelet did not recognise.
fn prober(exchange: &Exchange, access: &Access) -> Option<Prober> {
    match access {
        Access::Denied => exchange.checks.last()?.user.name.known().map(|name| Prober::Identity(name.to_owned())),
        Access::Unauthenticated => exchange.request.as_ref()?.remote.map(|remote| Prober::Address(remote.ip().to_canonical())),
        _ => None,
    }
}

fn authorized_at(exchange: &Exchange) -> Timestamp {
    exchange.checks.last().map_or_else(|| latest(exchange), |check| check.time)
}

fn ended_at(exchange: &Exchange) -> Timestamp {
    exchange.end.map_or_else(|| latest(exchange), |end| end.time)
}

/// When the last thing of it was seen.
fn latest(exchange: &Exchange) -> Timestamp {
    let times = [
        exchange.request.as_ref().map(|request| request.time),
        exchange.checks.last().map(|check| check.time),
        exchange.answer.map(|(time, _)| time),
        exchange.end.map(|end| end.time),
    ];
    times.into_iter().flatten().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Gap;
    use crate::judge::REFUSALS;
    use crate::judge::testing::*;
    use crate::kubelet::Endpoint;
    use crate::observation::Decision;

    fn bench() -> Judge {
        Judge::new(Policy::new(NODE), 8)
    }

    fn ids(findings: Findings) -> Vec<&'static str> {
        findings.iter().map(Finding::id).collect()
    }

    fn later(exchange: &Exchange, millis: u64) -> Timestamp {
        Timestamp(authorized_at(exchange).0 + millis * 1_000_000)
    }

    fn exec(upgrade: &str) -> Build {
        request("GET", "/exec/a/b/c").upgrade(upgrade).check("proxy", Decision::Allow)
    }

    /// All that is raised over the life of one request, with the stage that raises it.
    fn life(
        judge: &mut Judge,
        authorized: Build,
        answer: Option<u16>,
        lasts: bool,
        end: impl FnOnce(Build) -> Build,
    ) -> Vec<(Stage, String)> {
        let mut told = Vec::new();
        let mut tell = |verdict: &Verdict| {
            let raised = verdict.raised.iter().map(|finding| (verdict.stage, finding.id().to_owned()));
            told.extend(raised);
        };
        tell(&judge.authorized(authorized.clone().seen()));
        let start = authorized.clone().seen();
        judge.lasting(later(&start, 100)).iter().for_each(&mut tell);
        let build = match answer {
            Some(status) => authorized.answer(status),
            None => authorized,
        };
        if answer.is_some() {
            judge.answered(build.clone().seen()).iter().for_each(&mut tell);
        }
        if lasts {
            judge.lasting(later(&start, 300)).iter().for_each(&mut tell);
            judge.lasting(later(&start, 3000)).iter().for_each(&mut tell);
        }
        tell(&judge.ended(end(build).seen()));
        assert!(judge.running.is_empty());
        assert!(judge.lasting(later(&start, 9000)).is_empty());
        told
    }

    #[test]
    fn one_exec_is_raised_once_and_as_early_as_it_is_known() {
        use Stage::{Answered, Ended, Lasting};
        type Row = (Build, Option<u16>, bool, fn(Build) -> Build, Vec<(Stage, &'static str)>);
        let run = || request("POST", "/run/a/b/c?cmd=id").check("proxy", Decision::Allow);
        let rows: Vec<Row> = vec![
            (exec("SPDY/3.1"), Some(101), true, Build::hijacked, vec![(Answered, "unlogged-exec")]),
            (exec("SPDY/3.1"), Some(101), false, Build::hijacked, vec![(Answered, "unlogged-exec")]),
            (exec("SPDY/3.1"), Some(403), true, Build::hijacked, vec![(Ended, "exec-attempt")]),
            (exec("SPDY/3.1"), None, false, |build| build.status(404), vec![(Ended, "exec-attempt")]),
            // The answer was lost, or the answer site could not be probed.
            (exec("SPDY/3.1"), None, true, Build::hijacked, vec![(Lasting, "unlogged-exec")]),
            // WebSocket v5 and run never show an answer.
            (exec("websocket"), None, true, Build::hijacked, vec![(Lasting, "unlogged-exec")]),
            (exec("websocket"), None, false, Build::hijacked, vec![(Ended, "unlogged-exec")]),
            (exec("websocket"), None, false, |build| build.status(404), vec![(Ended, "exec-attempt")]),
            (run(), None, true, |build| build.status(200), vec![(Lasting, "unlogged-exec")]),
            (run(), None, false, |build| build.status(200), vec![(Ended, "unlogged-exec")]),
            (run(), None, true, |build| build.gap(Gap::KubeletGone), vec![(Lasting, "unlogged-exec")]),
            // A runtime that takes long to say no: one request is never counted twice.
            (run(), None, true, |build| build.status(404), vec![(Lasting, "unlogged-exec")]),
        ];
        for (build, answer, lasts, end, expected) in rows {
            let told = life(&mut bench(), build.clone(), answer, lasts, end);
            let told: Vec<_> = told.iter().map(|(stage, id)| (*stage, id.as_str())).collect();
            assert_eq!(told, expected, "{answer:?} {lasts} {build:#?}");
        }
    }

    #[test]
    fn the_api_server_is_left_in_peace() {
        let build = request("GET", "/exec/a/b/c").upgrade("websocket").by(API_SERVER).check("proxy", Decision::Allow);
        assert_eq!(life(&mut bench(), build, None, true, Build::hijacked), []);
    }

    #[test]
    fn the_end_tells_all_findings_but_raises_only_new_ones() {
        let mut judge = bench();
        let build = exec("websocket").called_from(crate::exchange::Place::Host);
        let first = judge.authorized(build.clone().seen());
        assert_eq!(ids(first.raised), ["stolen-token"]);
        let lasting = judge.lasting(later(&first.exchange, 300));
        assert_eq!(lasting.iter().map(|verdict| ids(verdict.raised)).collect::<Vec<_>>(), [["unlogged-exec"]]);
        assert_eq!(lasting[0].cause(), authorized_at(&first.exchange));
        let last = judge.ended(build.hijacked().seen());
        assert_eq!(ids(last.judgement.findings), ["unlogged-exec", "stolen-token"]);
        assert_eq!(ids(last.raised), [""; 0]);
    }

    #[test]
    fn an_exec_whose_begin_was_lost_is_raised_when_the_runtime_answers() {
        let mut judge = bench();
        let mut exchange = exec("SPDY/3.1").answer(101).gap(Gap::Begin).seen();
        exchange.request = None;
        let answered = judge.answered(exchange.clone()).expect("a verdict");
        assert_eq!(ids(answered.raised), ["unlogged-exec"]);
        exchange.end = exec("SPDY/3.1").hijacked().seen().end;
        let ended = judge.ended(exchange);
        assert_eq!((ids(ended.judgement.findings), ids(ended.raised)), (vec!["unlogged-exec"], vec![]));
        assert!(judge.running.is_empty());

        let mut refused = exec("SPDY/3.1").answer(403).gap(Gap::Begin).seen();
        refused.request = None;
        assert_eq!(judge.answered(refused.clone()), None);
        assert_eq!(ids(judge.ended(refused).raised), [""; 0]);

        let mut by_the_api_server = exec("SPDY/3.1").gap(Gap::Begin).seen();
        by_the_api_server.request = None;
        by_the_api_server.checks = request("GET", "/x").by(API_SERVER).check("proxy", Decision::Allow).seen().checks;
        by_the_api_server.answer = Some((Timestamp(1), 101));
        assert_eq!(judge.answered(by_the_api_server.clone()), None);
        assert_eq!(ids(judge.ended(by_the_api_server).raised), [""; 0]);
    }

    #[test]
    fn what_was_let_in_is_told_whichever_records_of_it_were_lost() {
        use Stage::{Answered, Ended, Lasting};
        type Row = (&'static str, Endpoint, bool, Option<u16>, fn(Build) -> Build, Vec<(Stage, &'static str)>);
        let exec = || Endpoint::Exec(None);
        let run = || Endpoint::Run(None);
        let rows: Vec<Row> = vec![
            ("an exec over SPDY without its begin", exec(), true, Some(101), Build::hijacked, vec![(Answered, "unlogged-exec")]),
            ("a shell over WebSocket v5 without its begin", exec(), true, None, Build::hijacked, vec![(Lasting, "unlogged-exec")]),
            ("a run without its begin", run(), true, None, |build| build.status(200), vec![(Lasting, "unlogged-exec")]),
            ("an exec that failed, without its begin", exec(), true, Some(404), |build| build.status(404), vec![(Ended, "exec-attempt")]),
            ("an answer and an end", exec(), false, Some(101), Build::hijacked, vec![(Answered, "unlogged-exec")]),
            ("nothing but the end, of a shell", exec(), false, None, Build::hijacked, vec![(Ended, "unlogged-exec")]),
            ("nothing but the end, of a run", run(), false, None, |build| build.status(200), vec![(Ended, "unlogged-exec")]),
            ("nothing but the end, of one that failed", run(), false, None, |build| build.status(404), vec![(Ended, "exec-attempt")]),
            (
                "nothing but the end, of a checkpoint",
                Endpoint::Checkpoint(None),
                false,
                None,
                |build| build.status(200),
                vec![(Ended, "checkpoint")],
            ),
        ];
        for (what, endpoint, has_check, answer, end, expected) in rows {
            let mut judge = bench();
            let mut told = Vec::new();
            let mut tell = |verdict: Verdict| told.extend(verdict.raised.iter().map(|finding| (verdict.stage, finding.id())));
            let without_begin = |build: Build| {
                let mut exchange = build.gap(Gap::Begin).gap(Gap::Lost).seen();
                (exchange.request, exchange.asked_for, exchange.is_let_in) = (None, Some(endpoint.clone()), true);
                exchange
            };
            let mut build = request("GET", "/");
            if has_check {
                build = build.check("proxy", Decision::Allow);
                let authorized = without_begin(build.clone());
                tell(judge.authorized(authorized.clone()));
                if answer.is_none() {
                    judge.lasting(later(&authorized, 300)).into_iter().for_each(&mut tell);
                }
            }
            if let Some(status) = answer {
                build = build.answer(status);
                judge.answered(without_begin(build.clone())).into_iter().for_each(&mut tell);
            }
            tell(judge.ended(without_begin(end(build))));
            assert_eq!(told, expected, "{what}");
        }
    }

    #[test]
    fn a_request_without_a_place_is_raised_at_its_end() {
        let mut judge = Judge::new(Policy::new(NODE), 1);
        judge.authorized(exec("SPDY/3.1").seen());
        let second = exec("SPDY/3.1").goroutine(2).called_from(crate::exchange::Place::Host);
        let told = life_of_untracked(&mut judge, second);
        assert_eq!(told, ["unlogged-exec", "stolen-token"]);
    }

    fn life_of_untracked(judge: &mut Judge, build: Build) -> Vec<&'static str> {
        assert!(judge.authorized(build.clone().seen()).raised.is_empty());
        let answered = build.answer(101);
        assert_eq!(judge.answered(answered.clone().seen()), None);
        ids(judge.ended(answered.hijacked().seen()).raised)
    }

    #[test]
    fn many_refusals_are_probing() {
        let refused =
            |n| request("GET", "/pods").goroutine(n).check("pods", Decision::NoOpinion).check("proxy", Decision::NoOpinion).status(403);
        let unknown = |n| request("GET", "/metrics").goroutine(n).status(401);
        let said = |build: &dyn Fn(u64) -> Build| {
            let mut judge = bench();
            let probing = (0..u64::from(2 * REFUSALS)).map(|n| judge.ended(build(n).seen()).raised.contains(Finding::Probing));
            probing.enumerate().filter(|(_, said)| *said).map(|(n, _)| n + 1).collect::<Vec<_>>()
        };
        let threshold = usize::try_from(REFUSALS).unwrap();
        assert_eq!(said(&refused), [threshold]);
        assert_eq!(said(&unknown), [threshold]);
        assert_eq!(said(&|n| request("GET", "/nothing").goroutine(n).status(404)), [0; 0]);
        assert_eq!(said(&|n| unknown(n).gap(Gap::Lost)), [0; 0]);
    }
}
