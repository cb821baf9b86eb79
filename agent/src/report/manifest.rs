//! The recommended roles as manifests that `kubectl apply` takes, with what they rest on as comments.

use std::fmt::{self, Write as _};

use super::{NewRole, NewRule, Replacement, Report, Verdict, text::sentences};
use crate::inert::{Inert, quoted};
use crate::rbac::Rule;
use crate::when::When;

/// All recommended roles and their bindings, as YAML documents. Comments alone where there are none.
pub fn manifests(report: &Report) -> String {
    let mut yaml =
        String::from("# Least rights on the kubelet's API that cover what kubewitness saw. Read the comments before you apply them.\n");
    for line in sentences::basis(&report.coverage, &When::Utc) {
        comment(&mut yaml, &line);
    }
    for caveat in &report.coverage.caveats {
        comment(&mut yaml, &format!("! {}", caveat.text));
    }
    let mut any = false;
    for replacement in &report.replacements {
        if let Some(role) = &replacement.role {
            any = true;
            yaml.push_str("---\n");
            explain(&mut yaml, replacement);
            let _infallible = write!(yaml, "{role}---\n{}", BindingManifest(role));
        }
    }
    if !any {
        yaml.push_str("# There is no role to recommend.\n");
    }
    yaml
}

fn explain(yaml: &mut String, replacement: &Replacement) {
    comment(yaml, &format!("{}: {}", replacement.subject, sentences::verdict(replacement)));
    comment(yaml, &sentences::rests_on(replacement, &When::Utc));
    for kept in &replacement.kept {
        comment(yaml, &sentences::kept(kept));
    }
    for line in sentences::upgrade(&replacement.upgrade) {
        comment(yaml, &line);
    }
    for caveat in &replacement.caveats {
        comment(yaml, &format!("! {}", caveat.text));
    }
    if replacement.verdict != Verdict::Keep {
        for step in &replacement.steps {
            comment(yaml, &format!("Then: {}", sentences::step(step)));
        }
    }
}

/// A comment ends at the end of its line: what callers chose must not end it.
fn comment(yaml: &mut String, line: &str) {
    let _infallible = writeln!(yaml, "# {}", Inert(line));
}

/// The `ClusterRole`, in the form in which they are usually written.
impl fmt::Display for NewRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {}\nrules:", quoted(&self.name))?;
        self.rules.iter().try_for_each(|rule| rule.fmt(f))
    }
}

impl fmt::Display for NewRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Option<Vec<&str>> = self.nodes.as_ref().map(|nodes| nodes.iter().map(String::as_str).collect());
        rule(f, &self.resources(), &self.verbs, nodes.as_deref())
    }
}

/// A rule as far as it concerns nodes, in the same form.
pub(super) struct Before<'a>(pub(super) &'a Rule);

impl fmt::Display for Before<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Option<Vec<&str>> = self.0.nodes.as_ref().map(|nodes| nodes.iter().map(|node| &**node).collect());
        rule(f, &self.0.subresources.words(), &self.0.verbs.words(), nodes.as_deref())
    }
}

fn rule(f: &mut fmt::Formatter<'_>, resources: &[String], verbs: &[&str], nodes: Option<&[&str]>) -> fmt::Result {
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    writeln!(f, "- apiGroups: [\"\"]\n  resources: {}", list(&resources))?;
    if let Some(nodes) = nodes {
        writeln!(f, "  resourceNames: {}", list(nodes))?;
    }
    writeln!(f, "  verbs: {}", list(verbs))
}

/// The binding to a role.
pub(super) struct BindingManifest<'a>(pub(super) &'a NewRole);

impl fmt::Display for BindingManifest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = quoted(&self.0.name);
        writeln!(f, "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: {name}")?;
        writeln!(f, "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: {name}\nsubjects:")?;
        let subject = &self.0.subject;
        if let Some((namespace, name)) = subject.as_service_account() {
            return writeln!(f, "- kind: ServiceAccount\n  namespace: {}\n  name: {}", quoted(namespace), quoted(name));
        }
        writeln!(f, "- apiGroup: rbac.authorization.k8s.io\n  kind: {}\n  name: {}", subject.kind.as_str(), quoted(&subject.name))
    }
}

fn list(words: &[&str]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
}
