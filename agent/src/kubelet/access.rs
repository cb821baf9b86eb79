//! How a request was let in, or why not, with the proof.

use std::fmt;

use super::Subresource;
use crate::exchange::Gap;
use crate::observation::{Text, User};

/// How a request was let in, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A right that is finer than `nodes/proxy` was asked for first, and it was enough.
    FineGrained {
        /// That right.
        by: Subresource,
        /// What granted it.
        grant: Grant,
    },
    /// The finer right was refused, and `nodes/proxy` let the request in.
    Fallback {
        /// The finer right.
        denied: Subresource,
        /// What granted `nodes/proxy`.
        grant: Grant,
    },
    /// `nodes/proxy` was the only right that was asked for.
    ProxyOnly {
        /// What granted it.
        grant: Grant,
    },
    /// The endpoint's own right was the only one that was asked for.
    Single {
        /// That right.
        by: Subresource,
        /// What granted it.
        grant: Grant,
    },
    /// No right was enough: 403.
    Denied,
    /// The caller was not recognised: 401.
    Unauthenticated,
    /// Answered before any check: unknown path, redirect.
    Unchecked,
    /// The read-only port, where nothing is checked.
    Open,
    /// It cannot be told. Not a denial.
    Unknown {
        /// What stands in the way.
        why: Why,
    },
}

/// Why an access cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Something was not seen that could change the answer.
    Missing(Gap),
    /// The authorizer failed, which is neither yes nor no; the kubelet answers 500.
    AuthorizerFailed,
    /// A right was asked for that no known release asks for at this endpoint.
    UnexpectedCheck,
    /// The checks and the response contradict each other.
    Contradiction,
}

/// An [`Access`] without its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "they are the variants of `Access`")]
pub enum AccessKind {
    FineGrained,
    Fallback,
    ProxyOnly,
    Single,
    Denied,
    Unauthenticated,
    Unchecked,
    Open,
    Unknown,
}

/// What allowed a request, in the authorizer's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// An RBAC rule. Nodes are cluster-scoped, so it is never a `RoleBinding`. The names are as Go quotes them.
    Rbac {
        /// The `ClusterRoleBinding`.
        binding: String,
        /// Its `ClusterRole`.
        role: String,
    },
    /// Membership of `system:masters`, which is let in before RBAC is asked and without a reason.
    Masters,
    /// Something else: another authorizer, or none.
    OutsideRbac,
    /// The reason or the groups could not be read.
    Unknown,
}

impl Access {
    /// Its kind.
    pub const fn kind(&self) -> AccessKind {
        match self {
            Self::FineGrained { .. } => AccessKind::FineGrained,
            Self::Fallback { .. } => AccessKind::Fallback,
            Self::ProxyOnly { .. } => AccessKind::ProxyOnly,
            Self::Single { .. } => AccessKind::Single,
            Self::Denied => AccessKind::Denied,
            Self::Unauthenticated => AccessKind::Unauthenticated,
            Self::Unchecked => AccessKind::Unchecked,
            Self::Open => AccessKind::Open,
            Self::Unknown { .. } => AccessKind::Unknown,
        }
    }

    /// What allowed it; `None` if no check is known to have done so.
    pub const fn grant(&self) -> Option<&Grant> {
        match self {
            Self::FineGrained { grant, .. } | Self::Fallback { grant, .. } | Self::ProxyOnly { grant } | Self::Single { grant, .. } => {
                Some(grant)
            }
            Self::Denied | Self::Unauthenticated | Self::Unchecked | Self::Open | Self::Unknown { .. } => None,
        }
    }

    /// The right that let the request in; `None` if no check is known to have done so.
    pub const fn right(&self) -> Option<Subresource> {
        match self {
            Self::FineGrained { by, .. } | Self::Single { by, .. } => Some(*by),
            Self::Fallback { .. } | Self::ProxyOnly { .. } => Some(Subresource::Proxy),
            Self::Denied | Self::Unauthenticated | Self::Unchecked | Self::Open | Self::Unknown { .. } => None,
        }
    }
}

impl AccessKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::FineGrained,
        Self::Fallback,
        Self::ProxyOnly,
        Self::Single,
        Self::Denied,
        Self::Unauthenticated,
        Self::Unchecked,
        Self::Open,
        Self::Unknown,
    ];

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether a right let the request in.
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::FineGrained | Self::Fallback | Self::ProxyOnly | Self::Single)
    }

    /// The word for labels and annotations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FineGrained => "fine-grained",
            Self::Fallback => "fallback",
            Self::ProxyOnly => "proxy-only",
            Self::Single => "single",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unchecked => "unchecked",
            Self::Open => "open",
            Self::Unknown => "unknown",
        }
    }
}

impl Grant {
    /// What allowed this user for this reason (`plugin/pkg/auth/authorizer/rbac/rbac.go`, `pkg/registry/rbac/validation/rule.go`).
    pub fn parse(reason: &Text, user: &User) -> Self {
        let (Text::Whole(known) | Text::Cut(known, _)) = reason else { return Self::Unknown };
        if let Some(grant) = Self::parse_rbac(known.as_str()) {
            return grant;
        }
        match reason.whole() {
            None => Self::Unknown,
            Some("") if user.groups.iter().any(|group| group.whole() == Some("system:masters")) => Self::Masters,
            Some("") if !user.all_groups_known() => Self::Unknown,
            Some(_) => Self::OutsideRbac,
        }
    }

    fn parse_rbac(reason: &str) -> Option<Self> {
        let rest = reason.strip_prefix("RBAC: allowed by ClusterRoleBinding ")?;
        let (binding, rest) = quoted(rest)?;
        let (role, rest) = quoted(rest.strip_prefix(" of ClusterRole ")?)?;
        rest.starts_with(" to ").then(|| Self::Rbac { binding: binding.to_owned(), role: role.to_owned() })
    }
}

/// Splits off what Go's `%q` wrote: the text between the quotes, escapes left in place, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = text.find(|character| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    })?;
    Some((&text[..end], &text[end + 1..]))
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rbac { binding, role } => write!(f, "ClusterRoleBinding/{binding} ClusterRole/{role}"),
            Self::Masters => f.write_str("system:masters"),
            Self::OutsideRbac => f.write_str("outside-rbac"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::observation::Utf8;

    #[test]
    fn reasons_name_what_granted() {
        let rbac = |binding: &str, role: &str| Grant::Rbac { binding: binding.into(), role: role.into() };
        let masters: &[&str] = &["system:masters"];
        for (reason, groups, grant) in [
            (
                r#"RBAC: allowed by ClusterRoleBinding "monitoring-np" of ClusterRole "nodes-proxy-get" to ServiceAccount "monitoring/default""#,
                &[][..],
                rbac("monitoring-np", "nodes-proxy-get"),
            ),
            (r#"RBAC: allowed by ClusterRoleBinding "a" of ClusterRole "b" to Group "system:masters""#, masters, rbac("a", "b")),
            (r#"RBAC: allowed by ClusterRoleBinding "a\"b\\" of ClusterRole "c" to User "x""#, &[], rbac(r#"a\"b\\"#, "c")),
            (r#"RBAC: allowed by RoleBinding "a/ns" of ClusterRole "b" to User "x""#, &[], Grant::OutsideRbac),
            (r#"RBAC: allowed by ClusterRoleBinding "a" of Role "b" to User "x""#, &[], Grant::OutsideRbac),
            (r#"RBAC: allowed by ClusterRoleBinding "a"#, &[], Grant::OutsideRbac),
            ("allowed by our webhook", &[], Grant::OutsideRbac),
            ("allowed by our webhook", masters, Grant::OutsideRbac),
            ("", &[], Grant::OutsideRbac),
            ("", masters, Grant::Masters),
        ] {
            let groups: Vec<Text> = groups.iter().map(|group| (*group).into()).collect();
            let user = User { group_count: Some(groups.len()), groups, ..User::default() };
            assert_eq!(Grant::parse(&reason.into(), &user), grant, "{reason}");
        }
    }

    #[test]
    fn what_was_not_read_is_unknown() {
        let user = User { group_count: Some(0), ..User::default() };
        let cut = |text: &'static str| Text::Cut(Utf8::new(Bytes::from_static(text.as_bytes())), 5000);
        assert_eq!(Grant::parse(&Text::Unreadable, &user), Grant::Unknown);
        assert_eq!(Grant::parse(&cut(r#"RBAC: allowed by ClusterRoleBinding "a"#), &user), Grant::Unknown);
        assert_eq!(
            Grant::parse(&cut(r#"RBAC: allowed by ClusterRoleBinding "a" of ClusterRole "b" to Us"#), &user).to_string(),
            "ClusterRoleBinding/a ClusterRole/b"
        );
        // An empty reason is benign for `system:masters` only, which may be among the groups that were not read.
        assert_eq!(Grant::parse(&"".into(), &User { group_count: Some(40), ..User::default() }), Grant::Unknown);
        assert_eq!(Grant::parse(&"".into(), &User { group_count: None, ..User::default() }), Grant::Unknown);
    }
}
