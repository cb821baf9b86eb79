//! Which requests become events: a policy in the API server's own format (`audit.k8s.io/v1` `Policy`), as its `--audit-policy-file`.
//!
//! The rules mean what they mean to the API server (k8s.io/apiserver/pkg/audit/policy/checker.go of 1.36): the first that matches decides, and
//! a request that none matches is not recorded. `tests/tests/audit_policy.rs` compares them with that code. Pure but for [`PolicyFile`].

mod attributes;
mod file;
mod read;
#[cfg(test)]
mod tests;

use super::audit::AuditStage;

pub use attributes::{Attributes, GROUP_PREFIX, Target};
pub use file::{PolicyError, PolicyFile};
pub use read::Invalid;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    omit_stages: Vec<AuditStage>,
}

/// What a policy makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How much of it is recorded.
    pub level: Level,
    /// The stages of it that are not; in no order, and a stage may come twice.
    pub omit_stages: Vec<AuditStage>,
}

/// How much of a request is recorded. What is beyond metadata is a body, and no body is ever seen here: events are of the level Metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[expect(missing_docs, reason = "they are the levels of audit.k8s.io/v1")]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// A rule: a request must meet each part of it that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    level: Level,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    non_resource_urls: Vec<String>,
    omit_stages: Vec<AuditStage>,
}

/// Resources of an API group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

impl Policy {
    /// Reads a policy as YAML or JSON.
    ///
    /// # Errors
    /// What the API server refuses, and also what it ignores with a warning: unknown fields. A policy that says less than was meant leaves
    /// events out, or lets in what was to be left out, and nobody would see it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        read::policy(text)
    }

    /// What it makes of a request.
    pub fn decide(&self, request: &Attributes<'_>) -> Decision {
        match self.rules.iter().find(|rule| rule.matches(request)) {
            Some(rule) => Decision { level: rule.level, omit_stages: [&self.omit_stages[..], &rule.omit_stages].concat() },
            None => Decision { level: Level::None, omit_stages: self.omit_stages.clone() },
        }
    }

    /// Whether this stage of a request becomes an event.
    pub fn records(&self, request: &Attributes<'_>, stage: AuditStage) -> bool {
        let decision = self.decide(request);
        decision.level != Level::None && !decision.omit_stages.contains(&stage)
    }

    /// What its author may not know, in sentences.
    pub fn warnings(&self) -> Vec<String> {
        let bodies = self.rules.iter().filter(|rule| matches!(rule.level, Level::Request | Level::RequestResponse)).count();
        let bodies = (bodies > 0).then(|| {
            format!("{bodies} of its rules have the level Request or RequestResponse: no body is ever seen here, so they mean Metadata")
        });
        let elsewhere = self.rules.iter().flat_map(|rule| &rule.non_resource_urls).filter(|url| attributes::is_a_resource_here(url));
        let elsewhere = elsewhere.map(|url| {
            format!("it names {url} as a nonResourceURL, which matches nothing here: to a kubelet it is a subresource of nodes or pods")
        });
        bodies.into_iter().chain(elsewhere).collect()
    }
}

impl Rule {
    fn matches(&self, request: &Attributes<'_>) -> bool {
        let by_user = self.users.is_empty() || request.user.is_some_and(|user| holds(&self.users, user));
        let by_group = self.groups.is_empty() || request.groups.iter().any(|group| holds(&self.groups, group));
        let by_verb = self.verbs.is_empty() || holds(&self.verbs, request.verb);
        by_user && by_group && by_verb && self.matches_target(&request.target)
    }

    fn matches_target(&self, target: &Target<'_>) -> bool {
        match target {
            Target::Resource { namespace, .. } if !self.namespaces.is_empty() || !self.resources.is_empty() => {
                (self.namespaces.is_empty() || holds(&self.namespaces, namespace))
                    && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.match_target(target)))
            }
            Target::Resource { .. } => self.non_resource_urls.is_empty(),
            Target::Path(path) => {
                let any = self.namespaces.is_empty() && self.resources.is_empty();
                any && (self.non_resource_urls.is_empty() || self.non_resource_urls.iter().any(|url| path_matches(url, path)))
            }
        }
    }
}

impl GroupResources {
    fn match_target(&self, target: &Target<'_>) -> bool {
        let Target::Resource { group, resource, subresource, name, .. } = target else { return false };
        let of_group = self.group == "*" || self.group == *group;
        let of_name = self.names.is_empty() || holds(&self.names, name);
        // Names without resources are refused when a policy is read.
        of_group
            && (self.resources.is_empty() || of_name && self.resources.iter().any(|word| resource_matches(word, resource, subresource)))
    }
}

/// `pods` is the resource alone, `pods/log` one subresource, `*/log` that of any resource, `*` everything. `pods/*` is every subresource *and*
/// `pods` itself, whatever the API server's documentation says of it.
fn resource_matches(word: &str, resource: &str, subresource: &str) -> bool {
    let rest = word.strip_prefix(resource);
    let exactly = if subresource.is_empty() { rest == Some("") } else { rest.and_then(|rest| rest.strip_prefix('/')) == Some(subresource) };
    let of_any = !subresource.is_empty() && word.strip_prefix("*/") == Some(subresource);
    exactly || word == "*" || of_any || word.strip_suffix("/*") == Some(resource)
}

/// A star at the end stands for anything. Several of them are refused when a policy is read.
fn path_matches(url: &str, path: &str) -> bool {
    url == path || url.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

fn holds(words: &[String], word: &str) -> bool {
    words.iter().any(|it| it == word)
}
