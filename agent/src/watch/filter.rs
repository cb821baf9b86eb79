//! Which requests are shown.

use jiff::{SignedDuration, Timestamp};

use super::Pattern;
use super::row::{Row, short};
use crate::kubelet::{AccessKind, Endpoint};

/// What a request must be to be shown: one of each list that is not empty.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who asks, by the whole name or the short one; `-` is nobody.
    pub identities: Vec<Pattern>,
    /// The namespace of the pod.
    pub namespaces: Vec<Pattern>,
    /// The pod; with a slash, its namespace too.
    pub pods: Vec<Pattern>,
    /// What is asked for, its pod unnamed.
    pub endpoints: Vec<Endpoint>,
    /// How it was let in.
    pub accesses: Vec<AccessKind>,
    /// Whether something must be wrong with it.
    pub findings_only: bool,
    /// No earlier than this.
    pub since: Option<Timestamp>,
}

/// A time, told as such or as how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since(pub Timestamp);

impl Filter {
    pub(super) fn shows(&self, row: &Row) -> bool {
        let pod = |patterns: &[Pattern], matches: &dyn Fn(&Pattern, &str, &str) -> bool| {
            let matched = |pod: &crate::kubelet::PodTarget| patterns.iter().any(|pattern| matches(pattern, &pod.namespace, &pod.pod));
            patterns.is_empty() || row.pod.as_ref().is_some_and(matched)
        };
        let identity = |pattern: &Pattern| pattern.matches(row.identity) || pattern.matches(&short(row.identity));
        let named = |pattern: &Pattern, namespace: &str, name: &str| {
            if pattern.has_slash() { pattern.matches(&format!("{namespace}/{name}")) } else { pattern.matches(name) }
        };
        (!self.findings_only || row.has_findings())
            && (self.endpoints.is_empty() || self.endpoints.iter().any(|endpoint| endpoint.label() == row.endpoint))
            && (self.accesses.is_empty() || self.accesses.iter().any(|access| access.as_str() == row.access))
            && (self.identities.is_empty() || self.identities.iter().any(identity))
            && pod(&self.namespaces, &|pattern, namespace, _| pattern.matches(namespace))
            && pod(&self.pods, &named)
            // When it was may not be known, and that is no reason to hide it.
            && row.at.zip(self.since).is_none_or(|(at, since)| at >= since)
    }
}

impl Since {
    /// Reads `90s`, `10m`, `2h`, `1d`, sums of these, or an RFC 3339 time.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, String> {
        let wrong = || "a length of time, such as 10m, 2h or 1d, or a time, such as 2026-03-04T05:06:07Z".to_owned();
        if let Ok(time) = text.parse() {
            return Ok(Self(time));
        }
        let mut ago = SignedDuration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let count: i64 = rest[..digits].parse().map_err(|_| wrong())?;
            let unit = match rest.as_bytes().get(digits) {
                Some(b's') => 1,
                Some(b'm') => 60,
                Some(b'h') => 3600,
                Some(b'd') => 86_400,
                _ => return Err(wrong()),
            };
            let seconds = count.checked_mul(unit).ok_or_else(wrong)?;
            ago = ago.checked_add(SignedDuration::from_secs(seconds)).ok_or_else(wrong)?;
            rest = &rest[digits + 1..];
        }
        if text.is_empty() {
            return Err(wrong());
        }
        Ok(Self(now.checked_sub(ago).map_err(|_| wrong())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, row};
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_request_is_one_of_each_list() {
        let exec = Made::default();
        let nobody = Made { user: "", uri: "/nothing", endpoint: "other", access: "unchecked", ..Made::default() };
        let found = Made { findings: "of-tomorrow", ..Made::default() };
        let table: Vec<(Filter, [bool; 3])> = vec![
            (Filter::default(), [true, true, true]),
            (Filter { identities: patterns(&["monitoring/agent"]), ..Filter::default() }, [true, false, true]),
            (Filter { identities: patterns(&["system:serviceaccount:monitoring:agent"]), ..Filter::default() }, [true, false, true]),
            (Filter { identities: patterns(&["monitoring/*", "-"]), ..Filter::default() }, [true, true, true]),
            (Filter { identities: patterns(&["agent"]), ..Filter::default() }, [false, false, false]),
            (Filter { namespaces: patterns(&["default"]), ..Filter::default() }, [true, false, true]),
            (Filter { namespaces: patterns(&["*"]), ..Filter::default() }, [true, false, true]),
            (Filter { pods: patterns(&["we*"]), ..Filter::default() }, [true, false, true]),
            (Filter { pods: patterns(&["default/web"]), ..Filter::default() }, [true, false, true]),
            (Filter { pods: patterns(&["other/web"]), ..Filter::default() }, [false, false, false]),
            (Filter { endpoints: vec![Endpoint::Exec(None)], ..Filter::default() }, [true, false, true]),
            (Filter { endpoints: vec![Endpoint::Attach(None), Endpoint::Other], ..Filter::default() }, [false, true, false]),
            (Filter { accesses: vec![AccessKind::Unchecked], ..Filter::default() }, [false, true, false]),
            (Filter { findings_only: true, ..Filter::default() }, [false, false, true]),
            (Filter { findings_only: true, namespaces: patterns(&["kube-system"]), ..Filter::default() }, [false, false, false]),
            (Filter { since: Some("2026-03-04T05:06:08Z".parse().unwrap()), ..Filter::default() }, [false, false, false]),
            (Filter { since: Some("2026-03-04T05:06:07Z".parse().unwrap()), ..Filter::default() }, [true, true, true]),
        ];
        for (filter, expected) in table {
            for (made, expected) in [&exec, &nobody, &found].into_iter().zip(expected) {
                row(made, |row| assert_eq!(filter.shows(row), expected, "{filter:?} {row:?}"));
            }
        }
        let filter = Filter { since: Some(Timestamp::MAX), ..Filter::default() };
        row(&Made { at: "?", ..Made::default() }, |row| assert!(filter.shows(row)));
    }

    #[test]
    fn times_and_lengths_of_time() {
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        for (text, expected) in [
            ("90s", Some("2026-03-04T05:04:37Z")),
            ("10m", Some("2026-03-04T04:56:07Z")),
            ("1h30m", Some("2026-03-04T03:36:07Z")),
            ("2d", Some("2026-03-02T05:06:07Z")),
            ("2026-03-01T00:00:00+01:00", Some("2026-02-28T23:00:00Z")),
            ("", None),
            ("10", None),
            ("m", None),
            ("-1h", None),
            ("1w", None),
            ("99999999999999999999s", None),
            ("9999999999999d", None),
            ("yesterday", None),
        ] {
            let since = Since::parse(text, now).ok().map(|since| since.0.to_string());
            assert_eq!(since.as_deref(), expected, "{text}");
        }
    }
}
