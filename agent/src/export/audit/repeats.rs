//! Lines that differ from one of before in nothing but the request's name and times: the rest of such a line is not written anew. On a node
//! most requests are of the same few callers for the same few things.

use std::cell::RefCell;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::micros::Second;
use super::{Instants, Marks};
use crate::exchange::Exchange;
use crate::judge::Verdict;
use crate::observation::{Check, End, Request};

/// Lines that are kept, each in the one place that its content has.
const KEPT: usize = 256;
/// Bytes of a line that is worth to be kept: twice what most have. Longer ones are written each time, so that nobody fills the memory.
const LONGEST: usize = 4096;

/// What all lines begin with (see [`super::AuditEvent`]): what differs from line to line comes first, at the same places in all of them.
const ID: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":""#;
const RECEIVED: &str = r#"","requestReceivedTimestamp":""#;
const STAGE: &str = r#"","stageTimestamp":""#;

/// The lines that were written before.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    lines: RefCell<Lines>,
}

#[derive(Debug)]
struct Lines {
    places: Box<[Place]>,
    second: Second,
    /// The last one that was written anew, whose room the next one takes.
    last: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// Of what came here last.
    hash: u64,
    /// Kept when it comes for the second time: a flood of what never comes again costs a number each.
    line: Option<Box<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    verdict: Verdict,
    marks: Marks,
    line: Box<[u8]>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { places: vec![Place::default(); KEPT].into(), second: Second::default(), last: Vec::new() }
    }
}

impl Repeats {
    /// Hands out the line of a verdict: one of before with other instants, or what `write` puts in the place of what it is given.
    pub(super) fn line<T>(
        &self,
        verdict: &Verdict,
        marks: Marks,
        instants: &Instants,
        write: impl FnOnce(&mut Vec<u8>),
        take: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let hash = self.hash(verdict);
        let Lines { places, second, last } = &mut *self.lines.borrow_mut();
        let count = places.len() as u64;
        let place = &mut places[usize::try_from(hash % count).unwrap_or_default()];
        if let Some(kept) = &mut place.line
            && kept.marks == marks
            && is_alike(&kept.verdict, verdict)
        {
            instants.put(&mut kept.line, second);
            return take(&kept.line);
        }
        write(last);
        let comes_again = std::mem::replace(&mut place.hash, hash) == hash;
        let is_kept = comes_again && last.len() <= LONGEST;
        place.line = is_kept.then(|| Box::new(Kept { verdict: verdict.clone(), marks, line: last.as_slice().into() }));
        take(last)
    }

    /// Of what tells most lines apart; the rest is compared.
    fn hash(&self, verdict: &Verdict) -> u64 {
        let exchange = &verdict.exchange;
        let request = exchange.request.as_ref();
        self.hasher.hash_one((
            request.map(|request| &request.uri),
            request.and_then(address),
            exchange.checks.last().map(|check| Arc::as_ptr(&check.user)),
            verdict.judgement.status,
        ))
    }
}

impl Instants {
    /// Writes them to their places in a line.
    fn put(&self, line: &mut [u8], second: &mut Second) {
        let [id, received, stage] = places();
        self.audit_id.hyphenated().encode_lower(&mut line[id]);
        line[received].copy_from_slice(second.text(self.received));
        line[stage].copy_from_slice(second.text(self.stage));
    }
}

const fn places() -> [Range<usize>; 3] {
    let id = ID.len();
    let received = id + 36 + RECEIVED.len();
    let stage = received + 27 + STAGE.len();
    [id..id + 36, received..received + 27, stage..stage + 27]
}

/// Whether two verdicts make the same event but for the request's name and its times. Every field is named, so that a new one is not
/// forgotten; those that are left out are in no event, or are in it by what the judgement says of them.
fn is_alike(one: &Verdict, other: &Verdict) -> bool {
    let Verdict { stage, at: _, exchange, judgement, raised: _ } = one;
    *stage == other.stage && are_alike(exchange, &other.exchange) && *judgement == other.judgement
}

fn are_alike(one: &Exchange, other: &Exchange) -> bool {
    let Exchange { id: _, request, asked_for: _, is_let_in: _, checks, answer: _, end, caller, gaps } = one;
    let requests = match (request, &other.request) {
        (Some(one), Some(other)) => is_same_request(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    requests
        && checks.len() == other.checks.len()
        && checks.iter().zip(&other.checks).all(|(one, other)| is_same_check(one, other))
        && end.and_then(panicked) == other.end.and_then(panicked)
        && *caller == other.caller
        && *gaps == other.gaps
}

fn is_same_request(one: &Request, other: &Request) -> bool {
    let Request { time: _, netns: _, read_only: _, method: _, path: _, uri, remote: _, user_agent, upgrade: _ } = one;
    *uri == other.uri && *user_agent == other.user_agent && address(one) == address(other)
}

fn is_same_check(one: &Check, other: &Check) -> bool {
    let Check { time: _, user, verb, subresource, node, decision, reason } = one;
    Arc::ptr_eq(user, &other.user)
        && *verb == other.verb
        && *subresource == other.subresource
        && *node == other.node
        && *decision == other.decision
        && *reason == other.reason
}

fn panicked(end: End) -> Option<bool> {
    let End { time: _, response: _, panicked } = end;
    panicked
}

fn address(request: &Request) -> Option<IpAddr> {
    request.remote.map(|remote| remote.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::exchange::{Gap, Place};
    use crate::export::audit::tests::{auditor, clock};
    use crate::export::audit::{Auditor, Commands};
    use crate::judge::testing::*;
    use crate::judge::{Judge, Policy};
    use crate::observation::{Decision, Lookup, Timestamp};

    /// The line as it is written where nothing is kept.
    fn anew(auditor: &Auditor, verdict: &Verdict, marks: Marks) -> Vec<u8> {
        let mut event = auditor.event(verdict, clock());
        event.mark(marks);
        event.to_line()
    }

    /// The same request again, by another goroutine and later.
    fn again(verdict: &Verdict, number: u64) -> Verdict {
        let mut verdict = verdict.clone();
        let later = |time: &mut Timestamp| time.0 += number * 1_234_567;
        later(&mut verdict.at);
        let exchange = &mut verdict.exchange;
        exchange.id.goroutine += number;
        exchange.id.begin.iter_mut().for_each(later);
        exchange.request.iter_mut().for_each(|request| later(&mut request.time));
        exchange.checks.iter_mut().for_each(|check| later(&mut check.time));
        exchange.answer.iter_mut().for_each(|(time, _)| later(time));
        exchange.end.iter_mut().for_each(|end| later(&mut end.time));
        verdict
    }

    fn kinds() -> Vec<Build> {
        let pods = || request("GET", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::Allow);
        vec![
            pods().status(200),
            pods().status(500),
            pods().status(200).panicked(true),
            pods().status(200).gap(Gap::Lost),
            pods().status(200).called_from(Place::Host),
            pods().status(200).called_from(Place::Unknown),
            pods().by("somebody else").status(200),
            pods().without_request().status(200),
            pods().change_check(|check| check.node = "other".into()).status(200),
            pods().change_check(|check| check.reason = "because".into()).status(200),
            pods().change_check(|check| check.verb = "list".into()).status(200),
            pods().request(|request| request.user_agent = Lookup::Found("other".into())).status(200),
            pods().request(|request| request.uri = "/pods?x=\u{202e}".into()).status(200),
            pods().request(|request| request.remote = Some("[2001:db8::1]:9".parse().unwrap())).status(200),
            pods().request(|request| request.upgrade = Lookup::Found("websocket".into())).status(200),
            request("GET", "/pods").check("pods", Decision::Deny).check("proxy", Decision::Allow).status(200),
            request("GET", "/pods").check("pods", Decision::Allow).status(200),
            request("GET", "/pods").status(401),
            request("GET", "/exec/default/web/main?command=id").upgrade("websocket").check("proxy", Decision::Allow).hijacked(),
        ]
    }

    #[test]
    fn a_line_of_before_with_new_instants_is_the_line_written_anew() {
        let auditor = auditor(Commands::Full);
        let mut judge = Judge::new(Policy::new(NODE), 8);
        let mut verdicts: Vec<Verdict> = kinds().into_iter().map(|build| judge.ended(build.seen())).collect();
        verdicts.push(judge.authorized(kinds().pop().unwrap().seen()));
        let marks = [Marks::default(), Marks { policy: true, last: false }, Marks { policy: false, last: true }];
        // Each alone first, so that it is kept; then in turn, so that what is kept meets what differs from it in one thing.
        for number in 0..4 {
            for verdict in &verdicts {
                for marks in marks {
                    for number in number * 3..(number + 1) * 3 {
                        let verdict = again(verdict, number);
                        let line = auditor.line(&verdict, clock(), marks, <[u8]>::to_vec);
                        assert_eq!(String::from_utf8_lossy(&line), String::from_utf8_lossy(&anew(&auditor, &verdict, marks)));
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_that_differs_is_alike() {
        let mut judge = Judge::new(Policy::new(NODE), 8);
        let verdicts: Vec<Verdict> = kinds().into_iter().map(|build| judge.ended(build.seen())).collect();
        for (left, one) in verdicts.iter().enumerate() {
            assert!(is_alike(one, &again(one, 5)));
            for (right, other) in verdicts.iter().enumerate() {
                assert_eq!(is_alike(one, other), left == right, "{left} {right}");
            }
        }
    }

    #[test]
    fn what_comes_once_and_what_is_long_is_not_kept() {
        let auditor = auditor(Commands::Full);
        let mut judge = Judge::new(Policy::new(NODE), 8);
        let mut write = |uri: &str, times: usize| {
            let verdict = judge.ended(request("GET", uri).status(404).seen());
            (0..times).for_each(|_| auditor.line(&verdict, clock(), Marks::default(), |_| ()));
        };
        let kept = || auditor.repeats.lines.borrow().places.iter().filter(|place| place.line.is_some()).count();
        (0..1000).for_each(|number| write(&format!("/{number}"), 1));
        assert_eq!(kept(), 0);
        write(&format!("/{}", "x".repeat(LONGEST)), 3);
        assert_eq!(kept(), 0);
        (0..10_000).for_each(|number| write(&format!("/{number}"), 2));
        assert!(kept() <= KEPT && kept() > KEPT / 2, "{}", kept());
    }

    #[test]
    fn the_places_are_those_of_the_line() {
        let verdict = Judge::new(Policy::new(NODE), 8).ended(request("GET", "/pods").status(404).seen());
        let line = anew(&auditor(Commands::Full), &verdict, Marks::default());
        let [id, received, stage] = places();
        assert!(line.starts_with(ID.as_bytes()) && Uuid::try_parse_ascii(&line[id]).is_ok());
        for time in [received, stage] {
            assert!(str::from_utf8(&line[time]).unwrap().parse::<jiff::Timestamp>().is_ok());
        }
    }
}
