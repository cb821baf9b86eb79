//! A caller as RBAC sees them: the username, and the groups as far as they are known.

use std::collections::BTreeSet;

use super::IdentitySeen;
use crate::rbac::{self, Subject, SubjectKind};

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The username.
    pub user: String,
    /// The groups that are known or follow from the username.
    pub groups: BTreeSet<String>,
    /// Whether these are all.
    pub all_groups_known: bool,
}

impl Caller {
    /// The caller of this username, of whom this was seen.
    ///
    /// Where the source tells no groups, those of a `ServiceAccount` follow from its name
    /// (`k8s.io/apiserver/pkg/authentication/serviceaccount/util.go`, `MakeGroupNames`); of others only that they are authenticated.
    pub fn new(user: &str, seen: Option<&IdentitySeen>) -> Self {
        let implied = implied_groups(user);
        let told = seen.and_then(|seen| seen.groups.as_ref());
        let all_groups_known = told.is_some() || user == ANONYMOUS || Subject::of_username(user).kind == SubjectKind::ServiceAccount;
        Self { user: user.to_owned(), groups: told.cloned().unwrap_or(implied), all_groups_known }
    }

    /// Whether a binding to this subject is one to the caller.
    pub fn is(&self, subject: &Subject) -> bool {
        match subject.kind {
            SubjectKind::User | SubjectKind::ServiceAccount => *subject.name == *self.user,
            SubjectKind::Group => self.groups.contains(&*subject.name),
        }
    }

    /// Whether a binding to this subject may be one to the caller: a group that was not told.
    pub fn may_be(&self, subject: &Subject) -> bool {
        self.is(subject) || (subject.kind == SubjectKind::Group && !self.all_groups_known && !implied_of_others(&subject.name))
    }

    /// Whether the caller is let in before RBAC is asked.
    pub fn is_master(&self) -> bool {
        self.groups.contains("system:masters")
    }

    /// Asks something about the caller.
    pub fn ask<T>(&self, question: impl FnOnce(&rbac::Who<'_>) -> T) -> T {
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        question(&rbac::Who { user: &self.user, groups: &groups, all_groups_known: self.all_groups_known })
    }
}

const ANONYMOUS: &str = "system:anonymous";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

fn implied_groups(user: &str) -> BTreeSet<String> {
    let subject = Subject::of_username(user);
    let groups = match subject.as_service_account() {
        _ if user == ANONYMOUS => vec!["system:unauthenticated".to_owned()],
        Some((namespace, _)) => {
            vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}"), "system:authenticated".to_owned()]
        }
        None => vec!["system:authenticated".to_owned()],
    };
    groups.into_iter().collect()
}

/// Groups that nobody is in whose name does not say so.
fn implied_of_others(group: &str) -> bool {
    group == "system:unauthenticated" || group == SERVICE_ACCOUNTS || group.starts_with("system:serviceaccounts:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_follow_from_the_name() {
        for (user, groups, all_known) in [
            (
                "system:serviceaccount:logs:agent",
                &["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:logs"][..],
                true,
            ),
            ("system:anonymous", &["system:unauthenticated"], true),
            ("jane", &["system:authenticated"], false),
        ] {
            let caller = Caller::new(user, None);
            assert!(caller.groups.iter().eq(groups), "{user}: {:?}", caller.groups);
            assert_eq!(caller.all_groups_known, all_known, "{user}");
        }
        let seen = IdentitySeen { groups: Some(["ops".to_owned()].into()), ..IdentitySeen::default() };
        let jane = Caller::new("jane", Some(&seen));
        assert!(jane.is(&Subject::group("ops")) && !jane.is(&Subject::group("system:authenticated")) && jane.all_groups_known);
    }

    #[test]
    fn a_group_that_was_not_told_may_be_the_callers() {
        let jane = Caller::new("jane", None);
        assert!(jane.may_be(&Subject::group("ops")) && !jane.is(&Subject::group("ops")));
        assert!(!jane.may_be(&Subject::group("system:serviceaccounts:logs")));
        assert!(!jane.may_be(&Subject::user("joe")));
        assert!(!Caller::new("system:serviceaccount:logs:agent", None).may_be(&Subject::group("ops")));
    }
}
