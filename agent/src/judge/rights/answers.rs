//! Answers of the RBAC objects, kept until the objects change.

use std::collections::HashMap;

use super::asker::Asker;
use crate::kubelet::{Subresource, Verb};
use crate::rbac::{Answer, Obscure, Question};

/// Callers whose answers are kept; with one more, all are forgotten. A usual node has 30.
const CALLERS: usize = 4096;

/// The answers to each caller's questions.
#[derive(Debug, Default)]
pub(super) struct Answers {
    generation: u64,
    known: HashMap<Caller, HashMap<(Verb, Subresource), Answer>>,
}

/// All that an answer depends on, the question's verb and subresource aside.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Caller {
    user: Option<Box<str>>,
    groups: Box<[Box<str>]>,
    all_groups_known: bool,
    node: Option<Box<str>>,
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
        let caller = Caller::of(asker);
        if self.known.len() >= CALLERS && !self.known.contains_key(&caller) {
            self.known.clear();
        }
        let answers = self.known.entry(caller).or_default();
        let answer = answers.entry((verb, subresource)).or_insert_with(|| {
            let answer = ask(Question { verb, subresource, node: asker.node.unwrap_or_default() });
            match answer {
                // What was not seen could be what allows it.
                Answer::NoRule if asker.user.is_none() => Answer::Unknown(Obscure::User),
                Answer::NoRule if verb == Verb::Unknown || asker.node.is_none() => Answer::Unknown(Obscure::Request),
                answer => answer,
            }
        });
        answer.clone()
    }
}

impl Caller {
    fn of(asker: &Asker<'_>) -> Self {
        Self {
            user: asker.user.map(Box::from),
            groups: asker.groups.iter().copied().map(Box::from).collect(),
            all_groups_known: asker.all_groups_known,
            node: asker.node.map(Box::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::observation::Timestamp;

    fn asker(user: &str) -> Asker<'_> {
        Asker { user: Some(user), groups: vec!["g"], all_groups_known: true, verb: Verb::Get, node: Some("n"), time: Timestamp(0) }
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
        for (count, asker, verb, subresource, generation) in [
            (1, asker("a"), get, proxy, 1),
            (1, asker("a"), get, proxy, 1),
            (2, asker("a"), Verb::Create, proxy, 1),
            (3, asker("a"), get, Subresource::Pods, 1),
            (4, asker("b"), get, proxy, 1),
            (5, Asker { groups: vec!["g", "h"], ..asker("a") }, get, proxy, 1),
            (6, Asker { all_groups_known: false, ..asker("a") }, get, proxy, 1),
            (7, Asker { node: Some("m"), ..asker("a") }, get, proxy, 1),
            (7, asker("a"), get, proxy, 1),
            (8, asker("a"), get, proxy, 2),
        ] {
            assert_eq!(ask(&asker, verb, subresource, generation), Answer::NoRule);
            assert_eq!(asked.get(), count, "{asker:?} {verb:?} {subresource:?} {generation}");
        }
    }

    #[test]
    fn a_no_to_a_question_that_was_not_seen_whole_is_unknown() {
        let whole = asker("a");
        for (asker, verb, expected) in [
            (whole.clone(), Verb::Get, Answer::NoRule),
            (Asker { user: None, ..whole.clone() }, Verb::Get, Answer::Unknown(Obscure::User)),
            (Asker { node: None, ..whole.clone() }, Verb::Get, Answer::Unknown(Obscure::Request)),
            (whole, Verb::Unknown, Answer::Unknown(Obscure::Request)),
        ] {
            assert_eq!(Answers::default().of(&asker, verb, Subresource::Proxy, 0, |_| Answer::NoRule), expected, "{asker:?} {verb:?}");
        }
    }

    #[test]
    fn a_crowd_does_not_fill_the_memory() {
        let mut answers = Answers::default();
        for n in 0..3 * CALLERS {
            answers.of(&asker(&n.to_string()), Verb::Get, Subresource::Proxy, 0, |_| Answer::NoRule);
        }
        assert!(answers.known.len() <= CALLERS);
    }
}
