//! What to send next, and what follows from how the receiver took it: the pure part of the sender.
//!
//! A batch that is refused for what may be in it is halved, down to the one event at fault. That one is dropped only where the receiver
//! takes another one and refuses this one again: a receiver that refuses everything is itself at fault, and costs no event.

use std::ops::Range;

/// Events that are tried one by one before the receiver has a rest.
const PROBES: usize = 8;
/// So many events are looked at, also where batches are smaller: one of them may show that the receiver is well.
const LEAST_WINDOW: usize = 64;

/// How the receiver took what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has it.
    Taken,
    /// It does not want it, perhaps for what is in it.
    Refused,
    /// There is no answer, or one that says nothing about what was sent.
    Unwell,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Of those that wait, the first `dropped` are given up, and the `delivered` that follow have arrived.
    Done {
        /// Refused for good.
        dropped: usize,
        /// Taken.
        delivered: usize,
    },
    /// Something else can be tried at once.
    Again,
    /// The receiver needs a rest.
    Rest,
}

/// Which of the events that wait are sent together.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Events of a batch, as it was set.
    most: usize,
    /// Events of the next batch; smaller than `most` after a refusal, and doubled by each success.
    next: usize,
    trial: Trial,
}

/// A search for the event that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    None,
    /// So many from the first on were refused, each alone; the next one shows whether it is they or the receiver.
    Alone {
        refused: usize,
    },
    /// The one after these was taken. They are tried once more, each alone: the receiver may have come to its senses.
    Again {
        refused: usize,
    },
}

impl Delivery {
    /// Batches have at most this many events, at least one.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, next: most, trial: Trial::None }
    }

    /// So many events are worth a request; fewer may wait for others.
    pub(super) fn size(&self) -> usize {
        if self.trial == Trial::None { self.next } else { 1 }
    }

    /// How many of the events that wait are looked at.
    pub(super) fn window(&self) -> usize {
        self.most.max(LEAST_WINDOW)
    }

    /// Which of the events that wait are to be sent, given how many of the window there are; empty only if there is none.
    pub(super) fn range(&self, waiting: usize) -> Range<usize> {
        match self.trial {
            Trial::None => 0..self.next.min(waiting),
            // Fewer wait than did only if some were lost meanwhile.
            Trial::Alone { refused } => refused.min(waiting.saturating_sub(1))..(refused + 1).min(waiting),
            Trial::Again { .. } => 0..1.min(waiting),
        }
    }

    /// What follows from the answer to [`Self::range`] of as many.
    pub(super) fn step(&mut self, answer: Answer, waiting: usize) -> Step {
        let sent = self.range(waiting).len();
        match (answer, self.trial) {
            (Answer::Unwell, _) => self.afresh(Step::Rest),
            (Answer::Taken, Trial::None) => {
                self.next = (self.next * 2).min(self.most);
                Step::Done { dropped: 0, delivered: sent }
            }
            (Answer::Taken, Trial::Alone { refused }) => {
                self.trial = Trial::Again { refused };
                Step::Again
            }
            (Answer::Taken, Trial::Again { .. }) => self.afresh(Step::Done { dropped: 0, delivered: 1 }),
            (Answer::Refused, Trial::None) if sent > 1 => {
                self.next = sent / 2;
                Step::Again
            }
            (Answer::Refused, Trial::None) => self.alone(1, waiting),
            (Answer::Refused, Trial::Alone { refused }) => self.alone(refused + 1, waiting),
            (Answer::Refused, Trial::Again { refused: 1 }) => self.afresh(Step::Done { dropped: 1, delivered: 1 }),
            (Answer::Refused, Trial::Again { refused }) => {
                self.trial = Trial::Again { refused: refused - 1 };
                Step::Done { dropped: 1, delivered: 0 }
            }
        }
    }

    fn alone(&mut self, refused: usize, waiting: usize) -> Step {
        if refused >= waiting {
            return self.afresh(Step::Rest);
        }
        self.trial = Trial::Alone { refused };
        if refused.is_multiple_of(PROBES) { Step::Rest } else { Step::Again }
    }

    /// Ends the search; the next batch is one event, whatever is found out about it.
    fn afresh(&mut self, step: Step) -> Step {
        if self.trial != Trial::None {
            self.trial = Trial::None;
            self.next = 1;
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// Sends events that are numbered from 0 on to a receiver, until all are gone or so many requests were made. Gives those that were
    /// delivered, those that were dropped, what the receiver took, and the number of requests and rests.
    fn play(
        count: usize,
        most: usize,
        requests: usize,
        mut answer: impl FnMut(&[usize]) -> Answer,
    ) -> (Vec<usize>, Vec<usize>, Vec<usize>, usize, usize) {
        let mut delivery = Delivery::new(most);
        let mut queue: VecDeque<usize> = (0..count).collect();
        let (mut delivered, mut dropped, mut taken, mut rests) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for request in 0..requests {
            if queue.is_empty() {
                return (delivered, dropped, taken, request, rests);
            }
            let waiting: Vec<usize> = queue.iter().copied().take(delivery.window()).collect();
            let range = delivery.range(waiting.len());
            assert!(!range.is_empty() && range.len() <= most);
            let sent = &waiting[range];
            let how = answer(sent);
            if how == Answer::Taken {
                taken.extend(sent);
            }
            match delivery.step(how, waiting.len()) {
                Step::Done { dropped: bad, delivered: good } => {
                    assert!(bad + good > 0, "something is done");
                    dropped.extend(queue.drain(..bad));
                    delivered.extend(queue.drain(..good));
                }
                Step::Again => {}
                Step::Rest => rests += 1,
            }
        }
        (delivered, dropped, taken, requests, rests)
    }

    #[test]
    fn batches_are_full_and_in_order() {
        let (delivered, dropped, _, requests, rests) = play(1000, 400, 10, |_| Answer::Taken);
        assert_eq!((delivered, dropped, requests, rests), ((0..1000).collect(), vec![], 3, 0));
    }

    #[test]
    fn a_receiver_that_refuses_everything_costs_nothing() {
        let (delivered, dropped, _, requests, rests) = play(50, 10, 1000, |_| Answer::Refused);
        assert_eq!((delivered.len(), dropped.len(), requests), (0, 0, 1000));
        assert!(rests > 100, "it rests often: {rests}");
        let (_, dropped, _, _, rests) = play(1, 10, 100, |_| Answer::Refused);
        assert_eq!((dropped.len(), rests), (0, 100), "one event alone shows nothing about the receiver");
    }

    #[test]
    fn an_event_at_fault_costs_few_requests() {
        let (delivered, dropped, _, requests, rests) =
            play(1000, 400, 100, |sent| if sent.contains(&123) { Answer::Refused } else { Answer::Taken });
        assert_eq!((delivered.len(), dropped), (999, vec![123]));
        assert!(requests < 40, "{requests}");
        assert_eq!(rests, 0);
    }

    #[test]
    fn a_receiver_that_takes_small_batches_gets_small_batches() {
        let (delivered, dropped, ..) = play(1000, 400, 1000, |sent| if sent.len() > 7 { Answer::Refused } else { Answer::Taken });
        assert_eq!((delivered.len(), dropped.len()), (1000, 0));
    }

    #[test]
    fn a_refusal_that_passes_costs_nothing() {
        let mut seen = 0;
        let (delivered, dropped, ..) = play(100, 10, 200, |_| {
            seen += 1;
            // The batch, its half and so on, down to the first event alone; the next one is taken, and so is the first one then.
            if seen <= 4 { Answer::Refused } else { Answer::Taken }
        });
        assert_eq!((delivered, dropped), ((0..100).collect(), vec![]));
    }

    proptest! {
        /// Whatever is refused for good, and however the receiver fails in between: what it would take arrives, in order, and what it would
        /// not take is dropped.
        #[test]
        fn what_can_arrive_arrives(
            count in 1_usize..120,
            most in 1_usize..50,
            bad in proptest::collection::btree_set(0_usize..120, 0..12),
            unwell in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            // The last one is good: behind it is nothing that would show that the receiver is well.
            let bad: BTreeSet<usize> = bad.into_iter().filter(|number| number + 1 < count).collect();
            let mut unwell = unwell.into_iter();
            let (delivered, dropped, taken, ..) = play(count, most, 20_000, |sent| {
                if unwell.next() == Some(true) { Answer::Unwell }
                else if sent.iter().any(|number| bad.contains(number)) { Answer::Refused }
                else { Answer::Taken }
            });
            prop_assert_eq!(&dropped, &bad.iter().copied().collect::<Vec<_>>());
            let good: Vec<usize> = (0..count).filter(|number| !bad.contains(number)).collect();
            prop_assert_eq!(&delivered, &good);
            // As the receiver sees them for the first time.
            let mut first = Vec::new();
            for number in taken {
                if !first.contains(&number) {
                    first.push(number);
                }
            }
            prop_assert_eq!(first, good);
        }
    }
}
