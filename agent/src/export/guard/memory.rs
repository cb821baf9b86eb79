//! Answers that are still good, allow and deny apart: tokens that somebody makes up must not push out those that scrape. Pure: the time is
//! passed in.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::bearer::Fingerprint;

/// Tokens that may read. A node is scraped by a few.
const ALLOWED: usize = 64;
/// Tokens that may not.
const REFUSED: usize = 512;
/// A token that was allowed is not a stranger for so long, whatever its answer is now.
const FAMILIAR: Duration = Duration::from_secs(3600);

/// What the API server said of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Review {
    /// Its identity may get `/metrics`.
    Allowed,
    /// This identity may not.
    Forbidden(String),
    /// It is nobody's.
    Unknown,
}

/// Remembers answers.
pub(super) struct Memory<K = Fingerprint> {
    /// How long an answer is good that allows, and one that does not.
    allow_for: Duration,
    refuse_for: Duration,
    /// When each token was allowed last.
    allowed: HashMap<K, Instant>,
    refused: HashMap<K, (Instant, Review)>,
}

impl<K: Copy + Eq + Hash> Memory<K> {
    pub(super) fn new(allow_for: Duration, refuse_for: Duration) -> Self {
        Self { allow_for, refuse_for, allowed: HashMap::new(), refused: HashMap::new() }
    }

    /// What is known of a token.
    pub(super) fn recall(&self, token: &K, now: Instant) -> Option<Review> {
        if let Some((since, review)) = self.refused.get(token)
            && is_younger(*since, self.refuse_for, now)
        {
            return Some(review.clone());
        }
        // An older answer that allowed does not outlive a newer one that did not: `learn` takes it out.
        self.allowed.get(token).is_some_and(|since| is_younger(*since, self.allow_for, now)).then_some(Review::Allowed)
    }

    /// Whether it was allowed in the last hour, and not refused since.
    pub(super) fn is_familiar(&self, token: &K, now: Instant) -> bool {
        self.allowed.get(token).is_some_and(|since| is_younger(*since, FAMILIAR, now))
    }

    /// Takes an answer, in place of an older one.
    pub(super) fn learn(&mut self, token: K, review: Review, now: Instant) {
        if review == Review::Allowed {
            self.refused.remove(&token);
            make_room(&mut self.allowed, &token, ALLOWED, |since| *since);
            self.allowed.insert(token, now);
        } else {
            self.allowed.remove(&token);
            make_room(&mut self.refused, &token, REFUSED, |(since, _)| *since);
            self.refused.insert(token, (now, review));
        }
    }
}

fn is_younger(since: Instant, than: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) < than
}

/// The oldest answer gives way. There are so few that looking at all of them costs nothing beside a review.
fn make_room<K: Copy + Eq + Hash, V>(answers: &mut HashMap<K, V>, token: &K, limit: usize, since: impl Fn(&V) -> Instant) {
    if answers.len() >= limit
        && !answers.contains_key(token)
        && let Some(oldest) = answers.iter().min_by_key(|(_, answer)| since(answer)).map(|(token, _)| *token)
    {
        answers.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> (Memory<u32>, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Memory::new(Duration::from_secs(60), Duration::from_secs(10)), move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn answers_grow_old_each_in_its_own_time() {
        let (mut memory, at) = memory();
        let forbidden = || Review::Forbidden("x".into());
        assert_eq!(memory.recall(&1, at(0)), None);
        memory.learn(1, Review::Allowed, at(0));
        memory.learn(2, forbidden(), at(0));
        memory.learn(3, Review::Unknown, at(0));
        let known = |memory: &Memory<u32>, second| [1, 2, 3].map(|token| memory.recall(&token, at(second)));
        assert_eq!(known(&memory, 9), [Some(Review::Allowed), Some(forbidden()), Some(Review::Unknown)]);
        assert_eq!(known(&memory, 10), [Some(Review::Allowed), None, None]);
        assert_eq!(known(&memory, 59), [Some(Review::Allowed), None, None]);
        assert_eq!(known(&memory, 60), [None, None, None]);
        assert_eq!([1, 2, 3].map(|token| memory.is_familiar(&token, at(3599))), [true, false, false]);
        assert!(!memory.is_familiar(&1, at(3600)));
    }

    #[test]
    fn the_last_answer_counts() {
        let (mut memory, at) = memory();
        memory.learn(1, Review::Allowed, at(0));
        memory.learn(1, Review::Forbidden("x".into()), at(1));
        assert_eq!(memory.recall(&1, at(2)), Some(Review::Forbidden("x".into())));
        assert_eq!((memory.recall(&1, at(11)), memory.is_familiar(&1, at(11))), (None, false));
        memory.learn(1, Review::Allowed, at(12));
        assert_eq!(memory.recall(&1, at(13)), Some(Review::Allowed));
    }

    #[test]
    fn strangers_push_out_strangers_alone() {
        let (mut memory, at) = memory();
        memory.learn(0, Review::Allowed, at(0));
        for token in 1..=10_000 {
            memory.learn(token, Review::Unknown, at(u64::from(token) / 2000));
        }
        assert_eq!(memory.refused.len(), REFUSED);
        assert_eq!(memory.recall(&0, at(5)), Some(Review::Allowed));
        assert_eq!(memory.recall(&10_000, at(5)), Some(Review::Unknown));
        assert_eq!(memory.recall(&1, at(5)), None);
        for token in 0..200 {
            memory.learn(token, Review::Allowed, at(6));
        }
        assert_eq!(memory.allowed.len(), ALLOWED);
    }
}
