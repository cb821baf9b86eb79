//! Answers of the RBAC objects, kept until the objects change.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::asker::Asker;
use crate::kubelet::{Subresource, Verb};
use crate::observation::{SHARED_USERS, SharedUser};
use crate::rbac::{Answer, Obscure, Question};

/// Callers whose answers are kept, as many as are shared; with one more, all are forgotten. A usual node has 30.
const CALLERS: usize = SHARED_USERS;

/// The answers to each caller's questions.
#[derive(Debug, Default)]
pub(super) struct Answers {
    generation: u64,
    known: HashMap<SharedUser, Vec<Known>, RandomState>,
}

/// An answer, and what it depends on beside the caller. There are few for each: none of this is chosen by callers, but for what they use.
#[derive(Debug)]
struct Known {
    verb: Verb,
    subresource: Subresource,
    node: Option<Box<str>>,
    answer: Answer,
}

impl Answers {
    /// The answer of the objects of this generation; `ask` asks them.
    pub(super) fn of(
        &mut self,
        asker: &Asker<'_>,
        verb: Verb,
        subresource: Subresource,
        generation: u64,
        ask: impl FnOnce(Question<'_>) -> Answer,
    ) -> Answer {
        if self.generation != generation {
            self.generation = generation;
            self.known.clear();
        }
        let user = SharedUser(Arc::clone(asker.user));
        if self.known.len() >= CALLERS && !self.known.contains_key(&user) {
            self.known.clear();
        }
        let answers = self.known.entry(user).or_default();
        let same = |known: &&Known| known.verb == verb && known.subresource == subresource && known.node.as_deref() == asker.node;
        if let Some(known) = answers.iter().find(same) {
            return known.answer.clone();
        }
        let answer = match ask(Question { verb, subresource, node: asker.node.unwrap_or_default() }) {
            // What was not seen could be what allows it.
            Answer::NoRule if asker.name().is_none() => Answer::Unknown(Obscure::User),
            Answer::NoRule if verb == Verb::Unknown || asker.node.is_none() => Answer::Unknown(Obscure::Request),
            answer => answer,
        };
        answers.push(Known { verb, subresource, node: asker.node.map(Box::from), answer: answer.clone() });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::observation::{Text, Timestamp, User};

    fn user(name: &str) -> Arc<User> {
        Arc::new(User { name: name.into(), groups: vec!["g".into()], group_count: Some(1), ..User::default() })
    }

    fn asker(user: &Arc<User>) -> Asker<'_> {
        Asker { user, verb: Verb::Get, node: Some("n"), time: Timestamp(0) }
    }

    #[test]
    fn a_question_is_asked_once_until_something_it_depends_on_is_another() {
        let asked = Cell::new(0);
        let mut answers = Answers::default();
        let mut ask = |asker: &Asker<'_>, verb, subresource, generation| {
            answers.of(asker, verb, subresource, generation, |_| {
                asked.set(asked.get() + 1);
                Answer::NoRule
            })
        };
        let (get, proxy) = (Verb::Get, Subresource::Proxy);
        let (a, b) = (user("a"), user("b"));
        for (count, asker, verb, subresource, generation) in [
            (1, asker(&a), get, proxy, 1),
            (1, asker(&a), get, proxy, 1),
            (2, asker(&a), Verb::Create, proxy, 1),
            (3, asker(&a), get, Subresource::Pods, 1),
            (4, asker(&b), get, proxy, 1),
            (5, Asker { node: Some("m"), ..asker(&a) }, get, proxy, 1),
            (5, asker(&a), get, proxy, 1),
            (6, asker(&a), get, proxy, 2),
        ] {
            assert_eq!(ask(&asker, verb, subresource, generation), Answer::NoRule);
            assert_eq!(asked.get(), count, "{asker:?} {verb:?} {subresource:?} {generation}");
        }
    }

    #[test]
    fn a_no_to_a_question_that_was_not_seen_whole_is_unknown() {
        let (whole, cut) = (user("a"), Arc::new(User { name: Text::Unreadable, ..(*user("a")).clone() }));
        for (asker, verb, expected) in [
            (asker(&whole), Verb::Get, Answer::NoRule),
            (asker(&cut), Verb::Get, Answer::Unknown(Obscure::User)),
            (Asker { node: None, ..asker(&whole) }, Verb::Get, Answer::Unknown(Obscure::Request)),
            (asker(&whole), Verb::Unknown, Answer::Unknown(Obscure::Request)),
        ] {
            assert_eq!(Answers::default().of(&asker, verb, Subresource::Proxy, 0, |_| Answer::NoRule), expected, "{asker:?} {verb:?}");
        }
    }

    #[test]
    fn a_crowd_does_not_fill_the_memory() {
        let mut answers = Answers::default();
        for n in 0..3 * CALLERS {
            answers.of(&asker(&user(&n.to_string())), Verb::Get, Subresource::Proxy, 0, |_| Answer::NoRule);
        }
        assert!(answers.known.len() <= CALLERS);
    }
}
