//! What a role grants on the subresources of `nodes`.

use super::Question;
use crate::kubelet::{Subresource, Verb};

/// A `ClusterRole`, as far as it concerns `nodes/*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its rules, without those that concern no subresource of nodes that the kubelet asks about.
    pub rules: Box<[Rule]>,
    /// It grants other things too, be it in the same rules: other resources or API groups, or paths that are no resources.
    pub other_rules: bool,
    /// Something in it could not be read, and could concern nodes: what it does not seem to grant is unknown.
    pub malformed: bool,
}

/// One rule (`rbac/v1`, `PolicyRule`), as far as it concerns `nodes/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its place in the role's `rules`, from 0.
    pub index: u16,
    /// The verbs.
    pub verbs: VerbSet,
    /// The subresources.
    pub subresources: SubresourceSet,
    /// The nodes by name; `None` for all (`resourceNames` empty).
    pub nodes: Option<Box<[Box<str>]>>,
}

impl Role {
    /// The first of its rules that allows this.
    pub fn allowing(&self, question: Question<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.allows(question.verb, question.subresource, question.node))
    }
}

impl Rule {
    /// Whether it allows this (`RuleAllows`, `plugin/pkg/auth/authorizer/rbac/rbac.go`).
    pub fn allows(&self, verb: Verb, subresource: Subresource, node: &str) -> bool {
        self.verbs.contains(verb)
            && self.subresources.contains(subresource)
            && self.nodes.as_ref().is_none_or(|nodes| nodes.iter().any(|name| **name == *node))
    }
}

/// A set of verbs. Those that the kubelet never asks for are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerbSet(u8);

impl VerbSet {
    /// `*`
    pub const ALL: Self = Self(0x80);

    /// The verbs that the kubelet asks for by name, in the order in which roles are written.
    const NAMED: [Verb; 6] = [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::None];

    /// The set of these words of a rule (`VerbMatches`, `pkg/apis/rbac/v1/evaluation_helpers.go`): `*`, or equal.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().fold(Self::default(), |set, word| set.union(if word == "*" { Self::ALL } else { Self::of(Verb::parse(word)) }))
    }

    /// The set of one verb; empty for one that was not seen.
    pub const fn of(verb: Verb) -> Self {
        Self(match verb {
            Verb::Get => 1,
            Verb::Create => 2,
            Verb::Update => 4,
            Verb::Patch => 8,
            Verb::Delete => 16,
            Verb::None => 32,
            Verb::Unknown => 0,
        })
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it satisfies a question for this verb; for one that was not seen, whether it satisfies every verb.
    pub const fn contains(self, verb: Verb) -> bool {
        self.0 & (Self::ALL.0 | Self::of(verb).0) != 0
    }

    /// Whether `*` is in it.
    pub const fn is_all(self) -> bool {
        self.0 & Self::ALL.0 != 0
    }

    /// Whether it satisfies nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The words for a rule: `*` alone where it is in the set.
    pub fn words(self) -> Vec<&'static str> {
        if self.is_all() {
            return vec!["*"];
        }
        Self::NAMED.into_iter().filter(|verb| self.contains(*verb)).map(Verb::as_str).collect()
    }
}

/// A set of subresources of nodes, and how they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubresourceSet {
    /// `nodes/proxy`: a bit for each.
    named: u16,
    /// `*/proxy`: a bit for each.
    of_any_resource: u16,
    /// `*`
    all: bool,
}

impl SubresourceSet {
    /// The set of these words of a rule (`ResourceMatches`, `pkg/apis/rbac/v1/evaluation_helpers.go`): `*`, `nodes/proxy` or `*/proxy`;
    /// `nodes` and `nodes/*` match no subresource.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::default();
        for word in words {
            match word.split_once('/') {
                None if word == "*" => set.all = true,
                Some(("nodes", subresource)) => set.named |= bit(subresource),
                Some(("*", subresource)) => set.of_any_resource |= bit(subresource),
                _ => {}
            }
        }
        set
    }

    /// Whether it satisfies a question for this subresource.
    pub const fn contains(self, subresource: Subresource) -> bool {
        self.all || (self.named | self.of_any_resource) & 1 << subresource as u16 != 0
    }

    /// Whether this subresource is in it by `*` or `*/subresource`, and not by its own name.
    pub const fn by_wildcard(self, subresource: Subresource) -> bool {
        self.contains(subresource) && self.named & 1 << subresource as u16 == 0
    }

    /// Those that are left when one is no longer named; what `*` and `*/subresource` match stays.
    #[must_use]
    pub const fn without(self, subresource: Subresource) -> Self {
        Self { named: self.named & !(1 << subresource as u16), ..self }
    }

    /// Whether `*` is in it.
    pub const fn is_all(self) -> bool {
        self.all
    }

    /// Whether it satisfies nothing.
    pub const fn is_empty(self) -> bool {
        !self.all && self.named | self.of_any_resource == 0
    }

    /// The words of the rule that concern nodes: `*`, `*/proxy`, `nodes/proxy`.
    pub fn words(self) -> Vec<String> {
        let of = |bits: u16, resource: &'static str| {
            let known = Subresource::ALL.into_iter().filter(move |subresource| bits & 1 << *subresource as u16 != 0);
            known.map(move |subresource| format!("{resource}/{}", subresource.as_str()))
        };
        let all = self.all.then(|| "*".to_owned());
        all.into_iter().chain(of(self.of_any_resource, "*")).chain(of(self.named, "nodes")).collect()
    }
}

fn bit(subresource: &str) -> u16 {
    Subresource::parse(subresource).map_or(0, |subresource| 1 << subresource as u16)
}
