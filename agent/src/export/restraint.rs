//! How many events refused requests may become. Anybody who reaches the kubelet's port can make requests that are refused, as many as they
//! like and as long as they like: if each became an event, they would decide how fast the files of events turn, and push out what matters.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use super::weight::is_refused;
use crate::{
    judge::{Finding, Stage, Verdict},
    observation::Timestamp,
};

/// How long events are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Callers that are told apart in a window; the rest share the part of one.
const CALLERS: usize = 1024;
/// All callers together may have so many times what one may: those who have many names or addresses get no more by it.
const ALL: u32 = 10;

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is written.
    Write,
    /// It is written, and is the last one of its caller in this window.
    Last,
    /// It is not.
    Withhold,
}

/// Counts the refused requests that became events, a window at a time.
#[derive(Debug)]
pub struct Restraint {
    per_caller: u32,
    since: Timestamp,
    callers: HashMap<Key, u32>,
    /// Of all callers: of requests without a finding, and of those with one.
    all: [u32; 2],
    has_told: bool,
}

/// Those who share a part. A finding is not crowded out by what shows none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    caller: Caller,
    is_finding: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    /// Whom the kubelet recognised.
    Identity(String),
    /// Whom it did not.
    Address(Option<IpAddr>),
    /// There was no room for their names.
    Others,
}

impl Restraint {
    /// Lets so many events of a caller through each minute, and ten times as many of all of them; 0 for no limit.
    pub fn new(per_caller: u32) -> Self {
        Self { per_caller, since: Timestamp::default(), callers: HashMap::new(), all: [0; 2], has_told: false }
    }

    /// What becomes of the event of this verdict.
    pub(super) fn rule(&mut self, verdict: &Verdict) -> Ruling {
        let raises = |finding| verdict.raised.contains(finding);
        if self.per_caller == 0 || verdict.stage != Stage::Ended || !is_refused(&verdict.judgement.access) || raises(Finding::Probing) {
            return Ruling::Write;
        }
        if u128::from(verdict.at.0.saturating_sub(self.since.0)) >= WINDOW.as_nanos() {
            (self.since, self.all, self.has_told) = (verdict.at, [0; 2], false);
            self.callers.clear();
        }
        // An attempt is what every refused exec is.
        let is_finding = verdict.judgement.findings.iter().any(|finding| finding != Finding::ExecAttempt);
        let all = &mut self.all[usize::from(is_finding)];
        let mut key = Key { caller: Caller::of(verdict), is_finding };
        if self.callers.len() >= CALLERS && !self.callers.contains_key(&key) {
            key.caller = Caller::Others;
        }
        let own = self.callers.entry(key.clone()).or_default();
        if *own >= self.per_caller || *all >= self.per_caller.saturating_mul(ALL) {
            if !std::mem::replace(&mut self.has_told, true) {
                tracing::warn!(
                    caller = ?key.caller,
                    "there are too many refused requests: for the rest of this minute theirs are counted and not written, see --refused-events"
                );
            }
            return Ruling::Withhold;
        }
        (*own, *all) = (*own + 1, *all + 1);
        if *own == self.per_caller { Ruling::Last } else { Ruling::Write }
    }
}

impl Caller {
    fn of(verdict: &Verdict) -> Self {
        let exchange = &verdict.exchange;
        let name = exchange.checks.last().and_then(|check| check.user.name.known());
        let address = || exchange.request.as_ref().and_then(|request| request.remote).map(|remote| remote.ip().to_canonical());
        name.map_or_else(|| Self::Address(address()), |name| Self::Identity(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        judge::{Judge, Policy, testing},
        observation::Decision,
    };

    const LIMIT: u32 = 5;

    struct Bench {
        judge: Judge,
        restraint: Restraint,
    }

    impl Bench {
        fn new(limit: u32) -> Self {
            Self { judge: judge(), restraint: Restraint::new(limit) }
        }

        /// What becomes of a request, whoever may be probing.
        fn rule(&mut self, build: testing::Build, seconds: u64) -> Ruling {
            self.judge = judge();
            self.rule_on(build, seconds)
        }

        fn rule_on(&mut self, build: testing::Build, seconds: u64) -> Ruling {
            let mut verdict = self.judge.ended(build.seen());
            verdict.at = Timestamp(seconds * 1_000_000_000);
            self.restraint.rule(&verdict)
        }

        fn written(&mut self, count: usize, seconds: u64, build: impl Fn(usize) -> testing::Build) -> usize {
            (0..count).filter(|number| self.rule(build(*number), seconds) != Ruling::Withhold).count()
        }
    }

    fn judge() -> Judge {
        Judge::new(Policy::new(testing::NODE), 8)
    }

    fn unauthenticated(_: usize) -> testing::Build {
        testing::request("GET", "/exec/a/b/c").status(401)
    }

    fn denied(name: &str) -> testing::Build {
        let build = testing::request("GET", "/pods").by(name);
        build.check("pods", Decision::NoOpinion).check("proxy", Decision::NoOpinion).status(403)
    }

    #[test]
    fn a_caller_has_so_many_a_minute_and_is_told_at_the_last() {
        use Ruling::{Last, Withhold, Write};
        let mut bench = Bench::new(LIMIT);
        let rulings: Vec<_> = (0..7).map(|number| bench.rule(unauthenticated(number), 100)).collect();
        assert_eq!(rulings, [Write, Write, Write, Write, Last, Withhold, Withhold]);
        assert_eq!(bench.written(10, 159, unauthenticated), 0);
        assert_eq!(bench.written(10, 160, unauthenticated), 5);
        assert_eq!(bench.written(10, 160, |_| denied("alice")), 5, "another caller");
        assert_eq!(Bench::new(0).written(1000, 160, unauthenticated), 1000, "no limit");
    }

    #[test]
    fn a_crowd_has_ten_times_as_many_and_no_more_memory_than_that() {
        let mut bench = Bench::new(LIMIT);
        assert_eq!(bench.written(3 * CALLERS, 100, |number| denied(&format!("user-{number}"))), 50);
        assert!(bench.restraint.callers.len() <= CALLERS + 1);
    }

    #[test]
    fn what_was_let_in_and_what_is_wrong_is_written_all_the_same() {
        let mut bench = Bench::new(LIMIT);
        let rulings = (0..100).map(|_| bench.rule_on(denied(testing::SERVICE_ACCOUNT), 100));
        assert_eq!(rulings.filter(|ruling| *ruling != Ruling::Withhold).count(), 6, "5, and the one that is probing");
        let stolen = |_| denied(testing::SERVICE_ACCOUNT).called_from(crate::exchange::Place::Host);
        assert_eq!(bench.written(100, 100, stolen), 5, "a finding has a part of its own");
        assert_eq!(bench.written(100, 100, |_| testing::request("GET", "/pods").check("pods", Decision::Allow).status(200)), 100);
    }
}
