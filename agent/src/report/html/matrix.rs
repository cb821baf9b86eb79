//! Who used which endpoint, how often, and by which right: a heat map.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::parts::{Column, number, table};
use super::{Page, explained};
use crate::kubelet::{AccessKind, Endpoint, Verb};
use crate::report::{ByAccess, Who};

/// What one identity did, in the order of the columns.
struct Row<'a> {
    who: &'a Who,
    cells: BTreeMap<&'a Endpoint, Vec<(AccessKind, Verb, u64)>>,
    sum: ByAccess,
}

pub(super) fn section(page: &Page<'_>) -> Markup {
    let matrix = &page.report.matrix;
    let endpoints: BTreeSet<&Endpoint> = matrix.keys().map(|seen| &seen.endpoint).collect();
    let mut columns = vec![Column::text("Identity"), Column::number("Requests"), Column::number("By nodes/proxy")];
    columns.extend(endpoints.iter().map(|endpoint| Column::number(endpoint.label())));
    let rows = rows(page);
    html! {
        section id="used" aria-labelledby="used-title" {
            h2 id="used-title" { "Who used what" }
            @if rows.is_empty() {
                p { "Nothing was seen." }
            } @else {
                p { "Requests of each identity to each endpoint. The verb is get unless another one is named. The colour says by which right, its depth how many requests." }
                (legend())
                (table("heat", "Requests by identity and endpoint", &columns, &rows, |row| of_row(page, row, &endpoints)))
            }
        }
    }
}

/// Those who rest on `nodes/proxy` most come first.
fn rows<'a>(page: &Page<'a>) -> Vec<Row<'a>> {
    let mut rows: BTreeMap<&Who, Row<'a>> = BTreeMap::new();
    for (seen, count) in &page.report.matrix {
        let row = rows.entry(&seen.who).or_insert_with(|| Row { who: &seen.who, cells: BTreeMap::new(), sum: ByAccess::default() });
        row.cells.entry(&seen.endpoint).or_default().push((seen.access, seen.verb, *count));
        row.sum.add(seen.access, *count);
    }
    let mut rows: Vec<Row<'a>> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.sum.by_proxy(), row.sum.sum())));
    rows
}

fn of_row(page: &Page<'_>, row: &Row<'_>, endpoints: &BTreeSet<&Endpoint>) -> Markup {
    html! {
        tr {
            th scope="row" { (page.link(row.who)) }
            td.n { (number(row.sum.sum())) }
            td.n { (number(row.sum.by_proxy())) }
            @for endpoint in endpoints { (cell(row.cells.get(endpoint).map_or(&[], Vec::as_slice))) }
        }
    }
}

/// The words tell what the colours do.
fn cell(uses: &[(AccessKind, Verb, u64)]) -> Markup {
    let class = |(access, _, count): &(AccessKind, Verb, u64)| format!("n c-{} d{}", explained::colour(*access), depth(*count));
    let told = |(access, verb, count): &(AccessKind, Verb, u64)| html! { (number(*count)) small { (access.as_str()) (of_verb(*verb)) } };
    match uses {
        [] => html! { td {} },
        [one] => html! { td class=(class(one)) { (told(one)) } },
        several => html! { td.several { @for one in several { div class=(class(one)) { (told(one)) } } } },
    }
}

fn of_verb(verb: Verb) -> String {
    match verb {
        Verb::Get | Verb::Unknown => String::new(),
        Verb::None => " no verb".to_owned(),
        verb => format!(" {}", verb.as_str()),
    }
}

/// Depths of a colour, each ten times the one before.
const DEPTHS: [(&str, u64); 5] =
    [("below 10", 10), ("below 100", 100), ("below 1,000", 1_000), ("below 10,000", 10_000), ("10,000 and more", u64::MAX)];

fn depth(count: u64) -> usize {
    DEPTHS.iter().position(|(_, below)| count < *below).unwrap_or(DEPTHS.len() - 1) + 1
}

fn legend() -> Markup {
    let colours = [
        ("proxy", "nodes/proxy, and nothing else would do"),
        ("fallback", "nodes/proxy, where a finer right would do"),
        ("finer", "a finer right"),
        ("other", "no right: refused, unchecked or not known"),
    ];
    html! {
        ul.legend {
            @for (colour, means) in colours { li { span class={ "swatch c-" (colour) " d5" } {} (means) } }
        }
        ul.legend {
            @for (index, (means, _)) in DEPTHS.iter().enumerate() { li { span class={ "swatch c-fallback d" (index + 1) } {} (means) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_of_a_colour() {
        for (count, expected) in [(1, 1), (9, 1), (10, 2), (999, 3), (1_000, 4), (9_999, 4), (10_000, 5), (u64::MAX, 5)] {
            assert_eq!(depth(count), expected, "{count}");
        }
    }

    #[test]
    fn a_cell_tells_each_way_in_words_and_in_colour() {
        let (denied, fallback) = ((AccessKind::Denied, Verb::Create, 70), (AccessKind::Fallback, Verb::Get, 2));
        assert_eq!(cell(&[fallback]).into_string(), r#"<td class="n c-fallback d1">2<small>fallback</small></td>"#);
        assert_eq!(
            cell(&[denied, fallback]).into_string(),
            concat!(
                r#"<td class="several"><div class="n c-other d2">70<small>denied create</small></div>"#,
                r#"<div class="n c-fallback d1">2<small>fallback</small></div></td>"#
            )
        );
        assert_eq!(cell(&[]).into_string(), "<td></td>");
    }
}
