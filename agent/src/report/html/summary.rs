//! The whole in a few figures, and how far the migration is.

use maud::{Markup, html};

use super::parts::{identities, number};
use super::{Page, chart, explained};
use crate::judge::Severity;
use crate::report::Verdict;

pub(super) fn section(page: &Page<'_>) -> Markup {
    let report = page.report;
    let seen = report.coverage.seen().count() as u64;
    let known = report.coverage.nodes.len() as u64;
    let migration = &report.migration;
    html! {
        section id="summary" aria-labelledby="summary-title" {
            h2 id="summary-title" { "Summary" }
            ul.tiles {
                @for severity in Severity::ALL.into_iter().rev() {
                    @let kinds = count_of(page, severity);
                    li.tile.quiet[kinds == 0] { span.figure { (number(kinds)) } " " (severity.as_str()) " " (if kinds == 1 { "finding" } else { "findings" }) }
                }
                li.tile { span.figure { (number(migration.requests.by_proxy())) } " requests let in by nodes/proxy" }
                li.tile { span.figure { (number(report.coverage.requests)) } " requests in all" }
                li.tile.doubt[seen < known] { span.figure { (number(seen)) " of " (number(known)) } " nodes seen" }
                li.tile.doubt[!report.coverage.caveats.is_empty()] {
                    span.figure { (number(report.coverage.caveats.len() as u64)) } " "
                    a href="#watched" { (if report.coverage.caveats.len() == 1 { "caveat" } else { "caveats" }) }
                }
            }
            (progress(page))
        }
    }
}

/// Kinds of findings with whom: what the section on findings tells one by one.
fn count_of(page: &Page<'_>, severity: Severity) -> u64 {
    page.report.findings.iter().filter(|(finding, _, _)| finding.severity() == severity).count() as u64
}

fn progress(page: &Page<'_>) -> Markup {
    let migration = &page.report.migration;
    let all = migration.identities();
    let verdict = |verdict: Verdict| migration.verdicts.get(&verdict).copied().unwrap_or_default();
    let free = ("free", migration.free, "Free", "do without nodes/proxy");
    let states: Vec<(&str, u64, &str, &str)> = [free]
        .into_iter()
        .chain(explained::VERDICTS.into_iter().map(|(kind, word, means)| (kind.id(), verdict(kind), word, means)))
        .filter(|(_, count, _, _)| *count > 0)
        .collect();
    html! {
        h3 { "Migration off nodes/proxy" }
        @if all == 0 {
            p { "No identity was seen, and none is known to hold nodes/proxy." }
        } @else {
            p { "Without nodes/proxy: " (number(migration.free)) " of " (identities(all)) "." }
            figure {
                div.bar role="img" aria-label=(format!("Without nodes/proxy: {} of {}", number(migration.free), identities(all))) {
                    (chart::bar(&states.iter().map(|(id, count, _, _)| (*id, *count)).collect::<Vec<_>>()))
                }
                table.legend {
                    caption { "Identities by what is left to do" }
                    thead { tr { th scope="col" { "State" } th scope="col" .n { "Identities" } th scope="col" { "They …" } } }
                    tbody {
                        @for (id, count, word, means) in &states {
                            tr {
                                th scope="row" { span class={ "swatch s-" (id) } {} (word) }
                                td.n { (number(*count)) }
                                td { (means) }
                            }
                        }
                    }
                }
            }
        }
    }
}
