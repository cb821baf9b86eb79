//! `docs/demo.svg`: what `docs/demo.txt` holds of a run of the demo, as a terminal shows it.

use std::fmt::Write as _;

use kubewitness_pages::{generated, root};

use super::screen::WIDTH;

/// Of one character, in units of the picture. Each line is told its length, so that columns stay columns in any font.
const ADVANCE: usize = 8;
const LINE: usize = 18;
const MARGIN: usize = 18;
/// What the picture leaves out, from this line up to that one: the rest of it is one screen.
const LEFT_OUT: [&str; 2] = ["Its audit event by kubewitness", "All that the API server's own audit log"];

fn picture(screen: &str) -> String {
    let lines = shown(screen);
    let (width, height) = (MARGIN * 2 + WIDTH * ADVANCE, MARGIN * 2 + lines.len() * LINE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" font-size=\"13\">\n\
         <title id=\"title\">The end of cargo xtask demo, in a terminal</title>\n\
         <style>text {{ fill: #d7dce2; white-space: pre; }} .bold {{ fill: #ffffff; font-weight: 700; }} .red {{ fill: #ff7b72; }} \
         .yellow {{ fill: #e3b341; }} .quiet {{ fill: #8b949e; }}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#12161c\"/>\n"
    );
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let text = line.trim_start();
        let x = MARGIN + (line.chars().count() - text.chars().count()) * ADVANCE;
        let y = MARGIN + number * LINE + 13;
        let (class, length) = (class(line), text.chars().count() * ADVANCE);
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _infallible = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\"{class} xml:space=\"preserve\">{escaped}</text>");
    }
    svg + "</svg>\n"
}

/// The lines of the picture, `…` where some are left out.
fn shown(screen: &str) -> Vec<&str> {
    let [from, to] = LEFT_OUT;
    let lines: Vec<&str> = screen.trim_end().lines().collect();
    let at = |begin: &str| {
        lines.iter().position(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("docs/demo.txt has no line `{begin}`"))
    };
    [&lines[..at(from)], &["  …"], &lines[at(to)..]].concat()
}

/// The colours of the screen itself: `Paint` and `alarming` in `screen.rs`.
fn class(line: &str) -> &'static str {
    match line {
        alert if alert.contains("unlogged-exec") => " class=\"red\"",
        fallback if fallback.contains("nodes-proxy-fallback") => " class=\"yellow\"",
        "  …" => " class=\"quiet\"",
        title if title.starts_with(|first: char| first.is_ascii_alphabetic()) => " class=\"bold\"",
        _ => "",
    }
}

/// `UPDATE_DOCS=1 cargo test -p xtask picture` draws it anew.
#[test]
fn the_picture_is_of_the_screen() {
    let screen = std::fs::read_to_string(root().join("docs/demo.txt")).expect("the screen");
    generated::keep_file("docs/demo.svg", &picture(&screen), "cargo test -p xtask picture");
}
