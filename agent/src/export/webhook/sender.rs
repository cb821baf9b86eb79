//! The thread that sends what is queued.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{
    Options, Shared,
    backoff::Backoff,
    delivery::{Answer, Delivery, Step},
    event::{self, Key},
    queue::{Lost, Peeked},
    receiver::{Receiver, ReceiverError},
};

/// Bytes of the events of a request: what servers take that were not told to take more (nginx's `client_max_body_size`).
const BATCH_BYTES: usize = 1_000_000;
/// The gauges are looked at as often while nothing moves.
const LOOK: Duration = Duration::from_secs(1);

/// From the queue to the receiver.
pub(super) struct Sender {
    shared: Arc<Shared>,
    receiver: Receiver,
    delivery: Delivery,
    backoff: Backoff,
    wait: Duration,
    outage: Option<Outage>,
}

/// Since when nothing arrives.
struct Outage {
    begun: Instant,
    /// What was dropped before it.
    dropped: u64,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, receiver: Receiver, options: &Options) -> Self {
        Self {
            shared,
            receiver,
            delivery: Delivery::new(options.batch_max_size),
            backoff: Backoff::new(options.initial_backoff),
            wait: options.batch_max_wait,
            outage: None,
        }
    }

    /// Works until the end is near and nothing is left to be sent, or it cannot be sent.
    pub(super) async fn run(mut self) {
        while self.batch_is_due().await {
            let Peeked { events, lost } = self.shared.queue().peek(self.delivery.window(), BATCH_BYTES);
            if let Some(lost) = lost {
                self.lost(&lost);
            }
            if events.is_empty() {
                continue;
            }
            self.show_age(&events[0]);
            let range = self.delivery.range(events.len());
            let result = self.receiver.post(event::list(events[range].iter().map(Vec::as_slice))).await;
            let answer = result.as_ref().map_or_else(ReceiverError::answer, |()| Answer::Taken);
            let step = self.delivery.step(answer, events.len());
            match step {
                Step::Done { dropped, delivered } => self.done(&events[..dropped], delivered, result.as_ref().err()),
                Step::Again => debug!(?answer, "a batch is tried in another way"),
                Step::Rest => {
                    if self.is_closing() {
                        return;
                    }
                    self.rest(result.as_ref().err(), &events[0]).await;
                }
            }
        }
    }

    /// Waits until a batch is full, or its first event has waited long enough; false if there will be none.
    async fn batch_is_due(&self) -> bool {
        let mut first = None;
        loop {
            let waiting = self.shared.queue().waiting().events;
            let left = match (waiting, &first) {
                (0, _) if self.is_closing() => return false,
                (0, _) => {
                    self.shared.metrics.waiting_seconds.set(0);
                    Duration::MAX
                }
                _ if waiting >= self.delivery.size() as u64 || self.is_closing() || self.outage.is_some() => return true,
                (_, None) => self.wait,
                (_, Some(since)) => self.wait.saturating_sub(Instant::elapsed(since)),
            };
            if waiting > 0 {
                first.get_or_insert_with(Instant::now);
            }
            if left.is_zero() {
                return true;
            }
            // Either is a reason to look again.
            let _either = timeout(left, self.shared.wake.notified()).await;
        }
    }

    /// Takes away what was given up, and what arrived.
    fn done(&mut self, dropped: &[Vec<u8>], delivered: usize, why: Option<&ReceiverError>) {
        let acknowledged = {
            let mut queue = self.shared.queue();
            let acknowledged = queue.acknowledge(dropped.len() + delivered);
            self.shared.show(&**queue);
            acknowledged
        };
        if let Err(error) = acknowledged {
            warn!(
                "it cannot be written down that audit events have arrived: {error}; they may be sent again when the agent is started anew"
            );
        }
        if let Some(why) = why {
            for key in dropped.iter().map(|event| Key::of(event)) {
                warn!(
                    "the receiver refuses the event with auditID {} and stage {}, and takes others: it is dropped; {why}",
                    key.audit_id, key.stage
                );
            }
        }
        let metrics = &self.shared.metrics;
        metrics.dropped.inc_by(dropped.len() as u64);
        metrics.written.inc_by(delivered as u64);
        if delivered == 0 {
            return;
        }
        self.backoff.reset();
        if let Some(outage) = self.outage.take() {
            info!(
                "{} takes audit events again after {} s: {} wait, and {} were dropped meanwhile",
                self.receiver.shown(),
                outage.begun.elapsed().as_secs(),
                metrics.waiting.get(),
                metrics.dropped.get() - outage.dropped
            );
        }
    }

    async fn rest(&mut self, why: Option<&ReceiverError>, oldest: &[u8]) {
        let rest = self.backoff.rest(why.and_then(ReceiverError::rest), fraction());
        if let Some(why) = why {
            debug!("audit events are not taken, next try in {rest:?}: {why}");
            if self.outage.is_none() {
                warn!("audit events cannot be sent: {why}; they wait, and it is tried again and again");
                self.outage = Some(Outage { begun: Instant::now(), dropped: self.shared.metrics.dropped.get() });
            }
        }
        let until = Instant::now() + rest;
        while !self.is_closing() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK)).await;
            self.show_age(oldest);
        }
    }

    fn lost(&self, lost: &Lost) {
        self.shared.metrics.dropped.inc_by(lost.events);
        warn!("{} audit events of the webhook's queue are lost, and counted as dropped: {}", lost.events, lost.why);
    }

    /// How long the oldest event has waited, by its own time: it may be of an agent before this one.
    fn show_age(&self, oldest: &[u8]) {
        let age = Key::of(oldest).stage_timestamp.map(|time| jiff::Timestamp::now().duration_since(time).as_secs());
        self.shared.metrics.waiting_seconds.set(age.unwrap_or(0).max(0));
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }
}

/// At least 0, below 1. Each `RandomState` of the standard library has keys of its own.
fn fraction() -> f64 {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    f64::from(u32::from_ne_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}
