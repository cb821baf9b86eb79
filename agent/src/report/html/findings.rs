//! What was wrong, with whom, and the events that show it.

use maud::{Markup, html};
use serde_json::Value;

use super::parts::{Column, identities, list, number, requests, shown, table, time};
use super::{Page, explained, name};
use crate::inert::Inert;
use crate::judge::{Finding, Severity};
use crate::report::{Example, Found, Who};
use crate::when::When;

pub(super) fn section(page: &Page<'_>) -> Markup {
    let findings = &page.report.findings;
    let of = |kind: Finding| findings.iter().filter(move |(finding, _, _)| *finding == kind).collect::<Vec<_>>();
    html! {
        section id="findings" aria-labelledby="findings-title" {
            h2 id="findings-title" { "Findings" }
            @if findings.is_empty() { p { "None." } }
            @for kind in Finding::ALL {
                @let found = of(kind);
                @if !found.is_empty() { (of_kind(page, kind, &found)) }
            }
        }
    }
}

fn of_kind(page: &Page<'_>, kind: Finding, found: &[&(Finding, Who, Found)]) -> Markup {
    let sum = found.iter().map(|(_, _, found)| found.count).sum::<u64>();
    html! {
        article.finding {
            h3 {
                span class={ "chip " (kind.severity().as_str()) } { (kind.severity().as_str()) } " "
                code { (kind.id()) }
                " " span.aside { (requests(sum)) ", " (identities(found.len() as u64)) }
            }
            p { (explained::finding(kind)) }
            @if kind.severity() == Severity::Info {
                (table("who", "Identities, each with the first of its events", &COLUMNS.map(Column::text), found, |(_, who, found)| row(page, who, found)))
            } @else {
                (list("who", found, |(_, who, found)| of_one(page, who, found)))
            }
        }
    }
}

/// What is only worth knowing may be true of ten thousand: a row for each, and no fold, for each fold takes a browser 20 µs.
const COLUMNS: [&str; 7] = ["Identity", "Requests", "First", "Node", "From", "Request", "auditID"];

fn row(page: &Page<'_>, who: &Who, found: &Found) -> Markup {
    html! {
        tr {
            th scope="row" { (page.link(who)) }
            td.n { (number(found.count)) }
            @match found.examples.first() {
                None => td colspan=(COLUMNS.len() - 2) .aside { (NO_EVENTS) },
                Some(example) => {
                    td { (When::Utc.moment(example.time)) }
                    td { (shown(&example.node)) }
                    td { (shown(&example.source_ip)) }
                    td.code { (shown(&example.request)) }
                    td.code { (shown(&example.audit_id)) }
                }
            }
        }
    }
}

const NO_EVENTS: &str = "The source has no single events; the agent’s events of this identity show it.";

fn of_one(page: &Page<'_>, who: &Who, found: &Found) -> Markup {
    html! {
        details.row {
            summary {
                (name(who)) " "
                span.aside { (requests(found.count)) @if let Some(first) = found.examples.first() { ", first " (time(first.time)) } }
            }
            @if let Some(anchor) = page.anchor(who) { p { a href={ "#" (anchor) } { "What would be enough for it instead" } } }
            @if found.examples.is_empty() {
                p { (NO_EVENTS) }
            } @else {
                @for example in &found.examples { (event(example)) }
                @if found.count > found.examples.len() as u64 {
                    p.aside { "These are the first " (number(found.examples.len() as u64)) " of " (number(found.count)) "." }
                }
            }
        }
    }
}

fn event(example: &Example) -> Markup {
    let written = example.event.as_ref().and_then(|written| serde_json::from_str::<Value>(&written.json).ok());
    html! {
        div.event {
            p {
                (time(example.time)) " on " span.name { (shown(&example.node)) }
                @if !example.source_ip.is_empty() { " from " (shown(&example.source_ip)) }
                br;
                code { (shown(&example.request)) }
            }
            @if let Some(written) = &written {
                dl.facts {
                    @for (what, fact) in facts(written) { div { dt { (what) } dd { (shown(&fact)) } } }
                }
                details {
                    summary { "The event " code { (shown(&example.audit_id)) } }
                    pre.copy tabindex="0" { (pretty(written)) }
                }
            } @else {
                p.aside { "auditID " code { (shown(&example.audit_id)) } "; the event itself is in the agent’s file, for it was too long or one of too many." }
            }
        }
    }
}

/// What of an event tells most at a glance.
fn facts(event: &Value) -> Vec<(&'static str, String)> {
    let annotation = |name: &str| event["annotations"][name].as_str().map(str::to_owned);
    let all = [
        ("Answer", event["responseStatus"]["code"].as_u64().map(|code| code.to_string())),
        ("Checks", annotation("kubewitness.dev/checks")),
        ("Granted by", annotation("kubewitness.dev/granted-by")),
        ("Without nodes/proxy", annotation("kubewitness.dev/without-nodes-proxy")),
        ("Caller", annotation("kubewitness.dev/caller")),
        ("Transport", annotation("kubewitness.dev/transport")),
        ("User agent", event["userAgent"].as_str().map(str::to_owned)),
        ("Completeness", annotation("kubewitness.dev/completeness")),
    ];
    all.into_iter().filter_map(|(name, fact)| Some((name, fact?))).collect()
}

/// JSON escapes line feeds in texts, so that those that are left are of its layout.
fn pretty(event: &Value) -> String {
    let pretty = serde_json::to_string_pretty(event).unwrap_or_default();
    pretty.lines().map(|line| Inert(line).to_string()).collect::<Vec<_>>().join("\n")
}
