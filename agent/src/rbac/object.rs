//! RBAC objects as JSON values, from the API server or from manifests, cut down to what concerns `nodes/*`.

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::{Binding, Change, Role, Rule, Subject, SubresourceSet, VerbSet};
use crate::kubelet::Subresource;

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
    let mut malformed = false;
    let (mut rules, mut other_rules) = (Vec::new(), false);
    for (index, value) in list(value.get("rules"), &mut malformed).iter().enumerate() {
        let rule = rule(u16::try_from(index).unwrap_or(u16::MAX), value, &mut malformed);
        other_rules |= rule.is_none() || gives_more(value);
        rules.extend(rule);
    }
    Role { rules: rules.into(), other_rules, malformed }
}

/// `None` if it concerns no subresource of nodes that the kubelet asks about.
fn rule(index: u16, value: &Value, malformed: &mut bool) -> Option<Rule> {
    let mut broken = !value.is_object();
    let groups = words(value.get("apiGroups"), &mut broken);
    let verbs = VerbSet::parse(words(value.get("verbs"), &mut broken));
    let subresources = SubresourceSet::parse(words(value.get("resources"), &mut broken));
    let names = words(value.get("resourceNames"), &mut broken);
    *malformed |= broken;
    let core = groups.iter().any(|group| matches!(*group, "" | "*"));
    let nodes = (!names.is_empty()).then(|| names.into_iter().map(Box::from).collect());
    (core && !broken && !verbs.is_empty() && !subresources.is_empty()).then_some(Rule { index, verbs, subresources, nodes })
}

/// Whether a rule gives anything besides the subresources of nodes that are kept of it. Verbs that the kubelet does not ask for are
/// nothing: `nodes/proxy` through the API server is asked for with the same ones.
fn gives_more(rule: &Value) -> bool {
    let more = |key: &str, is_kept: &dyn Fn(&str) -> bool| {
        rule.get(key).and_then(Value::as_array).is_some_and(|words| words.iter().filter_map(Value::as_str).any(|word| !is_kept(word)))
    };
    let is_subresource = |word: &str| word.strip_prefix("nodes/").is_some_and(|name| Subresource::parse(name).is_some());
    more("apiGroups", &str::is_empty) || more("resources", &is_subresource) || more("nonResourceURLs", &|_| false)
}

fn binding(value: &Value) -> Binding {
    let mut malformed = false;
    let role = match (value.pointer("/roleRef/kind").and_then(Value::as_str), value.pointer("/roleRef/name").and_then(Value::as_str)) {
        (Some("ClusterRole"), Some(name)) => Some(name.into()),
        (Some(_), _) => None,
        _ => {
            malformed = true;
            None
        }
    };
    let mut subjects = Vec::new();
    for value in list(value.get("subjects"), &mut malformed) {
        match subject(value) {
            Some(subject) => subjects.extend(subject),
            None => malformed = true,
        }
    }
    Binding { role, subjects: subjects.into(), malformed }
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

fn words<'a>(value: Option<&'a Value>, malformed: &mut bool) -> Vec<&'a str> {
    let items = list(value, malformed);
    let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    *malformed |= words.len() != items.len();
    words
}
