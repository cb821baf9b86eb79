//! RBAC objects as JSON values, from the API server or from manifests, cut down to what concerns `nodes/*`.

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::{Binding, Change, Role, Rule, Subject, SubresourceSet, VerbSet};

/// A `ClusterRole` or a `ClusterRoleBinding`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kinds")]
pub enum Object {
    Role(Arc<str>, Role),
    Binding(Arc<str>, Binding),
}

/// An object without a name, or of another kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a ClusterRole or ClusterRoleBinding with a metadata.name")]
pub struct Malformed;

impl Object {
    /// The object in a value with `kind` and `metadata.name`. What else cannot be read in it marks it as malformed and keeps the rest.
    pub fn parse(value: &Value) -> Result<Self, Malformed> {
        let name = name(value).ok_or(Malformed)?;
        match value.get("kind").and_then(Value::as_str) {
            Some("ClusterRole") => Ok(Self::Role(name, role(value))),
            Some("ClusterRoleBinding") => Ok(Self::Binding(name, binding(value))),
            _ => Err(Malformed),
        }
    }

    /// The change that it is when it appears.
    pub fn into_change(self) -> Change {
        match self {
            Self::Role(name, role) => Change::Role(name, role),
            Self::Binding(name, binding) => Change::Binding(name, binding),
        }
    }
}

fn name(value: &Value) -> Option<Arc<str>> {
    value.pointer("/metadata/name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(Arc::from)
}

fn role(value: &Value) -> Role {
    let mut role = Role::default();
    let mut rules = Vec::new();
    for (index, value) in list(value.get("rules"), &mut role.malformed).iter().enumerate() {
        let written = WrittenRule::of(value);
        role.malformed |= written.may_concern_nodes_unread();
        role.other_rules |= written.concerns_others();
        rules.extend(written.on_nodes(u16::try_from(index).unwrap_or(u16::MAX)));
    }
    role.rules = rules.into();
    role
}

/// A rule as it is written.
struct WrittenRule<'a> {
    groups: Words<'a>,
    resources: Words<'a>,
    verbs: Words<'a>,
    names: Words<'a>,
    paths: Words<'a>,
}

/// A list of words, as far as they are words.
struct Words<'a> {
    words: Vec<&'a str>,
    broken: bool,
}

impl<'a> WrittenRule<'a> {
    fn of(value: &'a Value) -> Self {
        let words = |field| Words::of(value, field);
        Self {
            groups: words("apiGroups"),
            resources: words("resources"),
            verbs: words("verbs"),
            names: words("resourceNames"),
            paths: words("nonResourceURLs"),
        }
    }

    /// `None` if it grants nothing on the subresources of nodes that the kubelet asks about, or cannot be read.
    fn on_nodes(self, index: u16) -> Option<Rule> {
        let fields = [&self.groups, &self.resources, &self.verbs, &self.names];
        let (verbs, subresources) = (self.verb_set(), self.subresource_set());
        let grants = self.is_core() && !verbs.is_empty() && !subresources.is_empty() && fields.iter().all(|words| !words.broken);
        let nodes = (!self.names.words.is_empty()).then(|| self.names.words.into_iter().map(Box::from).collect());
        grants.then_some(Rule { index, verbs, subresources, nodes })
    }

    /// Whether something in it could not be read, and what could be read does not rule out that it concerns nodes.
    fn may_concern_nodes_unread(&self) -> bool {
        let any = [&self.groups, &self.resources, &self.verbs, &self.names].iter().any(|words| words.broken);
        any && (self.groups.broken || self.is_core())
            && (self.resources.broken || !self.subresource_set().is_empty())
            && (self.verbs.broken || !self.verb_set().is_empty())
    }

    fn concerns_others(&self) -> bool {
        let alone = |word: &&str| !SubresourceSet::parse([*word]).is_empty() && word.starts_with("nodes/");
        !self.paths.words.is_empty() || self.groups.words.iter().any(|group| !group.is_empty()) || !self.resources.words.iter().all(alone)
    }

    fn is_core(&self) -> bool {
        self.groups.words.iter().any(|group| matches!(*group, "" | "*"))
    }

    fn verb_set(&self) -> VerbSet {
        VerbSet::parse(self.verbs.words.iter().copied())
    }

    fn subresource_set(&self) -> SubresourceSet {
        SubresourceSet::parse(self.resources.words.iter().copied())
    }
}

impl<'a> Words<'a> {
    fn of(rule: &'a Value, field: &str) -> Self {
        let mut broken = !rule.is_object();
        let items = list(rule.get(field), &mut broken);
        let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
        broken |= words.len() != items.len();
        Self { words, broken }
    }
}

fn binding(value: &Value) -> Binding {
    let mut broken = false;
    let mut subjects = Vec::new();
    for value in list(value.get("subjects"), &mut broken) {
        match subject(value) {
            Some(subject) => subjects.extend(subject),
            None => broken = true,
        }
    }
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
    match (text("/roleRef/kind"), text("/roleRef/name")) {
        (Some("ClusterRole"), Some(role)) => Binding { role: Some(role.into()), subjects: subjects.into(), malformed: broken },
        (Some(kind), _) if kind != "ClusterRole" => Binding { role: None, subjects: subjects.into(), malformed: false },
        // Nothing at all is known of it: those that could be read must not seem to be all.
        _ if broken => Binding { role: None, subjects: Box::default(), malformed: true },
        _ => Binding { role: None, malformed: !subjects.is_empty(), subjects: subjects.into() },
    }
}

/// The outer `None` if it cannot be read, the inner one if it names nobody.
#[expect(clippy::option_option, reason = "the two are different")]
fn subject(value: &Value) -> Option<Option<Subject>> {
    let name = value.get("name").and_then(Value::as_str)?;
    Some(match value.get("kind").and_then(Value::as_str)? {
        "User" => Some(Subject::user(name)),
        "Group" => Some(Subject::group(name)),
        "ServiceAccount" => {
            let namespace = value.get("namespace").and_then(Value::as_str).unwrap_or_default();
            (!namespace.is_empty()).then(|| Subject::service_account(namespace, name))
        }
        _ => None,
    })
}

fn list<'a>(value: Option<&'a Value>, malformed: &mut bool) -> &'a [Value] {
    match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(_) => {
            *malformed = true;
            &[]
        }
    }
}
