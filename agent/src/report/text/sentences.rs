//! What the report says in words, wherever it says it: in the terminal, in the comments of manifests and on the page.

use crate::rbac::Subject;
use crate::report::coverage::length;
use crate::report::words::{Span, counted, some};
use crate::report::{Action, Coverage, Kept, Proof, Release, Replacement, Seen, Step, Upgrade, Verdict, Way, Who};
use crate::when::When;

/// What was read.
pub(crate) fn basis(coverage: &Coverage, when: &When) -> Vec<String> {
    let window = coverage.window.map_or_else(
        || "No request was seen.".to_owned(),
        |window| format!("{} to {} ({}).", when.moment(window.0), when.moment(window.1), Span(length(window))),
    );
    let (seen, all) = (coverage.seen().count(), counted(coverage.nodes.len(), "node"));
    let rbac = coverage.rbac.as_deref().map_or_else(|| "RBAC not read".to_owned(), |source| format!("RBAC from {source}"));
    vec![window, format!("{} on {seen} of {all}; from {}; {rbac}.", counted(coverage.requests, "request"), coverage.source)]
}

/// What to do about an identity.
pub(crate) const fn verdict(replacement: &Replacement) -> &'static str {
    match replacement.verdict {
        Verdict::Replace => "nodes/proxy can be replaced by finer rights",
        Verdict::UpgradeFirst => "nodes/proxy can be replaced by finer rights once all kubelets honour them",
        Verdict::Keep if replacement.role.is_some() => "nodes/proxy cannot be dropped yet; finer rights cover the rest",
        Verdict::Keep => "nodes/proxy cannot be dropped yet",
        Verdict::Unused => "holds nodes/proxy and was not seen to use it",
        Verdict::Undecided => "was let in, and it was not seen to what: no conclusion",
        Verdict::Masters => "is let in as a member of system:masters before RBAC is asked; no role changes that",
    }
}

/// What a conclusion rests on.
pub(crate) fn rests_on(replacement: &Replacement, when: &When) -> String {
    let basis = replacement.basis;
    let all = counted(basis.of_nodes, "known node");
    let nodes = basis.nodes.map_or_else(|| format!("some of {all}"), |nodes| format!("{nodes} of {all}"));
    let window = basis.window.map(|(first, last)| format!(", {} to {}", when.moment(first), when.moment(last))).unwrap_or_default();
    match basis.requests {
        0 => format!("Rests on no request that was let in{window}."),
        requests => format!("Rests on {} on {nodes}{window}.", counted(requests, "request")),
    }
}

/// Why `nodes/proxy` cannot be dropped.
pub(crate) fn kept(kept: &Kept) -> String {
    let what = kept.endpoint.as_ref().map_or("the API server's nodes/proxy", |endpoint| endpoint.label());
    format!("Needs nodes/proxy: {what} ({}). Instead: {}.", counted(kept.count, "request"), kept.instead.text())
}

/// Which kubelets honour the role.
pub(crate) fn upgrade(upgrade: &Upgrade) -> Vec<String> {
    let Some(needs) = upgrade.needs else { return vec!["Every supported kubelet honours these rights.".to_owned()] };
    let on = if needs == Release::FINE_GRAINED { " (unless KubeletFineGrainedAuthz is off)" } else { "" };
    let gate = if upgrade.gate_is_enough { format!(", or {} with KubeletFineGrainedAuthz on", Release::WITH_GATE) } else { String::new() };
    let mut lines = vec![format!("Needs kubelet {needs}{on}{gate}.")];
    let mut nodes = |nodes: &[(String, String)], what: &str| {
        if !nodes.is_empty() {
            let names: Vec<String> = nodes.iter().map(|(name, version)| format!("{name} ({version})")).collect();
            lines.push(format!("{} {what}: {}.", counted(nodes.len(), "node"), some(&names)));
        }
    };
    nodes(&upgrade.too_old, "too old");
    nodes(&upgrade.with_gate, "only if KubeletFineGrainedAuthz is on there");
    if !upgrade.unknown.is_empty() {
        lines.push(format!("Version not known of {}: {}.", counted(upgrade.unknown.len(), "node"), some(&upgrade.unknown)));
    }
    lines
}

/// How `nodes/proxy` is taken away.
pub(crate) fn step(step: &Step) -> String {
    let Step { binding, role, subject, .. } = step;
    let rules = rules(&step.rules);
    let others = |text: &str| if step.others.is_empty() { String::new() } else { format!(" {text}: {}.", some(&step.others)) };
    match step.action {
        Action::DeleteBinding => {
            format!("delete ClusterRoleBinding {binding}: it names nobody else, and ClusterRole {role} gives nothing else.")
        }
        Action::RemoveSubject => {
            format!("take {subject} out of ClusterRoleBinding {binding} (ClusterRole {role}).{}", others("It stays for"))
        }
        Action::EditRole => {
            let affected = if step.others.is_empty() { " Nobody else has this role.".to_owned() } else { others("These lose it too") };
            format!("take nodes/proxy out of {rules} of ClusterRole {role}, which gives other rights as well.{affected}")
        }
        Action::Group => {
            let more = others("The binding also names");
            format!("{subject} has it by ClusterRoleBinding {binding} (ClusterRole {role}): taking it away affects all members.{more}")
        }
        Action::Wildcard => {
            let more = others("The binding also names");
            format!(
                "{rules} of ClusterRole {role} (ClusterRoleBinding {binding}) gives it by a wildcard, which cannot be narrowed by an edit: \
                 bind {subject} to a role that names what it needs.{more}"
            )
        }
        Action::Unreadable => format!("look at ClusterRoleBinding {binding} and ClusterRole {role}: not all of them could be read."),
    }
}

/// What the RBAC objects say afterwards.
pub(crate) fn proof(replacement: &Replacement, proof: &Proof) -> Vec<String> {
    let mut lines = Vec::new();
    for (right, why) in &proof.missing {
        let why = why.as_ref().map_or_else(|| "no rule allows it".to_owned(), ToString::to_string);
        lines.push(format!("{} nodes/{} would not be allowed: {why}.", right.word(), right.subresource.as_str()));
    }
    if proof.missing.is_empty() && !replacement.covers.is_empty() {
        lines.push("All these rights are allowed afterwards.".to_owned());
    }
    if !replacement.verdict.takes_away() {
        return lines;
    }
    if let Some(why) = &proof.unclear {
        lines.push(format!("Whether nodes/proxy is gone cannot be told: {why}."));
    }
    for grounds in &proof.still {
        let by = format!("ClusterRoleBinding {} (ClusterRole {}, {})", grounds.binding, grounds.role, rules(&[grounds.rule]));
        lines.push(format!("nodes/proxy is still held by {by}, given to {}.", grounds.subject));
    }
    if proof.still.is_empty() && proof.unclear.is_none() {
        lines.push("nodes/proxy is gone then: no other binding that was read gives it.".to_owned());
    }
    lines
}

/// Who it is, as briefly as it is still clear.
pub(crate) fn subject(subject: &Subject) -> String {
    match subject.as_service_account() {
        Some((namespace, name)) => format!("sa {namespace}/{name}"),
        None => format!("{} {}", subject.kind.as_str().to_lowercase(), subject.name),
    }
}

/// A caller.
pub(crate) fn who(who: &Who) -> String {
    match who {
        Who::User(user) => subject(&Subject::of_username(user)),
        Who::Others => "(others)".to_owned(),
        Who::Nobody => "(nobody)".to_owned(),
    }
}

/// How often something was seen.
pub(crate) fn times(seen: Seen) -> String {
    match seen {
        Seen::Times(count) => count.to_string(),
        Seen::Never => "never".to_owned(),
        Seen::Unknown => "?".to_owned(),
    }
}

/// By what a caller has a right; `new` is the name of the new role.
pub(crate) fn by(way: &Way, new: Option<&str>) -> String {
    if Some(&*way.binding) == new {
        return "the new role".to_owned();
    }
    format!("{} ({} rule {})", way.binding, way.role, way.rule + 1)
}

/// Places count from 1 for people.
fn rules(rules: &[u16]) -> String {
    let places: Vec<String> = rules.iter().map(|rule| (rule + 1).to_string()).collect();
    format!("rule{} {}", if places.len() == 1 { "" } else { "s" }, places.join(", "))
}
