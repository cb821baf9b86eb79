//! The reference in `docs/reference` is what the code says. `UPDATE_DOCS=1 cargo test -p kubewitness --test reference` writes it anew.

mod commands;
mod findings;

/// What to run where a page is not current.
const HOW: &str = "cargo test -p kubewitness --test reference";

/// Text in a cell of a table, not as code: one line, and nothing in it is Markdown or HTML.
fn cell(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}

#[test]
fn a_cell_stays_in_its_row() {
    assert_eq!(cell("a\n  b | <c> *d*"), "a b \\| &lt;c> \\*d\\*");
}
