//! What was watched, and how completely.

use std::time::Duration;

use maud::{Markup, html};

use super::parts::{Column, number, shown, table, time};
use crate::report::coverage::length;
use crate::report::words::Span;
use crate::report::{Coverage, Node, NodeSeen};

pub(super) fn section(coverage: &Coverage) -> Markup {
    html! {
        section id="watched" aria-labelledby="watched-title" {
            h2 id="watched-title" { "What was watched, and how completely" }
            p { "A conclusion is as good as this section: what was not watched, or not done in the window, is in none of the others." }
            @if coverage.caveats.is_empty() && coverage.notes.is_empty() {
                p { "Nothing is known to be missing." }
            } @else {
                ul.cautions {
                    @for caveat in &coverage.caveats { li { (shown(&caveat.text)) } }
                    @for note in &coverage.notes { li { (shown(&note.text)) " (" (number(note.count)) ")" } }
                }
            }
            @if !coverage.nodes.is_empty() { (nodes(coverage)) }
        }
    }
}

fn nodes(coverage: &Coverage) -> Markup {
    // Events tell neither for how long agents watched nor what they lost, counters not when requests came.
    let told = |tells: &dyn Fn(&NodeSeen) -> bool| coverage.seen().any(|(_, seen)| tells(seen));
    let (lengths, losses, times) =
        (told(&|seen| seen.watched.is_some()), told(&|seen| seen.lost.is_some()), told(&|seen| seen.seen.is_some()));
    let columns = [
        Some(Column::text("Node")),
        Some(Column::text("Kubelet")),
        Some(Column::number("Requests")),
        Some(Column::number("Not seen whole")),
        lengths.then(|| Column::number("Watched")),
        losses.then(|| Column::number("Records lost")),
        times.then(|| Column::text("First request")),
        times.then(|| Column::text("Last request")),
    ];
    let columns: Vec<Column> = columns.into_iter().flatten().collect();
    let window = coverage.window.map(length);
    let nodes: Vec<(&String, &Node)> = coverage.nodes.iter().collect();
    table("nodes", "Nodes", &columns, &nodes, |(name, node)| {
        let seen = node.seen.as_ref();
        html! {
            tr {
                th scope="row" { (shown(name)) }
                td { (node.kubelet.as_deref().map_or_else(|| "not known".to_owned(), shown)) }
                @if let Some(seen) = seen {
                    td.n { (number(seen.requests)) }
                    td.n { (number(seen.partial)) }
                    @if lengths { td.n { (watched(seen.watched, window)) } }
                    @if losses { td.n { (seen.lost.map_or_else(|| "not told".to_owned(), number)) } }
                    @if times {
                        @if let Some((first, last)) = seen.seen { td { (time(first)) } td { (time(last)) } } @else { td { "not told" } td { "not told" } }
                    }
                } @else {
                    td colspan=(columns.len() - 2) .missing { "Nothing was seen of it." }
                }
            }
        }
    })
}

/// For how much of the window.
fn watched(watched: Option<Duration>, window: Option<Duration>) -> Markup {
    let Some(watched) = watched else { return html! { "not told" } };
    let whole = window.filter(|window| !window.is_zero());
    let share = whole.map(|window| (watched.as_secs_f64() / window.as_secs_f64()).min(1.0));
    html! {
        @if let Some(share) = share {
            meter min="0" max="1" value=(format!("{share:.3}")) aria-hidden="true" {}
            " " (format!("{:.0} %", (share * 100.0).floor()))
        } @else {
            (Span(watched))
        }
    }
}
