//! Whom a binding names.

use std::fmt;
use std::sync::Arc;

/// One subject of a binding (`rbac/v1`, `Subject`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// The username or the group. A `ServiceAccount` has its username here: `system:serviceaccount:NAMESPACE:NAME`.
    pub name: Arc<str>,
}

/// The kinds of subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the kinds")]
pub enum SubjectKind {
    ServiceAccount,
    User,
    Group,
}

/// What the username of a `ServiceAccount` begins with (`k8s.io/apiserver/pkg/authentication/serviceaccount/util.go`).
pub(super) const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

impl Subject {
    /// A user.
    pub fn user(name: &str) -> Self {
        Self { kind: SubjectKind::User, name: name.into() }
    }

    /// A group.
    pub fn group(name: &str) -> Self {
        Self { kind: SubjectKind::Group, name: name.into() }
    }

    /// A `ServiceAccount`. Without a namespace it matches nobody.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self { kind: SubjectKind::ServiceAccount, name: format!("{SERVICE_ACCOUNT}{namespace}:{name}").into() }
    }

    /// What a binding to this very caller would name: a `ServiceAccount` for the username of one, else a user.
    pub fn of_username(name: &str) -> Self {
        match service_account(name) {
            Some((namespace, name)) => Self::service_account(namespace, name),
            None => Self::user(name),
        }
    }

    /// The namespace and the name of a `ServiceAccount`.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        if self.kind == SubjectKind::ServiceAccount { self.name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':') } else { None }
    }
}

/// Namespace and name, if this is the username of a `ServiceAccount`.
pub(super) fn service_account(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

impl SubjectKind {
    /// The word in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::User => "User",
            Self::Group => "Group",
        }
    }
}

/// `ServiceAccount monitoring/prometheus`, `User jane`, `Group system:nodes`
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_service_account() {
            Some((namespace, name)) => write!(f, "ServiceAccount {namespace}/{name}"),
            None => write!(f, "{} {}", self.kind.as_str(), self.name),
        }
    }
}
