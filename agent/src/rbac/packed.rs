//! A binding in one piece of memory: a cluster has tens of thousands of them, and each node keeps them all.

use std::sync::Arc;

use super::subject::SERVICE_ACCOUNT;
use super::{Binding, Subject, SubjectKind, Who};

/// A [`Binding`]: its role, which others share, and all else as bytes: a head, then the subjects.
///
/// A subject is a byte for its kind, the length of its name in four bytes, and the name. That of a `ServiceAccount` is without what all
/// their usernames begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    role: Option<Arc<str>>,
    bytes: Box<[u8]>,
}

/// What a binding hardly ever exceeds, in bytes.
const USUAL: usize = 512;

const MALFORMED: u8 = 1;
/// A listing is going on and has not told it yet.
const UNTOLD: u8 = 2;

impl Packed {
    pub(super) fn of(binding: &Binding) -> Self {
        let mut bytes = Vec::with_capacity(USUAL);
        bytes.push(if binding.malformed { MALFORMED } else { 0 });
        for subject in &binding.subjects {
            let (kind, name) = match (subject.kind, subject.name.strip_prefix(SERVICE_ACCOUNT)) {
                (SubjectKind::ServiceAccount, Some(rest)) => (b'S', rest),
                (SubjectKind::Group, _) => (b'G', &*subject.name),
                (SubjectKind::User | SubjectKind::ServiceAccount, _) => (b'U', &*subject.name),
            };
            bytes.push(kind);
            // The API server takes no object of more than a few megabytes.
            bytes.extend(u32::try_from(name.len()).unwrap_or_default().to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        // Copied, because what is shrunk in place leaves a hole behind it, one for each binding.
        Self { role: binding.role.clone(), bytes: Box::from(bytes.as_slice()) }
    }

    pub(super) fn unpack(&self) -> Binding {
        Binding { role: self.role.clone(), subjects: self.subjects().map(Name::subject).collect(), malformed: self.malformed() }
    }

    pub(super) fn is_untold(&self) -> bool {
        self.head() & UNTOLD != 0
    }

    pub(super) fn set_untold(&mut self, untold: bool) {
        if let Some(head) = self.bytes.first_mut() {
            *head = *head & !UNTOLD | if untold { UNTOLD } else { 0 };
        }
    }

    pub(super) fn malformed(&self) -> bool {
        self.head() & MALFORMED != 0
    }

    pub(super) const fn role(&self) -> Option<&Arc<str>> {
        self.role.as_ref()
    }

    pub(super) fn has_subjects(&self) -> bool {
        self.subjects().next().is_some()
    }

    /// The first subject that is this caller (`appliesTo`, `pkg/registry/rbac/validation/rule.go`).
    pub(super) fn subject(&self, who: &Who<'_>) -> Option<Subject> {
        self.subjects().find(|name| name.is(who)).map(Name::subject)
    }

    pub(super) fn names(&self, who: &Who<'_>) -> bool {
        self.subjects().any(|name| name.is(who))
    }

    fn head(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    fn subjects(&self) -> impl Iterator<Item = Name<'_>> {
        let mut rest = self.bytes.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (kind, behind) = rest.split_first()?;
            let (length, behind) = behind.split_first_chunk()?;
            let (text, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            rest = behind;
            Some(Name { kind: *kind, text: std::str::from_utf8(text).ok()? })
        })
    }
}

/// A subject in the bytes.
struct Name<'a> {
    kind: u8,
    text: &'a str,
}

impl Name<'_> {
    /// `appliesToUser` (`pkg/registry/rbac/validation/rule.go`)
    fn is(&self, who: &Who<'_>) -> bool {
        match self.kind {
            b'S' => who.user.strip_prefix(SERVICE_ACCOUNT) == Some(self.text),
            b'G' => who.groups.contains(&self.text),
            _ => who.user == self.text,
        }
    }

    fn subject(self) -> Subject {
        match self.kind {
            b'S' => Subject { kind: SubjectKind::ServiceAccount, name: format!("{SERVICE_ACCOUNT}{}", self.text).into() },
            b'G' => Subject::group(self.text),
            _ => Subject::user(self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject() -> impl Strategy<Value = Subject> {
        prop_oneof![
            any::<String>().prop_map(|name| Subject::user(&name)),
            any::<String>().prop_map(|name| Subject::group(&name)),
            any::<(String, String)>().prop_map(|(namespace, name)| Subject::service_account(&namespace, &name)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(
            role in any::<Option<String>>(),
            subjects in proptest::collection::vec(subject(), 0..4),
            malformed: bool,
        ) {
            let binding = Binding { role: role.map(Arc::from), subjects: subjects.into(), malformed };
            let packed = Packed::of(&binding);
            prop_assert_eq!(packed.role(), binding.role.as_ref());
            prop_assert_eq!(packed.has_subjects(), !binding.subjects.is_empty());
            prop_assert_eq!(packed.unpack(), binding);
        }
    }
}
