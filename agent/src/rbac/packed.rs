//! A binding in one piece of memory: a cluster has tens of thousands of them, and each node keeps them all.

use std::sync::Arc;

use super::subject::SERVICE_ACCOUNT;
use super::{Binding, Subject, SubjectKind, Who};

/// A [`Binding`] as bytes: a head, then the role and the subjects as texts.
///
/// A text is its length in four bytes and its content. That of a subject follows a byte for its kind. A `ServiceAccount` is without
/// what all their usernames begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed(Box<[u8]>);

/// What a binding hardly ever exceeds, in bytes.
const USUAL: usize = 512;

const MALFORMED: u8 = 1;
const HAS_ROLE: u8 = 2;
/// A listing is going on and has not told it yet.
const UNTOLD: u8 = 4;

impl Packed {
    pub(super) fn of(binding: &Binding) -> Self {
        let has_role = if binding.role.is_some() { HAS_ROLE } else { 0 };
        let mut bytes = Vec::with_capacity(USUAL);
        bytes.push(has_role | u8::from(binding.malformed));
        if let Some(role) = &binding.role {
            put(&mut bytes, role);
        }
        for subject in &binding.subjects {
            match (subject.kind, subject.name.strip_prefix(SERVICE_ACCOUNT)) {
                (SubjectKind::ServiceAccount, Some(rest)) => {
                    bytes.push(b'S');
                    put(&mut bytes, rest);
                }
                (kind, _) => {
                    bytes.push(if kind == SubjectKind::Group { b'G' } else { b'U' });
                    put(&mut bytes, &subject.name);
                }
            }
        }
        // Copied, because what is shrunk in place leaves a hole behind it, one for each binding.
        Self(Box::from(bytes.as_slice()))
    }

    pub(super) fn unpack(&self) -> Binding {
        Binding { role: self.role().map(Arc::from), subjects: self.subjects().map(Name::subject).collect(), malformed: self.malformed() }
    }

    pub(super) fn is_untold(&self) -> bool {
        self.head() & UNTOLD != 0
    }

    pub(super) fn set_untold(&mut self, untold: bool) {
        if let Some(head) = self.0.first_mut() {
            *head = *head & !UNTOLD | if untold { UNTOLD } else { 0 };
        }
    }

    pub(super) fn malformed(&self) -> bool {
        self.head() & MALFORMED != 0
    }

    pub(super) fn role(&self) -> Option<&str> {
        if self.head() & HAS_ROLE == 0 { None } else { take(self.0.get(1..)?).map(|(role, _)| role) }
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
        self.0.first().copied().unwrap_or_default()
    }

    fn subjects(&self) -> impl Iterator<Item = Name<'_>> {
        let behind_role = self.role().map_or(1, |role| 1 + LENGTH + role.len());
        let mut rest = self.0.get(behind_role..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (kind, text) = rest.split_first()?;
            let (text, behind) = take(text)?;
            rest = behind;
            Some(Name { kind: *kind, text })
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

/// How many bytes tell the length of a text.
const LENGTH: usize = 4;

fn put(bytes: &mut Vec<u8>, text: &str) {
    // The API server takes no object of more than a few megabytes.
    bytes.extend(u32::try_from(text.len()).unwrap_or_default().to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// A text and what is behind it.
fn take(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((std::str::from_utf8(text).ok()?, rest))
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
            prop_assert_eq!(packed.role(), binding.role.as_deref());
            prop_assert_eq!(packed.has_subjects(), !binding.subjects.is_empty());
            prop_assert_eq!(packed.unpack(), binding);
        }
    }
}
