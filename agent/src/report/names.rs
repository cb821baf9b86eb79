//! Names for new roles.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::rbac::Subject;

/// A name is at most this long (`IsDNS1123Subdomain`; RBAC names are path segments and would bear more).
const LONGEST: usize = 253;

/// What a binding to this caller names. An API server takes only valid names for a `ServiceAccount` (`ValidateServiceAccountName`); somebody
/// who is only called like one is a user.
pub(super) fn bindable(username: &str) -> Subject {
    let subject = Subject::of_username(username);
    let is_inner = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let is_label = |label: &str| {
        label.starts_with(is_inner) && label.ends_with(is_inner) && label.chars().all(|character| is_inner(character) || character == '-')
    };
    match subject.as_service_account() {
        Some((_, name)) if name.len() > LONGEST || !name.split('.').all(is_label) => Subject::user(username),
        _ => subject,
    }
}

/// Names that were given out, each once.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// A name for the role of this subject: `kubewitness:serviceaccount:NAMESPACE:NAME` or `kubewitness:user:NAME`. The same subject gets
    /// the same name in every report; where the name had to be changed, a few digits keep it apart from others.
    pub(super) fn of(&mut self, subject: &Subject) -> String {
        let plain = match subject.as_service_account() {
            Some((namespace, name)) => format!("kubewitness:serviceaccount:{namespace}:{name}"),
            None => format!("kubewitness:user:{}", subject.name),
        };
        let mut name: String = plain.chars().map(|character| if is_plain(character) { character } else { '-' }).collect();
        if name != plain || name.len() > LONGEST || self.0.contains(&name) {
            let digits = Uuid::new_v5(&Uuid::NAMESPACE_OID, plain.as_bytes()).simple().to_string();
            name.truncate(LONGEST - 1 - digits.len());
            name = format!("{name}-{digits}");
        }
        self.0.insert(name.clone());
        name
    }
}

const fn is_plain(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '-' | '.' | ':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_is_only_called_like_a_service_account_is_a_user() {
        let sa = |name: &str| format!("system:serviceaccount:ns:{name}");
        for (name, is_one) in
            [("agent", true), ("a.b-c", true), ("Agent", false), ("a b", false), ("-a", false), ("a..b", false), ("a_b", false)]
        {
            assert_eq!(bindable(&sa(name)).as_service_account().is_some(), is_one, "{name}");
        }
    }

    #[test]
    fn names_of_subjects() {
        let mut names = Names::default();
        assert_eq!(names.of(&Subject::service_account("monitoring", "agent")), "kubewitness:serviceaccount:monitoring:agent");
        assert_eq!(names.of(&Subject::user("jane")), "kubewitness:user:jane");
        let jane = names.of(&Subject::user("Jane@example.com"));
        assert!(jane.starts_with("kubewitness:user:-ane-example.com-") && jane.len() == 66, "{jane}");
    }

    proptest! {
        #[test]
        fn each_is_valid_and_none_comes_twice(users in prop::collection::btree_set("[aA/%:.\\-\u{202e}é]{0,4}|a{230,300}", 0..40)) {
            let mut names = Names::default();
            let all: BTreeSet<String> = users.iter().map(|user| names.of(&Subject::user(user))).collect();
            prop_assert_eq!(all.len(), users.len());
            for name in all {
                prop_assert!(name.len() <= 253 && name.chars().all(is_plain), "{}", name);
            }
        }
    }
}
