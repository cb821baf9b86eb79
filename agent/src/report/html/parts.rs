//! What the sections are made of.

use std::borrow::Cow;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::inert::Inert;
use crate::when::When;

/// Rows of a table, or items of a list, that are shown at once. What is folded costs the browser no layout, so that a page with 10,000 identities
/// opens at once.
const AT_ONCE: usize = 200;

/// Of a longer text the rest is left out: a name has at most some 330 characters, and of a request its event holds all.
const LONGEST: usize = 500;

/// A text that callers may have chosen.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => Inert(text).to_string(),
        Some((end, _)) => format!("{}…", Inert(&text[..end])),
    }
}

/// A time to the second.
pub(super) fn time(time: Timestamp) -> Markup {
    let told = When::Utc.moment(time).to_string();
    html! { time datetime=(told) { (told) } }
}

/// `12,960`
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 request`, `2,000 requests`
pub(super) fn requests(count: u64) -> String {
    format!("{} {}", number(count), if count == 1 { "request" } else { "requests" })
}

/// `1 identity`, `2,000 identities`
pub(super) fn identities(count: u64) -> String {
    format!("{} {}", number(count), if count == 1 { "identity" } else { "identities" })
}

/// A column of a table.
pub(super) struct Column {
    name: Cow<'static, str>,
    /// Numbers are on the right, and what is drawn cannot be sorted.
    class: Option<&'static str>,
}

impl Column {
    pub(super) fn text(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), class: None }
    }

    pub(super) fn number(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), class: Some("n") }
    }

    pub(super) fn drawing(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), class: Some("drawing") }
    }
}

/// A table. The first rows are shown, the others folded, a few hundred at a time; the script sorts across the folds.
pub(super) fn table<T>(class: &str, caption: &str, columns: &[Column], rows: &[T], row: impl Fn(&T) -> Markup) -> Markup {
    let part = |rows: &[T]| {
        html! {
            // What scrolls must be within reach of the keyboard.
            div.scroll tabindex="0" role="region" aria-label=(caption) {
                table {
                    caption { (caption) }
                    thead {
                        tr {
                            @for column in columns { th scope="col" class=[column.class] { (breakable(&column.name)) } }
                        }
                    }
                    tbody {
                        @for item in rows { (row(item)) }
                    }
                }
            }
        }
    };
    folded(class, rows, part)
}

/// A name that may go on in the next line behind a slash.
fn breakable(name: &str) -> Markup {
    html! { @for part in name.split_inclusive('/') { (part) @if part.ends_with('/') { wbr; } } }
}

/// Items that fold, in the same way.
pub(super) fn list<T>(class: &str, items: &[T], item: impl Fn(&T) -> Markup) -> Markup {
    folded(class, items, |items| html! { div.items { @for one in items { (item(one)) } } })
}

fn folded<T>(class: &str, items: &[T], part: impl Fn(&[T]) -> Markup) -> Markup {
    let (first, rest) = items.split_at(items.len().min(AT_ONCE));
    let place = |index: usize| AT_ONCE * (index + 1) + 1;
    html! {
        div class={ "parts " (class) } {
            (part(first))
            @for (index, items_of_part) in rest.chunks(AT_ONCE).enumerate() {
                details.part {
                    summary {
                        (number(place(index) as u64)) " to " (number((place(index) + items_of_part.len() - 1) as u64))
                        " of " (number(items.len() as u64))
                    }
                    (part(items_of_part))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (count, told) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_960, "12,960"), (1_234_567, "1,234,567")] {
            assert_eq!(number(count), told);
        }
        assert_eq!((requests(1).as_str(), requests(2_000).as_str()), ("1 request", "2,000 requests"));
        assert_eq!((identities(1).as_str(), identities(0).as_str()), ("1 identity", "0 identities"));
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(shown("a\u{202e}\0<"), r"a\u202e\u0000<");
        let cut = shown(&"é".repeat(LONGEST + 1));
        assert_eq!(cut.chars().count(), LONGEST + 1);
        assert!(cut.ends_with("é…"));
    }

    #[test]
    fn many_rows_are_folded() {
        let rows: Vec<usize> = (0..450).collect();
        let columns = [Column::text("Name"), Column::number("Requests")];
        let table = table("x", "Names", &columns, &rows, |row| html! { tr { th scope="row" { (row) } } }).into_string();
        assert_eq!(table.matches("<table>").count(), 3);
        assert_eq!(table.matches("<details").count(), 2);
        assert!(table.contains("<summary>401 to 450 of 450</summary>"), "{table}");
        assert_eq!(table.matches(r#"scope="row""#).count(), 450);
    }
}
