//! How requests came in over time, together and for each identity that rests on `nodes/proxy`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};

use super::parts::{Column, number, table, time};
use super::{Page, chart};
use crate::report::words::Span;
use crate::report::{ByAccess, Timeline, Who};
use crate::when::When;

/// What `docs/migration.md` recommends for a dashboard.
const QUERY: &str = r#"sum by (identity, endpoint) (increase(kubewitness_identity_requests_total{access=~"fallback|proxy-only"}[1d]))"#;

pub(super) fn section(page: &Page<'_>) -> Markup {
    html! {
        section id="time" aria-labelledby="time-title" {
            h2 id="time-title" { "Over time" }
            @match &page.report.timeline {
                None => {
                    p { "The source tells sums of the whole window and no single events. From Prometheus, this expression draws how things went within it:" }
                    pre.copy tabindex="0" { (QUERY) }
                }
                Some(timeline) => (told(page, timeline)),
            }
        }
    }
}

fn told(page: &Page<'_>, timeline: &Timeline) -> Markup {
    let all = timeline.all();
    let step = Span(timeline.step);
    html! {
        p { "Requests of everybody but the API server, in steps of " (step) ", by what let them in." }
        figure {
            ul.legend {
                @for (class, name) in [("proxy", "nodes/proxy alone"), ("fallback", "nodes/proxy as a fallback"), ("finer", "finer rights"), ("other", "no right")] {
                    li { span class={ "swatch k-" (class) } {} (name) }
                }
            }
            div.chart role="img" aria-label="Requests over time; the table below holds the same numbers" { (chart::course(timeline, &all)) }
            details {
                summary { "The numbers" }
                (numbers(timeline, &all))
            }
        }
        @if timeline.left_out > 0 { p.aside { (number(timeline.left_out)) " requests of too many identities are in no step." } }
        (each(page, timeline))
    }
}

fn numbers(timeline: &Timeline, all: &BTreeMap<usize, ByAccess>) -> Markup {
    let columns = [
        Column::text("From"),
        Column::number("nodes/proxy alone"),
        Column::number("Fallback"),
        Column::number("Finer rights"),
        Column::number("No right"),
    ];
    let steps: Vec<usize> = (0..timeline.steps).collect();
    table("numbers", "Requests over time", &columns, &steps, |step| {
        let counts = all.get(step).copied().unwrap_or_default();
        html! {
            tr {
                th scope="row" { (time(timeline.begin(*step))) }
                td.n { (number(counts.proxy_only)) }
                td.n { (number(counts.fallback)) }
                td.n { (number(counts.finer)) }
                td.n { (number(counts.other)) }
            }
        }
    })
}

/// One identity's way.
struct Way<'a> {
    who: &'a Who,
    steps: &'a BTreeMap<usize, ByAccess>,
    sum: ByAccess,
    /// The first and the last step in which `nodes/proxy` let it in.
    first: Timestamp,
    last: Timestamp,
}

fn each(page: &Page<'_>, timeline: &Timeline) -> Markup {
    let mut ways: Vec<Way<'_>> = timeline.by_proxy().map(|(who, steps)| way(timeline, who, steps)).collect();
    ways.sort_by_key(|way| std::cmp::Reverse(way.sum.by_proxy()));
    if ways.is_empty() {
        return html! { p { "Nobody but the API server was let in by nodes/proxy." } };
    }
    let columns = [
        Column::text("Identity"),
        Column::drawing("Let in by nodes/proxy"),
        Column::number("Fallback"),
        Column::number("nodes/proxy alone"),
        Column::number("Finer rights"),
        Column::text("First step"),
        Column::text("Last step"),
    ];
    html! {
        h3 { "Who was let in by nodes/proxy" }
        p { "Each drawing reaches from the window’s start to its end, and to the identity’s own maximum." }
        (table("ways", "Use of nodes/proxy over time", &columns, &ways, |way| html! {
            tr {
                th scope="row" { (page.link(way.who)) }
                td.spark { (chart::spark(timeline.steps, way.steps)) }
                td.n { (number(way.sum.fallback)) }
                td.n { (number(way.sum.proxy_only)) }
                td.n { (number(way.sum.finer)) }
                td { (When::Utc.moment(way.first)) }
                td { (When::Utc.moment(way.last)) }
            }
        }))
    }
}

fn way<'a>(timeline: &Timeline, who: &'a Who, steps: &'a BTreeMap<usize, ByAccess>) -> Way<'a> {
    let mut sum = ByAccess::default();
    for counts in steps.values() {
        sum += *counts;
    }
    let mut used = steps.iter().filter(|(_, counts)| counts.by_proxy() > 0).map(|(step, _)| *step);
    let first = used.next().unwrap_or_default();
    let last = used.next_back().unwrap_or(first);
    Way { who, steps, sum, first: timeline.begin(first), last: timeline.begin(last) }
}
