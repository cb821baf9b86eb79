//! Who may run commands through `nodes/proxy`, by the RBAC objects alone: the findings, and how they are told. Pure.

mod document;
mod kind;
mod sarif;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::judge::Severity;
use crate::kubelet::{Subresource, Verb};
use crate::manifest::{Manifests, Objects, Place, Unsure};
use crate::rbac::{ByRule, Doubt, Holder, Reach, Subject, SubjectKind, VerbSet, builtin};

pub use kind::{FinerRight, Kind};

/// What the owner of the cluster says about it.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// User names of the API server.
    pub api_server_users: Vec<String>,
    /// Who may have it: names as [`Finding::who`] gives them, or usernames.
    pub allow: Vec<String>,
}

/// All that is told.
#[derive(Clone, Debug)]
pub struct Report {
    /// The findings, the gravest first.
    pub findings: Vec<Finding>,
    /// The manifests that it is about; `None` for a cluster.
    pub manifests: Option<Manifests>,
    /// Entries of [`Policy::allow`] that no finding is about.
    pub needless: Vec<String>,
}

/// Somebody who has `nodes/proxy`, or something that would give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// Who; `None` if it is about an object that gives it to nobody yet, or to nobody knows whom.
    pub subject: Option<Subject>,
    /// The `ClusterRoleBinding`.
    pub binding: Option<Named>,
    /// The `ClusterRole`.
    pub role: Option<Named>,
    /// The rules of the role that give it, by their place in it, from 0.
    pub rules: Vec<u16>,
    /// The verbs of these rules.
    pub verbs: VerbSet,
    /// The nodes by name; `None` for all.
    pub nodes: Option<BTreeSet<Box<str>>>,
    /// No rule names `nodes/proxy`: `*` or `*/proxy` matches it.
    pub by_wildcard: bool,
    /// What else is to be known about this one.
    pub remark: Option<String>,
    /// It is known and wanted, by [`Policy::allow`].
    pub allowed: bool,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is, of a role the first rule that matters; `None` if it is in a cluster, or nowhere.
    pub place: Option<Place>,
}

impl Report {
    /// What is to be said about these objects.
    pub fn new(objects: &Objects, manifests: Option<Manifests>, policy: &Policy) -> Self {
        let reach = Reach::of(&objects.snapshot, Subresource::Proxy);
        let labels = manifests.as_ref().map(aggregated).unwrap_or_default();
        let mut verbs: BTreeMap<&Subject, VerbSet> = BTreeMap::new();
        for holder in &reach.holders {
            let set = verbs.entry(&holder.subject).or_default();
            *set = set.union(holder.by.verbs);
        }
        let mut findings = Vec::new();
        for holders in reach.holders.chunk_by(|one, other| (&one.subject, &one.binding) == (&other.subject, &other.binding)) {
            findings.extend(held(holders, &verbs, objects, policy));
        }
        findings.extend(reach.doubts.iter().map(|doubt| doubted(doubt, objects)));
        findings.extend(reach.unbound.chunk_by(|one, other| one.role == other.role).filter_map(|rules| unbound(rules, objects, &labels)));
        for finding in &mut findings {
            finding.allowed = policy.allow.iter().any(|name| finding.is_about(name));
        }
        let needless = policy.allow.iter().filter(|name| !findings.iter().any(|finding| finding.is_about(name))).cloned().collect();
        findings.sort_by_cached_key(|finding| (finding.kind, finding.subject.clone(), finding.binding_name(), finding.role_name()));
        Self { findings, manifests, needless }
    }

    /// The gravest of those that are not allowed.
    pub fn gravest(&self) -> Option<Severity> {
        self.findings.iter().filter(|finding| !finding.allowed).map(Finding::severity).max()
    }

    /// How many of a severity are not allowed.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| !finding.allowed && finding.severity() == severity).count()
    }
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }

    /// What it is about, as a word for `--allow`: `ServiceAccount:monitoring/prometheus`, `User:jane`, `Group:ops`, `ClusterRole:x` of one
    /// that nothing binds.
    pub fn who(&self) -> String {
        match (&self.subject, &self.role, &self.binding) {
            (Some(subject), _, _) => match subject.as_service_account() {
                Some((namespace, name)) => format!("ServiceAccount:{namespace}/{name}"),
                None => format!("{}:{}", subject.kind.as_str(), subject.name),
            },
            (None, Some(role), None) => format!("ClusterRole:{}", role.name),
            (None, _, Some(binding)) => format!("ClusterRoleBinding:{}", binding.name),
            (None, None, None) => String::new(),
        }
    }

    /// What it gives, as one line: `get nodes/proxy on every node`.
    pub fn right(&self) -> String {
        let verbs = if self.verbs.is_all() { "do anything on".to_owned() } else { self.verbs.words().join(", ") };
        let wildcard = if self.by_wildcard { " (by a wildcard)" } else { "" };
        let nodes = self.nodes.as_ref().map_or_else(
            || "every node".to_owned(),
            |nodes| {
                format!(
                    "the node{} {}",
                    if nodes.len() == 1 { "" } else { "s" },
                    nodes.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
                )
            },
        );
        format!("{verbs} nodes/proxy{wildcard} of {nodes}")
    }

    /// The place to point at: where the role gives it, or else where it is bound.
    pub fn place(&self) -> Option<&Place> {
        self.role.as_ref().and_then(|role| role.place.as_ref()).or_else(|| self.binding.as_ref()?.place.as_ref())
    }

    fn is_about(&self, name: &str) -> bool {
        let is_username = |subject: &Subject| subject.kind != SubjectKind::Group && *subject.name == *name;
        self.who() == name || self.subject.as_ref().is_some_and(is_username)
    }

    fn binding_name(&self) -> Option<Arc<str>> {
        self.binding.as_ref().map(|binding| binding.name.clone())
    }

    fn role_name(&self) -> Option<Arc<str>> {
        self.role.as_ref().map(|role| role.name.clone())
    }
}

/// What one binding gives to one subject. `all` is what each subject has by all bindings.
fn held(holders: &[Holder], all: &BTreeMap<&Subject, VerbSet>, objects: &Objects, policy: &Policy) -> Option<Finding> {
    let first = holders.first()?;
    let (subject, role) = (&first.subject, &first.by.role);
    let mut finding = of_rules(&holders.iter().map(|holder| &holder.by), objects)?;
    let others = others(subject);
    let having = std::iter::once(subject).chain(&others).filter_map(|subject| all.get(subject));
    let together = having.fold(VerbSet::default(), |set, verbs| set.union(*verbs));
    let execs = finding.verbs.contains(Verb::Get) || finding.verbs.contains(Verb::Create);
    let is_api_server = subject.kind == SubjectKind::User && policy.api_server_users.iter().any(|user| **user == *subject.name);
    finding.kind = if is_api_server || builtin::is_holder(subject, role) {
        Kind::Builtin
    } else if is_everyone(subject) {
        Kind::ForEveryone
    } else if !execs {
        Kind::OtherVerbs
    } else if !together.contains(Verb::Create) {
        Kind::Get
    } else if finding.by_wildcard {
        Kind::Wildcard
    } else {
        Kind::Create
    };
    if is_api_server {
        finding.remark = Some("This is the API server, by --apiserver-user.".to_owned());
    } else if execs && together.contains(Verb::Create) && !finding.verbs.contains(Verb::Create) {
        finding.remark = Some("It has create by another binding.".to_owned());
    }
    finding.binding = Some(Named { name: first.binding.clone(), place: objects.bindings.get(&first.binding).cloned() });
    finding.subject = Some(subject.clone());
    Some(finding)
}

fn unbound(rules: &[ByRule], objects: &Objects, labels: &BTreeMap<Arc<str>, String>) -> Option<Finding> {
    let finding = of_rules(&rules.iter(), objects)?;
    let role = &rules.first()?.role;
    let kind = match finding.by_wildcard {
        _ if builtin::gives(role) => Kind::Builtin,
        true => Kind::UnboundWildcard,
        false => Kind::Unbound,
    };
    let remark =
        labels.get(role).map(|to| format!("Its label adds its rules to ClusterRole/{to}: whoever has that for the whole cluster has it."));
    Some(Finding { kind, remark, ..finding })
}

fn doubted(doubt: &Doubt, objects: &Objects) -> Finding {
    let (subject, binding, role) = match doubt {
        Doubt::Binding { binding } => (None, binding, None),
        Doubt::Role { subject, binding, role } => (Some(subject.clone()), binding, Some(role)),
    };
    let remark = match role.map(|role| (role, objects.unsure.get(role))) {
        None => "The role or a subject of the binding cannot be read, or it is here twice with different roles.".to_owned(),
        Some((role, None)) => format!("A rule of ClusterRole/{role} cannot be read."),
        Some((role, Some(Unsure::Gathers))) => {
            format!("ClusterRole/{role} gathers rules of other roles by label, and they may be elsewhere.")
        }
        Some((role, Some(Unsure::Elsewhere))) => format!("ClusterRole/{role} is not here."),
    };
    Finding {
        kind: Kind::Unknown,
        subject,
        binding: Some(Named { name: binding.clone(), place: objects.bindings.get(binding).cloned() }),
        role: role.map(|role| Named { name: role.clone(), place: objects.roles.get(role).cloned() }),
        rules: Vec::new(),
        verbs: VerbSet::default(),
        nodes: None,
        by_wildcard: false,
        remark: Some(remark),
        allowed: false,
    }
}

/// What rules of one role give together. The kind is the caller's to set.
fn of_rules<'a>(rules: &(impl Iterator<Item = &'a ByRule> + Clone), objects: &Objects) -> Option<Finding> {
    let role = rules.clone().next()?.role.clone();
    let first = rules.clone().min_by_key(|by| (by.by_wildcard, by.rule))?;
    let place = objects.rules.get(&(role.clone(), first.rule)).or_else(|| objects.roles.get(&role)).cloned();
    let nodes = rules.clone().map(|by| by.nodes.as_deref()).collect::<Option<Vec<_>>>();
    Some(Finding {
        kind: Kind::Unknown,
        subject: None,
        binding: None,
        role: Some(Named { name: role, place }),
        rules: rules.clone().map(|by| by.rule).collect(),
        verbs: rules.clone().fold(VerbSet::default(), |set, by| set.union(by.verbs)),
        nodes: nodes.map(|nodes| nodes.into_iter().flatten().cloned().collect()),
        by_wildcard: rules.clone().all(|by| by.by_wildcard),
        remark: None,
        allowed: false,
    })
}

/// What else a binding may name to mean this subject, by what it is: its groups, and a `ServiceAccount` as a user.
fn others(subject: &Subject) -> Vec<Subject> {
    if subject.kind == SubjectKind::Group || *subject.name == *ANONYMOUS {
        return Vec::new();
    }
    let account = Subject::of_username(&subject.name);
    let mut others = vec![Subject::group("system:authenticated")];
    if let Some((namespace, _)) = account.as_service_account() {
        others.extend(["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")].map(Subject::group));
        others.push(if subject.kind == SubjectKind::User { account } else { Subject::user(&subject.name) });
    }
    others
}

const ANONYMOUS: &str = "system:anonymous";

fn is_everyone(subject: &Subject) -> bool {
    match subject.kind {
        SubjectKind::Group => {
            matches!(&*subject.name, "system:authenticated" | "system:unauthenticated" | "system:serviceaccounts")
                || subject.name.starts_with("system:serviceaccounts:")
        }
        SubjectKind::User => *subject.name == *ANONYMOUS,
        SubjectKind::ServiceAccount => false,
    }
}

/// The roles whose rules go into one of Kubernetes' own by their label, and which.
fn aggregated(manifests: &Manifests) -> BTreeMap<Arc<str>, String> {
    const LABEL: &str = "rbac.authorization.k8s.io/aggregate-to-";
    let to = |labels: &BTreeMap<String, String>| {
        let set = labels.iter().filter(|(_, value)| *value == "true");
        set.filter_map(|(key, _)| key.strip_prefix(LABEL)).map(ToOwned::to_owned).next()
    };
    manifests.roles.iter().filter_map(|role| Some((role.name.clone(), to(&role.labels)?))).collect()
}

/// `ServiceAccount monitoring/prometheus: get nodes/proxy of every node, by ClusterRoleBinding/x and ClusterRole/y`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.subject, &self.role, &self.binding) {
            (Some(subject), _, _) => write!(f, "{subject}")?,
            (None, Some(role), None) => write!(f, "ClusterRole {}", role.name)?,
            (None, _, Some(binding)) => write!(f, "ClusterRoleBinding {}", binding.name)?,
            (None, None, None) => {}
        }
        if self.kind == Kind::Unknown {
            f.write_str(" may have nodes/proxy")?;
        } else {
            write!(f, ": {}", self.right())?;
        }
        match (&self.subject, &self.binding, &self.role) {
            (Some(_), Some(binding), Some(role)) => write!(f, ", by ClusterRoleBinding/{} and ClusterRole/{}", binding.name, role.name),
            _ => Ok(()),
        }
    }
}
