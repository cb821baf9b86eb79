//! A question to the RBAC objects, and the answer with its proof.

use std::fmt;
use std::sync::Arc;

use super::Subject;
use crate::kubelet::{Subresource, Verb};

/// A caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The username.
    pub user: &'a str,
    /// The groups that are known.
    pub groups: &'a [&'a str],
    /// Whether these are all of them.
    pub all_groups_known: bool,
}

/// What a caller wants: a verb on a subresource of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Question<'a> {
    pub verb: Verb,
    pub subresource: Subresource,
    pub node: &'a str,
}

/// What the RBAC objects say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Allowed, and by what: of several grounds the first by the binding's name.
    Allowed(Evidence),
    /// No rule allows it. Another authorizer still may.
    NoRule,
    /// It cannot be told. Not a denial.
    Unknown(Obscure),
}

/// What allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A rule.
    Rule(Grounds),
    /// The group `system:masters`, which is allowed before RBAC is asked.
    Masters,
}

/// A rule of a role that a binding gives to a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grounds {
    /// The `ClusterRoleBinding`.
    pub binding: Arc<str>,
    /// The `ClusterRole`.
    pub role: Arc<str>,
    /// The rule's place in the role, from 0.
    pub rule: u16,
    /// The subject that the caller matches.
    pub subject: Subject,
}

/// Why it cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obscure {
    /// The RBAC objects are not known, or not any more.
    NotSynced,
    /// The user was not seen, or not all of the name.
    User,
    /// Not all of the caller's groups are known, and by those that are it is not allowed.
    Groups,
    /// The verb or the subresource was not seen.
    Request,
    /// An object that could allow it could not be read.
    Malformed(Arc<str>),
}

/// `ClusterRoleBinding/x ClusterRole/y`, or `system:masters`
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(grounds) => write!(f, "ClusterRoleBinding/{} ClusterRole/{}", grounds.binding, grounds.role),
            Self::Masters => f.write_str("system:masters"),
        }
    }
}

impl fmt::Display for Obscure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSynced => f.write_str("the RBAC objects are not known"),
            Self::User => f.write_str("the user was not seen"),
            Self::Groups => f.write_str("not all groups of the user are known"),
            Self::Request => f.write_str("the question was not seen"),
            Self::Malformed(object) => write!(f, "{object} could not be read"),
        }
    }
}
