//! Lines as they are printed.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::super::testing::Made;
use super::*;

fn now() -> ZonedDateTime {
    "2026-03-04T12:00:00Z".parse::<Timestamp>().unwrap().to_zoned_datetime(TimeZone::UTC)
}

fn stream(paint: Paint) -> Stream {
    Stream::new(Form::Text(Layout::of_terminal(80, false, TimeZone::UTC), paint), Filter::default(), &now())
}

fn printed(stream: &mut Stream, bytes: &[u8]) -> Vec<String> {
    String::from_utf8(stream.feed(bytes).data).unwrap().lines().map(str::to_owned).collect()
}

fn status(state: State, says: &str, records_lost: u64) -> Vec<u8> {
    let (node, version, says) = ("node1".to_owned(), "0".to_owned(), says.to_owned());
    Notice::Status(Status { node, version, state, says, records_lost, requests_unseen: 0 }).line()
}

#[test]
fn colours_tell_the_severity_and_only_where_they_are_wanted() {
    let made = |findings| Made { findings, ..Made::default() }.line();
    let plain = "05:06:07 monitoring/agent exec default/web/main  proxy-only   101";
    for (findings, begin, end) in [
        ("", "", ""),
        ("exec-attempt", "", "  exec-attempt"),
        ("debug-access", "\u{1b}[33m", "  debug-access\u{1b}[0m"),
        ("checkpoint,debug-access", "\u{1b}[1;31m", "  checkpoint,+1\u{1b}[0m"),
    ] {
        assert_eq!(printed(&mut stream(Paint::Colour), &made(findings)), [format!("{begin}{plain}{end}")], "{findings}");
        let without = format!("{plain}{}", end.trim_end_matches("\u{1b}[0m"));
        assert_eq!(printed(&mut stream(Paint::Plain), &made(findings)), [without], "{findings}");
    }
    assert!(stream(Paint::Colour).head().unwrap().starts_with("\u{1b}[1mTIME "));
    assert!(stream(Paint::Plain).head().unwrap().starts_with("TIME "));
}

#[test]
fn a_request_that_goes_on_has_a_line_when_it_begins_when_something_is_found_and_when_it_is_over() {
    let mut stream = stream(Paint::Plain);
    let mut codes = Vec::new();
    for (stage, code, findings, audit_id) in [
        ("ResponseStarted", None, "", "a"),
        // Known already, but for the answer.
        ("ResponseStarted", Some(101), "", "a"),
        ("ResponseStarted", Some(101), "unlogged-exec", "a"),
        ("ResponseStarted", Some(101), "unlogged-exec", "a"),
        ("ResponseStarted", None, "", "b"),
        ("ResponseComplete", Some(101), "unlogged-exec", "a"),
        ("ResponseComplete", Some(200), "", "c"),
    ] {
        let lines = printed(&mut stream, &Made { audit_id, stage, code, findings, ..Made::default() }.line());
        codes.push(lines.iter().map(|line| line[61..].trim().to_owned()).collect::<Vec<_>>().join("|"));
    }
    assert_eq!(codes, ["+", "", "101+ unlogged-exec", "", "+", "101  unlogged-exec", "200"]);
}

#[test]
fn the_day_is_told_where_it_is_not_today_and_when_it_changes() {
    let mut stream = stream(Paint::Plain);
    let mut days = |at: &str| {
        printed(&mut stream, &Made { at, ..Made::default() }.line()).into_iter().filter(|line| line.starts_with("--")).collect::<Vec<_>>()
    };
    assert_eq!(days("2026-03-03T23:59:59Z"), ["-- 2026-03-03 --"]);
    assert!(days("2026-03-03T23:59:59Z").is_empty());
    assert_eq!(days("2026-03-04T00:00:00Z"), ["-- 2026-03-04 --"]);
    assert!(days("?").is_empty());
}

#[test]
fn json_is_the_events_as_they_came_with_what_was_lost_between() {
    let filter = Filter { findings_only: true, ..Filter::default() };
    let mut stream = Stream::new(Form::Json, filter, &now());
    assert_eq!(stream.head(), None);
    let found = Made { findings: "unlogged-exec", ..Made::default() }.line();
    let lost = Notice::Lost { events: 3 }.line();
    let prefixed = [b"2026-03-04T05:06:07.000000000Z stdout F ", &found[..]].concat();
    let all =
        [&found[..], &status(State::Attached, "k", 0), &Made::default().line(), &lost, &prefixed, b"{}\n", b"junk\n", &found].concat();
    let whole = stream.feed(&all).data;
    assert_eq!(String::from_utf8(whole.clone()).unwrap(), String::from_utf8([&found[..], &lost, &found, &found].concat()).unwrap());
    assert_eq!((stream.others, stream.unreadable), (1, 1));
    let mut again = Stream::new(Form::Json, Filter { findings_only: true, ..Filter::default() }, &now());
    let mut pieces = Vec::new();
    all.chunks(11).for_each(|piece| pieces.extend(again.feed(piece).data));
    assert_eq!(pieces, whole);
}

#[test]
fn what_the_agent_says_of_itself_is_told_beside_the_events() {
    let mut stream = stream(Paint::Plain);
    let mut told = |bytes: &[u8]| {
        let shown = stream.feed(bytes);
        assert!(shown.data.is_empty());
        shown.told
    };
    assert_eq!(told(&status(State::Waiting, "no kubelet listens on this node yet", 5)), ["node1: no kubelet listens on this node yet"]);
    assert_eq!(told(&status(State::Attached, "kubelet v1.36.3", 5)), ["node1: kubelet v1.36.3 is watched"]);
    assert!(told(&status(State::Attached, "kubelet v1.36.3", 5)).is_empty());
    assert_eq!(
        told(&status(State::Attached, "kubelet v1.36.3", 12)),
        ["the agent lost 7 records of the kernel: requests may be missing, or not whole"]
    );
    assert_eq!(told(&status(State::Blind, "the probes are gone", 12)), ["node1: the agent does not see all: the probes are gone"]);
    // Another agent counts from its own beginning.
    stream.end();
    assert_eq!(stream.feed(&status(State::Attached, "kubelet v1.36.3", 1)).told, ["node1: kubelet v1.36.3 is watched"]);
    let refused = stream.feed(&Notice::Refused { reason: "8 watch already".to_owned() }.line()).refused;
    assert_eq!(refused.as_deref(), Some("8 watch already"));
}

#[test]
fn losses_stand_where_they_happened() {
    let mut stream = stream(Paint::Colour);
    let lost = |events| Notice::Lost { events }.line();
    let lines = printed(&mut stream, &[lost(1), lost(123)].concat());
    assert_eq!(
        lines,
        [
            "\u{1b}[2m… 1 event lost here: this terminal is slower than the requests\u{1b}[0m",
            "\u{1b}[2m… 123 events lost here: this terminal is slower than the requests\u{1b}[0m"
        ]
    );
}

#[test]
fn the_last_line_of_a_file_needs_no_end() {
    let mut stream = stream(Paint::Plain);
    let line = Made::default().line();
    assert!(printed(&mut stream, line.trim_ascii_end()).is_empty());
    assert!(String::from_utf8(stream.end().data).unwrap().starts_with("05:06:07 "));
}
