//! The report as one page for a browser: no network, no file beside it, and nothing in it that was not in the [`Report`].
//!
//! What callers chose is made inert (`parts::shown`) and then escaped by the template. The page forbids itself whatever it does not need
//! (`policy`). It works without its script, which only folds, searches, sorts and copies.

mod chart;
mod coverage;
mod explained;
mod findings;
mod holders;
mod identities;
mod matrix;
mod method;
mod parts;
mod policy;
mod summary;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::parts::{shown, time};
use super::{Replacement, Report, Who, text::sentences};
use crate::when::When;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The report as HTML, as it was made at that time.
pub fn html(report: &Report, made: Timestamp) -> String {
    let page = Page::of(report);
    let title = match report.coverage.window {
        Some((from, to)) => format!("kubewitness report, {} to {}", from.strftime("%Y-%m-%d"), to.strftime("%Y-%m-%d")),
        None => "kubewitness report".to_owned(),
    };
    let body = html! {
        a.skip href="#main" { "Skip to the report" }
        header {
            p.brand { "kubewitness report" }
            h1 { "Who used the kubelet’s API, and by which right" }
            @for line in sentences::basis(&report.coverage, &When::Utc) { p { (shown(&line)) } }
        }
        (tools())
        main id="main" {
            (summary::section(&page))
            (coverage::section(&report.coverage))
            (findings::section(&page))
            (matrix::section(&page))
            (timeline::section(&page))
            (identities::section(&page))
            (holders::section(&page))
            (method::section(report))
        }
        footer { p { "Made by kubewitness " (env!("CARGO_PKG_VERSION")) " at " (time(made)) ". Times are UTC." } }
    };
    whole(&title, &body).into_string()
}

fn whole(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy::of(STYLE, SCRIPT));
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                // Behind what it works on, so that it can begin at once.
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The way through the page, and what the script offers; without it the latter stays hidden.
fn tools() -> Markup {
    html! {
        nav aria-label="Sections" {
            ul {
                @for (id, name) in SECTIONS { li { a href={ "#" (id) } { (name) } } }
            }
            div.tools id="tools" hidden {
                label for="search" { "Find an identity" }
                input id="search" type="search" autocomplete="off" spellcheck="false" placeholder="namespace/name";
                button type="button" id="unfold" { "Unfold all" }
                button type="button" id="fold" { "Fold all" }
            }
            p id="status" role="status" {}
        }
    }
}

const SECTIONS: [(&str, &str); 8] = [
    ("summary", "Summary"),
    ("watched", "Watched"),
    ("findings", "Findings"),
    ("used", "Who used what"),
    ("time", "Over time"),
    ("instead", "Instead"),
    ("holders", "Who may"),
    ("method", "Method"),
];

/// The report, and where on the page it tells of whom.
struct Page<'a> {
    report: &'a Report,
    /// The place of an identity in `replacements`, by its username.
    places: BTreeMap<&'a str, usize>,
}

impl<'a> Page<'a> {
    fn of(report: &'a Report) -> Self {
        let places = report.replacements.iter().enumerate().map(|(place, replacement)| (&*replacement.subject.name, place)).collect();
        Self { report, places }
    }

    /// A caller's name; a link to what would be enough for it, if that is told.
    fn link(&self, who: &Who) -> Markup {
        match self.anchor(who) {
            Some(anchor) => html! { a.name href={ "#" (anchor) } { (shown(&sentences::who(who))) } },
            None => name(who),
        }
    }

    /// Where it is told what would be enough for a caller.
    fn anchor(&self, who: &Who) -> Option<String> {
        let Who::User(user) = who else { return None };
        self.places.get(user.as_str()).map(|place| anchor(*place))
    }

    fn replacements(&self) -> impl Iterator<Item = (usize, &'a Replacement)> {
        self.report.replacements.iter().enumerate()
    }
}

/// A caller's name.
fn name(who: &Who) -> Markup {
    html! { span.name { (shown(&sentences::who(who))) } }
}

/// Names cannot be anchors: callers chose them.
fn anchor(place: usize) -> String {
    format!("identity-{}", place + 1)
}
