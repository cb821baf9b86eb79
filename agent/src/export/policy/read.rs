//! A policy's text. What the API server's own reader refuses is refused (pkg/audit/policy/reader.go and pkg/apis/audit/validation of
//! k8s.io/apiserver 1.36), with the line.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter as _, Spanned};
use thiserror::Error;

use super::{GroupResources, Level, Policy, Rule};
use crate::export::audit::AuditStage;

const VERSION: &str = "audit.k8s.io/v1";

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Invalid {
    /// The line, from 1, where it can be told.
    pub line: Option<u64>,
    /// What is wrong, and what to do.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyText {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default, deserialize_with = "or_none")]
    rules: Vec<Spanned<RuleText>>,
    #[serde(default, deserialize_with = "or_none")]
    omit_stages: Vec<AuditStage>,
    /// Of bodies, which no event here has.
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleText {
    level: Level,
    #[serde(default, deserialize_with = "or_none")]
    users: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
    user_groups: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
    verbs: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
    resources: Vec<GroupResourcesText>,
    #[serde(default, deserialize_with = "or_none")]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs", deserialize_with = "or_none")]
    non_resource_urls: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
    omit_stages: Vec<AuditStage>,
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResourcesText {
    #[serde(default)]
    group: Option<String>,
    #[serde(default, deserialize_with = "or_none")]
    resources: Vec<String>,
    #[serde(default, deserialize_with = "or_none")]
    resource_names: Vec<String>,
}

pub(super) fn policy(text: &str) -> Result<Policy, Invalid> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        // `n`, `on` and `yes` are words, as to the API server's reader of a list of texts.
        strict_booleans: true,
        with_snippet: false,
    };
    let read: PolicyText = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        Invalid { line, text: DefaultMessageFormatter.format_message(error.without_snippet()).into_owned() }
    })?;
    let whole = |text: String| Invalid { line: None, text };
    if read.api_version != VERSION || read.kind != "Policy" {
        return Err(whole(format!("it is a {} of {}: write `kind: Policy` and `apiVersion: {VERSION}`", read.kind, read.api_version)));
    }
    if read.rules.is_empty() {
        return Err(whole("it has no rules, so nothing would be recorded: end it with the rule `- level: Metadata`".to_owned()));
    }
    let rules = read.rules.into_iter().zip(1..).map(|(rule, number)| {
        let line = Some(rule.referenced.line()).filter(|line| *line > 0);
        rule.value.checked().map_err(|text| Invalid { line, text: format!("rule {number}: {text}") })
    });
    Ok(Policy { rules: rules.collect::<Result<_, _>>()?, omit_stages: read.omit_stages })
}

impl RuleText {
    fn checked(self) -> Result<Rule, String> {
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.non_resource_urls.is_empty() {
            return Err("it has nonResourceURLs beside resources or namespaces: make two rules of it".to_owned());
        }
        for url in &self.non_resource_urls {
            let before_the_end = url.strip_suffix('*').unwrap_or(url);
            if url != "*" && (!url.starts_with('/') || before_the_end.contains('*')) {
                return Err(format!("the nonResourceURL {url:?} must begin with / and may have one *, at its end"));
            }
        }
        let resources = self.resources.into_iter().map(GroupResourcesText::checked).collect::<Result<_, _>>()?;
        Ok(Rule {
            level: self.level,
            users: self.users,
            groups: self.user_groups,
            verbs: self.verbs,
            resources,
            namespaces: self.namespaces,
            non_resource_urls: self.non_resource_urls,
            omit_stages: self.omit_stages,
        })
    }
}

impl GroupResourcesText {
    fn checked(self) -> Result<GroupResources, String> {
        let group = self.group.unwrap_or_default();
        if !matches!(group.as_str(), "" | "*") && !is_dns_subdomain(&group) {
            return Err(format!("{group:?} is no API group: the group of pods and nodes is \"\", and no version belongs to it"));
        }
        if !self.resource_names.is_empty() && self.resources.is_empty() {
            return Err("it has resourceNames without resources: say of which resources they are".to_owned());
        }
        Ok(GroupResources { group, resources: self.resources, names: self.resource_names })
    }
}

/// k8s.io/apimachinery/pkg/util/validation, `IsDNS1123Subdomain`
fn is_dns_subdomain(name: &str) -> bool {
    let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().next_back()];
        ends.into_iter().all(|letter| letter.is_some_and(inner)) && label.bytes().all(|letter| inner(letter) || letter == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// `users:` with nothing behind it is an empty list to the API server.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}
