//! Paragraphs and tables that fit a width. A word that is longer than the width is not cut: it can be copied whole.

use crate::inert::Inert;

/// Wraps a text; lines after the first begin with as many spaces as the first has before its text, and `hang` more.
pub(crate) fn paragraph(text: &str, indent: usize, hang: usize, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut empty = true;
    for word in Inert(text).to_string().split_whitespace() {
        if !empty && columns(&line) + 1 + columns(word) > width {
            lines.push(line);
            line = " ".repeat(indent + hang);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// A table of texts. The last column takes what is left of the width and wraps; a cell in another column that is too wide stands on a line
/// of its own, and the rest of its row on the next.
pub(super) struct Table<'a> {
    /// The columns' names, and whether they hold numbers, which go to the right.
    pub(super) head: &'a [(&'a str, bool)],
    /// The rows. A row that begins with the same cell as the one before leaves it out.
    pub(super) rows: Vec<Vec<String>>,
}

/// Columns are this far apart.
const GAP: usize = 2;
/// The last column is content with this much.
const WRAPS_AT: usize = 30;
/// The table is this far in.
const INDENT: usize = 2;

impl Table<'_> {
    /// Its lines, the head first.
    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(|cell| Inert(cell).to_string()).collect()).collect();
        let widths = self.widths(&rows, width);
        let head: Vec<String> = self.head.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut lines = self.row(&head, &widths, width);
        let mut before: Option<&str> = None;
        for row in &rows {
            let mut shown = row.clone();
            if before == row.first().map(String::as_str) {
                shown[0].clear();
            }
            before = row.first().map(String::as_str);
            lines.extend(self.row(&shown, &widths, width));
        }
        lines
    }

    /// As wide as the widest cell, but the first column leaves the others their room.
    fn widths(&self, rows: &[Vec<String>], width: usize) -> Vec<usize> {
        let widest = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| columns(cell));
            cells.max().unwrap_or(0).max(columns(self.head[column].0))
        };
        let mut widths: Vec<usize> = (0..self.head.len()).map(widest).collect();
        if let (Some(last), Some((_, false))) = (widths.last_mut(), self.head.last()) {
            *last = (*last).min(WRAPS_AT);
        }
        let others: usize = widths.iter().skip(1).map(|width| GAP + width).sum();
        if let Some(first) = widths.first_mut() {
            *first = (*first).min(width.saturating_sub(INDENT + others)).max(columns(self.head[0].0));
        }
        widths
    }

    fn row(&self, cells: &[String], widths: &[usize], width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = " ".repeat(INDENT);
        let mut at = INDENT;
        for (column, cell) in cells.iter().enumerate() {
            let is_last = column + 1 == cells.len();
            if columns(&line) > at {
                lines.push(line.trim_end().to_owned());
                line = String::new();
            }
            let room = at.saturating_sub(columns(&line));
            line.push_str(&" ".repeat(room));
            if is_last && !self.head[column].1 {
                let mut wrapped = paragraph(cell, at, 0, width.max(at + columns(self.head[column].0))).into_iter();
                if let Some(first) = wrapped.next() {
                    line.push_str(first.trim_start());
                }
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
                lines.extend(wrapped);
                return lines;
            }
            if self.head[column].1 {
                line.push_str(&" ".repeat(widths[column].saturating_sub(columns(cell))));
            }
            line.push_str(cell);
            at += widths[column] + GAP;
        }
        lines.push(line.trim_end().to_owned());
        lines
    }
}

/// How many columns a text takes, as long as its characters take one each.
fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_wrap_and_hang() {
        assert_eq!(paragraph("one two three four", 2, 2, 12), ["  one two", "    three", "    four"]);
        assert_eq!(paragraph("a-word-that-is-too-long b", 0, 0, 5), ["a-word-that-is-too-long", "b"]);
        assert_eq!(paragraph("a\u{1b}[2J b", 0, 0, 80), [r"a\u001b[2J b"]);
    }

    #[test]
    fn tables_fit() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let table = Table {
            head: &[("WHO", false), ("COUNT", true), ("BY", false)],
            rows: vec![row(&["jane", "7", "a b c"]), row(&["jane", "12", "d"]), row(&["somebody-with-a-long-name", "1", "e"])],
        };
        assert_eq!(
            table.lines(22),
            ["  WHO     COUNT  BY", "  jane        7  a b c", "             12  d", "  somebody-with-a-long-name", "              1  e",]
        );
        assert_eq!(
            table.lines(80),
            [
                "  WHO                        COUNT  BY",
                "  jane                           7  a b c",
                "                                12  d",
                "  somebody-with-a-long-name      1  e",
            ]
        );
    }
}
