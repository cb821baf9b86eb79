//! What is on the screen.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::screen::{Look, draw};
use super::state::{Input, State, Then};
use crate::export::watchers::{self, Notice, Status};
use crate::watch::Filter;
use crate::watch::testing::Made;

const NOW: Duration = Duration::from_secs(100);

fn clock() -> ZonedDateTime {
    "2026-03-04T12:00:00Z".parse::<Timestamp>().unwrap().to_zoned_datetime(TimeZone::UTC)
}

fn screen(state: &mut State, width: u16, height: u16, colour: bool) -> (Vec<String>, Buffer) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, Look { colour }, &clock(), NOW)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned();
    (buffer.content().chunks(width.into()).map(line).collect(), buffer)
}

fn status(state: watchers::State, says: &str) -> Vec<u8> {
    let (node, version, says) = ("node1".to_owned(), "0.1.0".to_owned(), says.to_owned());
    Notice::Status(Status { node, version, state, says, records_lost: 0, requests_unseen: 2 }).line()
}

/// Two identities, one of which fell back half of the time and ran a command.
fn busy() -> State {
    let mut state = State::new(Filter::default());
    let ids: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let mut all = status(watchers::State::Attached, "kubelet v1.36.3");
    for (number, audit_id) in ids.iter().enumerate() {
        let access = if number % 2 == 0 { "fallback" } else { "fine-grained" };
        all.extend(Made { audit_id, uri: "/pods", endpoint: "pods", access, code: Some(200), ..Made::default() }.line());
    }
    let exec =
        Made { audit_id: "exec", findings: "unlogged-exec,verb-bypass", user: "system:serviceaccount:shop:debug", ..Made::default() };
    for stage in ["ResponseStarted", "ResponseComplete", "ResponseComplete"] {
        all.extend(Made { stage, ..exec }.line());
    }
    all.extend(Made { audit_id: "refused", user: "", access: "unauthenticated", code: Some(401), ..Made::default() }.line());
    all.extend(Notice::Lost { events: 7 }.line());
    assert_eq!(state.take(Input::Bytes(all), NOW), Then::Later);
    state
}

fn press(state: &mut State, code: KeyCode) -> Then {
    state.take(Input::Terminal(Event::Key(KeyEvent::new(code, KeyModifiers::NONE))), NOW)
}

#[test]
fn at_80_by_24() {
    let (lines, _) = screen(&mut busy(), 80, 24, true);
    let expected = "\
kubewitness  node1                                                      12:00:00
probes: in place, kubelet v1.36.3
records lost 0   requests unseen 2   not shown here 7
requests 22 (2.4/s)  fallback 45%  refused 1  critical 2  warning 0  info 0
IDENTITY             REQUESTS      /S FALLBACK REFUSED FINDINGS LAST
monitoring/agent           20     2.2      50%       0        0 pods
-                           1     0.1       0%       1        0 exec default/we…
shop/debug                  1     0.1       0%       0        2 exec default/we…








LAST FINDINGS
05:06:07 unlogged-exec        shop/debug                exec default/web/main
05:06:07 verb-bypass          shop/debug                exec default/web/main




 q  quit   s  sort: requests   c  clear   ↑↓  scroll";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn any_size_is_drawn() {
    let mut state = busy();
    for width in [1, 2, 10, 40, 79, 160, 300] {
        for height in [1, 2, 5, 13, 14, 50, 100] {
            screen(&mut state, width, height, true);
        }
    }
    let (lines, _) = screen(&mut state, 160, 50, true);
    assert!(lines[4].starts_with("IDENTITY") && lines[4].ends_with("LAST"), "{}", lines[4]);
}

#[test]
fn severity_and_health_have_their_colours_or_none() {
    let look = |state: &mut State, colour, text: &str| {
        let (lines, buffer) = screen(state, 80, 24, colour);
        let row = lines.iter().position(|line| line.contains(text)).unwrap();
        let column = lines[row].find(text).unwrap();
        let cell = &buffer[(u16::try_from(column).unwrap(), u16::try_from(row).unwrap())];
        (cell.fg, cell.modifier)
    };
    let mut state = busy();
    assert_eq!(look(&mut state, true, "shop/debug"), (Color::Red, Modifier::BOLD));
    assert_eq!(look(&mut state, true, "monitoring/agent"), (Color::Reset, Modifier::empty()));
    assert_eq!(look(&mut state, true, "in place").0, Color::Green);
    assert_eq!(look(&mut state, true, "not shown here").0, Color::Yellow);
    assert_eq!(look(&mut state, false, "shop/debug"), (Color::Reset, Modifier::BOLD));
    state.take(Input::Bytes(status(watchers::State::Blind, "the probes are gone")), NOW);
    assert_eq!(look(&mut state, true, "the probes are gone").0, Color::Red);
    let (_, buffer) = screen(&mut state, 80, 24, false);
    assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

#[test]
fn keys_sort_scroll_clear_and_end() {
    let mut state = State::new(Filter::default());
    let names: Vec<String> = (0..100).map(|number| format!("user-{number:02}")).collect();
    let all: Vec<u8> = names.iter().flat_map(|name| Made { audit_id: name, user: name, ..Made::default() }.line()).collect();
    state.take(Input::Bytes(all), NOW);
    let first = |state: &mut State| screen(state, 80, 24, true).0[5].split(' ').next().unwrap().to_owned();
    assert_eq!(first(&mut state), "user-00");
    for (code, expected) in [
        (KeyCode::Down, "user-01"),
        (KeyCode::PageDown, "user-11"),
        (KeyCode::Up, "user-10"),
        (KeyCode::Home, "user-00"),
        (KeyCode::Up, "user-00"),
    ] {
        assert_eq!(press(&mut state, code), Then::Now);
        assert_eq!(first(&mut state), expected, "{code:?}");
    }
    // The last page stays full.
    (0..50).for_each(|_| _ = press(&mut state, KeyCode::PageDown));
    let last = first(&mut state);
    assert!(last.as_str() > "user-80" && last.as_str() < "user-99", "{last}");
    press(&mut state, KeyCode::Up);
    assert!(first(&mut state) < last, "one key goes up from there");
    for expected in ["fallback", "findings", "name", "requests"] {
        press(&mut state, KeyCode::Char('s'));
        assert!(screen(&mut state, 80, 24, true).0[23].contains(&format!("sort: {expected}")));
    }
    press(&mut state, KeyCode::Char('c'));
    assert_eq!(first(&mut state), "");
    assert_eq!(press(&mut state, KeyCode::Char('x')), Then::Later);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Then::End);
    assert_eq!(press(&mut state, KeyCode::Esc), Then::End);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.take(Input::Terminal(Event::Key(interrupt)), NOW), Then::End);
    assert_eq!(state.take(Input::Stop, NOW), Then::End);
    assert_eq!(state.take(Input::Terminal(Event::Resize(10, 10)), NOW), Then::Anew);
}

#[test]
fn the_order_is_by_what_was_asked_for() {
    let mut state = busy();
    let order = |state: &mut State| -> Vec<String> {
        let (lines, _) = screen(state, 80, 24, true);
        lines[5..8].iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let mut orders = vec![order(&mut state)];
    for _ in 0..3 {
        press(&mut state, KeyCode::Char('s'));
        orders.push(order(&mut state));
    }
    let (agent, nobody, debug) = ("monitoring/agent", "-", "shop/debug");
    assert_eq!(orders, [[agent, nobody, debug], [agent, nobody, debug], [debug, nobody, agent], [nobody, agent, debug]]);
}

#[test]
fn what_callers_chose_is_not_obeyed() {
    let mut state = State::new(Filter::default());
    let hostile = "\u{1b}]0;owned\u{7}\u{202e}漢字";
    let uri = "/exec/a%1b%5b2J/b%0ab/c";
    state.take(Input::Bytes(Made { user: hostile, uri, findings: "unlogged-exec", ..Made::default() }.line()), NOW);
    state.take(Input::Told(hostile.to_owned()), NOW);
    let (lines, _) = screen(&mut state, 160, 24, true);
    assert!(!lines.iter().any(|line| line.contains(crate::inert::obeyed)));
    assert!(lines.iter().any(|line| line.contains(r"\u001b]0;owned\u0007\u202e")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains(r"exec a\u001b[2J/b\u000ab/c")), "{lines:#?}");
}

#[test]
fn a_file_has_no_agent_whose_health_could_be_told() {
    let mut state = State::new(Filter::default());
    let (lines, _) = screen(&mut state, 80, 24, true);
    assert_eq!(lines[1..3], ["probes: not known: this is no live agent", "records lost -   requests unseen -   not shown here 0"]);
    state.take(Input::Bytes(status(watchers::State::Attached, "kubelet v1.36.3")), NOW);
    state.take(Input::End, NOW);
    state.take(Input::Told("the agent ended; this goes on when it is back".to_owned()), NOW);
    let (lines, _) = screen(&mut state, 80, 24, true);
    assert_eq!(lines[1], "probes: the agent ended; this goes on when it is back");
}
