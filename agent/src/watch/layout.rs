//! A row as a line of text. Pure.
//!
//! On a terminal the columns share its width, and what is too long for its column loses its middle. At 80 columns endpoint and pod share one; from
//! 120 on each has its own. In a pipe nothing is cut.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::cells::{columns, cut, fit, some};
use super::row::{Row, short};
use crate::inert::Inert;
use crate::when::When;

/// From this width on endpoint and pod have columns of their own, and times have thousandths.
const ROOMY: usize = 120;
/// The longest words: `fine-grained`, `unauthenticated`, `metrics/resource`, `101+`.
const ACCESS: usize = 12;
const ROOMY_ACCESS: usize = 15;
const ENDPOINT: usize = 16;
const CODE: usize = 4;
/// `05:06:07`, with thousandths, and RFC 3339 with microseconds.
const TIME: usize = 8;
const ROOMY_TIME: usize = 12;
const RFC_3339: usize = 27;

/// How lines are laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    when: When,
    /// Identities are shown whole.
    whole: bool,
    /// Columns of the terminal; `None` where nothing is cut.
    width: Option<usize>,
    shape: Shape,
}

/// How wide the columns are; what is wrong takes the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    time: usize,
    identity: usize,
    request: Request,
    access: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// `exec default/web/main` in one column.
    Together(usize),
    /// The endpoint, and the pod in so many columns.
    Apart(usize),
}

impl Layout {
    /// For a terminal of so many columns.
    pub fn of_terminal(width: usize, whole: bool, zone: TimeZone) -> Self {
        // Where identities are whole, lines are as long as they are.
        Self { when: When::Local(zone), whole, width: (!whole).then_some(width), shape: Shape::of(width) }
    }

    /// For a file or a pipe.
    pub fn of_pipe(whole: bool) -> Self {
        let shape = Shape { time: RFC_3339, ..Shape::of(160) };
        Self { when: When::Utc, whole, width: None, shape }
    }

    /// The names of the columns.
    pub(super) fn head(&self) -> String {
        let request = match self.shape.request {
            Request::Together(_) => ["REQUEST", ""],
            Request::Apart(_) => ["ENDPOINT", "POD/CONTAINER"],
        };
        self.line("TIME", "IDENTITY", request, "ACCESS", "CODE", &["FINDINGS".to_owned()])
    }

    /// A row, without the line's end.
    pub(super) fn row(&self, row: &Row) -> String {
        let identity = if self.whole && !row.identity.is_empty() { row.identity.to_owned() } else { short(row.identity) };
        let endpoint = Inert(row.endpoint).to_string();
        let access = Inert(row.access).to_string();
        self.line(&self.time(row.at), &Inert(&identity).to_string(), [&endpoint, &row.pod_name()], &access, &row.code(), &row.words())
    }

    /// The day of a time, where times are told without it.
    pub(super) fn day(&self, at: Timestamp) -> Option<Date> {
        self.when.day(at)
    }

    fn time(&self, at: Option<Timestamp>) -> String {
        match at {
            None => "?".to_owned(),
            Some(at) if self.shape.time == TIME => self.when.brief(at).to_string(),
            Some(at) => self.when.live(at).to_string(),
        }
    }

    fn line(&self, time: &str, identity: &str, [endpoint, pod]: [&str; 2], access: &str, code: &str, words: &[String]) -> String {
        let Shape { request, .. } = self.shape;
        let mut line = String::with_capacity(160);
        let mut add = |text: &str, room: usize| {
            // Where nothing is cut, what is too long moves the rest of its line.
            let cell = if self.width.is_some() { fit(text, room) } else { format!("{text:<room$}") };
            line.extend([&*cell, " "]);
        };
        add(time, self.shape.time);
        add(identity, self.shape.identity);
        match request {
            Request::Together(room) if pod.is_empty() => add(endpoint, room),
            Request::Together(room) => {
                let left = self.width.map_or(usize::MAX, |_| room.saturating_sub(columns(endpoint) + 1).max(3));
                let pod = if columns(pod) <= left { pod.to_owned() } else { fit(pod, left) };
                add(&format!("{endpoint} {pod}"), room);
            }
            Request::Apart(room) => {
                add(endpoint, ENDPOINT);
                add(pod, room);
            }
        }
        add(access, self.shape.access);
        add(code, CODE);
        let rest = self.width.map_or(usize::MAX, |width| width.saturating_sub(columns(&line)));
        let _infallible = line.write_str(&some(words, rest));
        line.truncate(line.trim_end().len());
        match self.width {
            Some(width) => cut(&line, width),
            None => line,
        }
    }
}

impl Shape {
    /// At 80 columns: 8 + 16 + 22 + 12 + 4, five gaps, and 13 for `unlogged-exec`.
    fn of(width: usize) -> Self {
        if width >= ROOMY {
            let rest = width - (ROOMY_TIME + ENDPOINT + ROOMY_ACCESS + CODE) - 6;
            Self { time: ROOMY_TIME, identity: rest * 3 / 11, request: Request::Apart(rest / 3), access: ROOMY_ACCESS }
        } else {
            let more = width.saturating_sub(80);
            let less = 80_usize.saturating_sub(width);
            let identity = (16 + more * 2 / 5).saturating_sub(less / 2).max(6);
            let request = (22 + more / 2).saturating_sub(less - less / 2).max(8);
            Self { time: TIME, identity, request: Request::Together(request), access: ACCESS }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, row};
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(1))
    }

    fn line(layout: &Layout, made: &Made) -> String {
        let mut line = String::new();
        row(made, |row| line = layout.row(row));
        line
    }

    fn table() -> [Made<'static>; 7] {
        [
            Made { findings: "unlogged-exec,verb-bypass,nodes-proxy-fallback", ..Made::default() },
            Made { stage: "ResponseStarted", code: None, user: "kube-apiserver-kubelet-client", ..Made::default() },
            Made {
                uri: "/containerLogs/shop-frontend/checkout-5d8f9c7b6-x2x9q/checkout-server?follow=true",
                endpoint: "containerLogs",
                user: "system:serviceaccount:logging-operator:fluent-bit-collector",
                code: Some(200),
                findings: "unlogged-log-read",
                ..Made::default()
            },
            Made {
                uri: "/metrics/cadvisor",
                endpoint: "metrics/cadvisor",
                user: "system:serviceaccount:monitoring:prometheus-k8s",
                access: "single",
                code: Some(200),
                ..Made::default()
            },
            Made {
                uri: "/pods",
                endpoint: "pods",
                access: "fallback",
                code: Some(200),
                findings: "nodes-proxy-fallback",
                ..Made::default()
            },
            Made { user: "", access: "unauthenticated", code: Some(401), ..Made::default() },
            Made {
                at: "?",
                user: "system:node:worker-1",
                uri: "/healthz",
                endpoint: "healthz",
                access: "fine-grained",
                code: Some(200),
                ..Made::default()
            },
        ]
    }

    #[test]
    fn at_80_columns() {
        let layout = Layout::of_terminal(80, false, berlin());
        let lines: Vec<_> = std::iter::once(layout.head()).chain(table().iter().map(|made| line(&layout, made))).collect();
        assert_eq!(
            lines,
            [
                "TIME     IDENTITY         REQUEST                ACCESS       CODE FINDINGS",
                "06:06:07 monitoring/agent exec default/web/main  proxy-only   101  unlogged-e…+2",
                "06:06:07 kube-api…-client exec default/web/main  proxy-only   +",
                "06:06:07 logging-…llector containerLogs shop…ver proxy-only   200  unlogged-log…",
                "06:06:07 monitori…eus-k8s metrics/cadvisor       single       200",
                "06:06:07 monitoring/agent pods                   fallback     200  nodes-proxy-…",
                "06:06:07 -                exec default/web/main  unauth…cated 401",
                "?        node:worker-1    healthz                fine-grained 200",
            ]
        );
    }

    #[test]
    fn at_160_columns() {
        let layout = Layout::of_terminal(160, false, berlin());
        let lines: Vec<_> = std::iter::once(layout.head()).chain(table().iter().map(|made| line(&layout, made))).collect();
        assert_eq!(
            lines,
            [
                "TIME         IDENTITY                      ENDPOINT         POD/CONTAINER                       ACCESS          CODE FINDINGS",
                "06:06:07.123 monitoring/agent              exec             default/web/main                    proxy-only      101  unlogged-exec,verb-bypass,+1",
                "06:06:07.123 kube-apiserver-kubelet-client exec             default/web/main                    proxy-only      +",
                "06:06:07.123 logging-operat…-bit-collector containerLogs    shop-frontend/che…q/checkout-server proxy-only      200  unlogged-log-read",
                "06:06:07.123 monitoring/prometheus-k8s     metrics/cadvisor                                     single          200",
                "06:06:07.123 monitoring/agent              pods                                                 fallback        200  nodes-proxy-fallback",
                "06:06:07.123 -                             exec             default/web/main                    unauthenticated 401",
                "?            node:worker-1                 healthz                                              fine-grained    200",
            ]
        );
    }

    #[test]
    fn in_a_pipe_and_with_whole_names_nothing_is_cut() {
        let made = &table()[2];
        assert_eq!(
            line(&Layout::of_pipe(false), made),
            "2026-03-04T05:06:07.123456Z logging-operator/fluent-bit-collector containerLogs    \
             shop-frontend/checkout-5d8f9c7b6-x2x9q/checkout-server proxy-only      200  unlogged-log-read"
        );
        assert_eq!(
            line(&Layout::of_terminal(80, true, berlin()), made),
            "06:06:07 system:serviceaccount:logging-operator:fluent-bit-collector \
             containerLogs shop-frontend/checkout-5d8f9c7b6-x2x9q/checkout-server proxy-only   200  unlogged-log-read"
        );
        assert!(line(&Layout::of_pipe(true), made).contains(" system:serviceaccount:logging-operator:fluent-bit-collector "));
    }

    #[test]
    fn what_callers_chose_neither_moves_the_columns_nor_is_obeyed() {
        let hostile = [
            "\u{1b}[2J\u{1b}]0;owned\u{7}",
            "a\nb\r\tc",
            "\u{202e}nimda",
            "漢字漢字漢字漢字漢字漢字",
            "👩‍👩‍👧‍👦👩‍👩‍👧‍👦",
            "e\u{301}\u{301}\u{301}",
            "\u{9b}31m",
            "",
        ];
        for text in hostile {
            for width in [10, 40, 79, 80, 81, 119, 120, 160, 400] {
                let layout = Layout::of_terminal(width, false, TimeZone::UTC);
                let uri = format!("/exec/{text}/{text}/{text}").replace('\n', "%0A");
                let line = line(&layout, &Made { user: text, uri: &uri, access: text, findings: text, ..Made::default() });
                assert!(columns(&line) <= width, "{width} {line:?}");
                assert!(!line.contains(crate::inert::obeyed), "{line:?}");
                let head = layout.head();
                if let (Some(at), true) = (head.find("CODE"), width >= 80) {
                    let before: usize = line.find("101").map(|at| columns(&line[..at])).unwrap_or_default();
                    assert_eq!(before, at, "{width}\n{head}\n{line}");
                }
            }
        }
    }
}
