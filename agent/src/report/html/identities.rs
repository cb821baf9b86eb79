//! For each identity that holds or used `nodes/proxy`: what would be enough instead, or why nothing is.

use maud::{Markup, html};

use super::parts::{list, number, requests, shown};
use super::{Page, anchor, explained};
use crate::report::manifest::{Before, BindingManifest};
use crate::report::text::sentences::{self, by};
use crate::report::{Change, NewRole, Replacement, Verdict};
use crate::when::When;

pub(super) fn section(page: &Page<'_>) -> Markup {
    let all: Vec<(usize, &Replacement)> = page.replacements().collect();
    html! {
        section id="instead" aria-labelledby="instead-title" {
            h2 id="instead-title" { "What would be enough instead" }
            @if all.is_empty() {
                p { "Nobody but the API server, and what Kubernetes itself sets up, holds or was seen to use nodes/proxy." }
            } @else {
                p { "Each identity that holds or used nodes/proxy, with the least role that covers what was seen of it, or the reason why it cannot do without." }
                (list("identities", &all, |(place, replacement)| of_one(*place, replacement)))
            }
        }
    }
}

fn of_one(place: usize, replacement: &Replacement) -> Markup {
    let verdict = replacement.verdict;
    html! {
        details.row id=(anchor(place)) {
            summary {
                span.name { (shown(&sentences::subject(&replacement.subject))) } " "
                span class={ "chip s-" (verdict.id()) } { (explained::verdict(verdict)) } " "
                span.aside { (requests(replacement.basis.requests)) " let in" }
            }
            p { (sentences::verdict(replacement)) ". " (shown(&sentences::rests_on(replacement, &When::Utc))) }
            @if !replacement.kept.is_empty() { (why_not(replacement)) }
            @if let Some(role) = &replacement.role { (instead(replacement, role)) }
            @if !replacement.diff.is_empty() { (rights(replacement)) }
            (steps(replacement))
            @if !replacement.caveats.is_empty() {
                ul.cautions { @for caveat in &replacement.caveats { li { (shown(&caveat.text)) } } }
            }
        }
    }
}

fn why_not(replacement: &Replacement) -> Markup {
    html! {
        h3 { "Why not" }
        ul { @for kept in &replacement.kept { li { (shown(&sentences::kept(kept))) } } }
    }
}

fn instead(replacement: &Replacement, role: &NewRole) -> Markup {
    html! {
        h3 { "The role instead, with its binding" }
        p { (shown(&sentences::upgrade(&replacement.upgrade).join(" "))) }
        pre.diff.copy tabindex="0" aria-label="The role as a difference" {
            @for (name, rules) in &replacement.before {
                @let rules: String = rules.iter().map(|rule| Before(rule).to_string()).collect();
                del { "- # ClusterRole " (shown(name)) ", as far as it concerns nodes\n" (signed("-", &rules)) }
            }
            ins { (signed("+", &format!("{role}---\n{}", BindingManifest(role)))) }
        }
    }
}

/// Lines of a difference.
fn signed(sign: &str, lines: &str) -> String {
    lines.lines().flat_map(|line| [sign, " ", line, "\n"]).collect()
}

/// How the rights change, each with what gives it.
fn rights(replacement: &Replacement) -> Markup {
    let new = replacement.role.as_ref().map(|role| role.name.as_str());
    html! {
        h3 { "Its rights on nodes, before and after" }
        ul.rights {
            @for line in &replacement.diff {
                @let (class, word, ways) = match line.change {
                    Change::Goes => ("goes", "− goes", &line.before),
                    Change::Comes => ("comes", "+ comes", &line.after),
                    Change::Stays => ("stays", "stays", &line.after),
                };
                @let ways: Vec<String> = ways.iter().map(|way| by(way, new)).collect();
                li class=(class) { (word) ": " (line.verbs.join(", ")) " " (shown(&line.resource)) ", by " (shown(&ways.join(" and "))) }
            }
        }
    }
}

fn steps(replacement: &Replacement) -> Markup {
    let title = if replacement.verdict.takes_away() { "How nodes/proxy goes" } else { "Once it needs it no more" };
    let granted: Vec<(&String, &u64)> = replacement.granted_by.iter().collect();
    html! {
        @if !replacement.steps.is_empty() && replacement.verdict != Verdict::Masters {
            h3 { (title) }
            ol { @for step in &replacement.steps { li { (shown(&sentences::step(step))) } } }
        }
        @if let Some(proof) = &replacement.proof {
            @let lines = sentences::proof(replacement, proof);
            @if !lines.is_empty() {
                h3 { "Checked on a copy of the RBAC objects" }
                ul.checked .holds[proof.holds()] { @for line in &lines { li { (shown(line)) } } }
            }
        } @else {
            h3 { "Not checked, without RBAC objects" }
            @if granted.is_empty() {
                p { "What grants its requests is not told." }
            } @else {
                p { "Granted by, as the kubelets said:" }
                ul { @for (grant, count) in granted { li { (shown(grant)) " (" (number(*count)) ")" } } }
            }
        }
    }
}
