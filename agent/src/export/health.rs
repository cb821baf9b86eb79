//! Whether what the agent tells can be relied upon: what it watches, and what it doubts of itself.
//!
//! Whoever is woken at night asks first whether the watcher itself works. So every doubt takes `kubewitness_attached` to 0 and makes the agent
//! unready, with the reason in `/readyz`, in the log and, by its name, in `kubewitness_self_check_failed`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::metrics::{KubeletInfo, Metrics};
use crate::selfcheck::Check;

/// The daemon's loop turns every two seconds at least. One that has not for this long is not watching.
const STALLED: Duration = Duration::from_secs(5);
/// One that has not for this long will not again: the agent is no longer alive, and whoever runs it should start it anew.
const DEAD: Duration = Duration::from_secs(30);

/// How far the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not ready: it has not looked for a kubelet yet.
    Starting,
    /// Ready: it watches a kubelet; the text says which.
    Attached(String),
    /// Ready: there is no kubelet to watch; the text says why.
    Waiting(String),
    /// Not ready: there is a kubelet, and it cannot be watched; the text says why.
    Blind(String),
}

/// What is known of the agent's own state, shared by the threads that find it out and those that show it.
pub struct Health {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

struct State {
    readiness: Readiness,
    kubelets: Vec<KubeletInfo>,
    failed: BTreeMap<Check, String>,
    turned: Instant,
}

impl Health {
    /// Of an agent that has just started.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let state = State { readiness: Readiness::Starting, kubelets: Vec::new(), failed: BTreeMap::new(), turned: Instant::now() };
        Self { metrics, state: Mutex::new(state) }
    }

    /// The figures that follow from it.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The daemon's loop turned.
    pub fn turned(&self) {
        self.lock().turned = Instant::now();
    }

    /// What is watched changed.
    pub fn watches(&self, readiness: Readiness, kubelets: Vec<KubeletInfo>) {
        let mut state = self.lock();
        (state.readiness, state.kubelets) = (readiness, kubelets);
        self.show(&state);
    }

    /// A check passed, or failed for a reason. Logged when it changes.
    pub fn checked(&self, check: Check, failure: Option<String>) {
        self.set(&mut self.lock(), check, failure);
    }

    /// How long it takes until the loop counts as stalled if it does not turn.
    pub fn patience(&self) -> Duration {
        STALLED.saturating_sub(self.lock().turned.elapsed())
    }

    /// How far the agent is now.
    pub fn readiness(&self) -> Readiness {
        let mut state = self.lock();
        let still = state.turned.elapsed();
        let stalled =
            (still >= STALLED).then(|| format!("the agent's own loop has not turned for {} s: nothing is reported", still.as_secs()));
        self.set(&mut state, Check::Loop, stalled);
        match state.failed.values().next() {
            Some(reason) => Readiness::Blind(reason.clone()),
            None => state.readiness.clone(),
        }
    }

    /// Why the agent should be started anew, if it should.
    pub fn dead(&self) -> Option<String> {
        let still = self.lock().turned.elapsed();
        (still >= DEAD).then(|| format!("the agent's own loop has not turned for {} s", still.as_secs()))
    }

    fn set(&self, state: &mut State, check: Check, failure: Option<String>) {
        let before = state.failed.contains_key(&check);
        match (&failure, before) {
            (Some(reason), false) => warn!(check = check.as_str(), "{reason}"),
            (None, true) => info!(check = check.as_str(), "what was wrong is right again"),
            _ => {}
        }
        match failure {
            Some(reason) => _ = state.failed.insert(check, reason),
            None => _ = state.failed.remove(&check),
        }
        if before != state.failed.contains_key(&check) {
            self.show(state);
        }
    }

    fn show(&self, state: &State) {
        self.metrics.kubelets(&state.kubelets, state.failed.is_empty());
        for check in Check::ALL {
            self.metrics.self_check(check, state.failed.contains_key(&check));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::metrics::Sites;

    fn health() -> Health {
        Health::new(Arc::new(Metrics::new("node1", 10).unwrap()))
    }

    fn says(health: &Health, line: &str) -> bool {
        health.metrics().render().unwrap().lines().any(|is| is == line)
    }

    #[test]
    fn any_failed_check_takes_attached_to_0_until_all_pass() {
        let health = health();
        assert_eq!(health.readiness(), Readiness::Starting);
        let kubelet = KubeletInfo { sites: Sites::Emulated, ..KubeletInfo::unwatched() };
        health.watches(Readiness::Attached("it".to_owned()), vec![kubelet]);
        assert!(says(&health, "kubewitness_attached 1"));

        health.checked(Check::Coverage, Some("7 requests were not seen".to_owned()));
        health.checked(Check::Sockets, Some("no connection is told".to_owned()));
        assert!(says(&health, "kubewitness_attached 0"));
        assert!(says(&health, r#"kubewitness_self_check_failed{check="coverage"} 1"#));
        health.checked(Check::Coverage, None);
        assert_eq!(health.readiness(), Readiness::Blind("no connection is told".to_owned()));
        assert!(says(&health, "kubewitness_attached 0"));

        health.checked(Check::Sockets, None);
        assert_eq!(health.readiness(), Readiness::Attached("it".to_owned()));
        assert!(says(&health, "kubewitness_attached 1"));
        assert!(says(&health, r#"kubewitness_self_check_failed{check="coverage"} 0"#));
    }

    #[test]
    fn a_loop_that_does_not_turn_is_told_by_whoever_asks() {
        let health = health();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        health.lock().turned = ago(4);
        assert_eq!((health.readiness(), health.dead()), (Readiness::Starting, None));
        health.lock().turned = ago(6);
        let reason = "the agent's own loop has not turned for 6 s: nothing is reported".to_owned();
        assert_eq!((health.readiness(), health.dead()), (Readiness::Blind(reason), None));
        health.lock().turned = ago(31);
        assert_eq!(health.dead().as_deref(), Some("the agent's own loop has not turned for 31 s"));
        health.turned();
        assert_eq!((health.readiness(), health.dead()), (Readiness::Starting, None));
    }
}
