//! The screen. Pure: a state and the time go in, cells come out.

use std::time::Duration;

use jiff::ZonedDateTime;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::state::State;
use super::tally::{Person, Recent};
use crate::export::watchers;
use crate::inert::Inert;
use crate::judge::Severity;
use crate::watch::cells::{cut, fit};
use crate::watch::row::short;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Whether in colours.
    pub(super) colour: bool,
}

/// Columns of numbers: requests, per second, fallback, refused, findings.
const COLUMNS: [u16; 5] = [8, 7, 8, 7, 8];
/// Below this height the last findings have no room.
const LOW: u16 = 14;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame, state: &mut State, look: Look, clock: &ZonedDateTime, now: Duration) {
    let area = frame.area();
    let recent = if area.height < LOW { 0 } else { area.height / 4 + 1 };
    let [head, people, findings, foot] =
        Layout::vertical([Constraint::Length(4), Constraint::Fill(1), Constraint::Length(recent), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(self::head(state, look, clock, now, head.width)), head);
    draw_people(frame, people, state, look, now);
    draw_findings(frame, findings, state, look, clock);
    let keys = [("q", "quit"), ("s", &*format!("sort: {}", state.order.as_str())), ("c", "clear"), ("↑↓", "scroll")];
    let keys = keys.iter().flat_map(|(key, does)| [Span::styled(format!(" {key} "), REVERSED), Span::raw(format!(" {does}  "))]);
    frame.render_widget(Line::from_iter(keys), foot);
}

fn head(state: &State, look: Look, clock: &ZonedDateTime, now: Duration, width: u16) -> Vec<Line<'static>> {
    let time = clock.strftime("%H:%M:%S").to_string();
    let (node, says, style) = agent(state, look);
    let room = usize::from(width).saturating_sub(time.len() + 1);
    let title = cut(&format!("kubewitness  {node}"), room);
    let all = &state.tally.all;
    let share = all.fallback_share().map_or_else(|| "-".to_owned(), |share| format!("{share}%"));
    let [info, warning, critical] = state.tally.findings;
    let lost = |count: u64, what: &str| {
        let style = if count > 0 { look.severity(Severity::Warning) } else { Style::new() };
        Span::styled(format!("{what} {count}   "), style)
    };
    let status = state.status.as_ref();
    let figure = |pick: fn(&watchers::Status) -> u64, what| {
        status.map_or_else(|| Span::raw(format!("{what} -   ")), |status| lost(pick(status), what))
    };
    vec![
        Line::from(vec![Span::styled(fit(&title, room), BOLD), Span::raw(" "), Span::raw(time)]),
        Line::from(vec![Span::raw("probes: "), Span::styled(cut(&says, usize::from(width).saturating_sub(8)), style)]),
        Line::from(vec![
            figure(|status| status.records_lost, "records lost"),
            figure(|status| status.requests_unseen, "requests unseen"),
            lost(state.lost, "not shown here"),
        ]),
        Line::from(vec![
            Span::raw(format!(
                "requests {} ({:.1}/s)  fallback {share}  refused {}  ",
                all.requests,
                all.rate.per_second(now),
                all.refused
            )),
            Span::styled(format!("critical {critical}"), look.counted(critical, Severity::Critical)),
            Span::raw("  "),
            Span::styled(format!("warning {warning}"), look.counted(warning, Severity::Warning)),
            Span::raw(format!("  info {info}")),
        ]),
    ]
}

/// The node, and how its agent is.
fn agent(state: &State, look: Look) -> (String, String, Style) {
    let told = state.told.as_ref().map(|told| Inert(told).to_string());
    let Some(status) = &state.status else {
        return (String::new(), told.unwrap_or_else(|| "not known: this is no live agent".to_owned()), Style::new());
    };
    let says = Inert(&status.says).to_string();
    let (says, style) = match status.state {
        watchers::State::Attached => (format!("in place, {says}"), look.good()),
        watchers::State::Starting | watchers::State::Waiting => (says, Style::new()),
        watchers::State::Blind => (says, look.severity(Severity::Critical)),
    };
    (Inert(&status.node).to_string(), says, style)
}

fn draw_people(frame: &mut Frame, area: Rect, state: &mut State, look: Look, now: Duration) {
    let shown = usize::from(area.height.saturating_sub(1));
    let people = state.tally.people(state.order);
    // The last page stays full.
    let offset = state.offset.min(people.len().saturating_sub(shown));
    // The identity before the numbers and the last request behind them share the rest.
    let rest = area.width.saturating_sub(COLUMNS.iter().map(|width| width + 1).sum::<u16>() + 1);
    let (name, last) = (rest * 5 / 9, rest - rest * 5 / 9);
    let rows: Vec<Row> =
        people[offset..].iter().take(shown).map(|(identity, person)| row(identity, person, (name, last), look, now)).collect();
    let right = |text: &str, column: usize| format!("{text:>width$}", width = usize::from(COLUMNS[column]));
    let head = Row::new(vec![
        fit("IDENTITY", name.into()),
        right("REQUESTS", 0),
        right("/S", 1),
        right("FALLBACK", 2),
        right("REFUSED", 3),
        right("FINDINGS", 4),
        "LAST".to_owned(),
    ]);
    let widths = [name].into_iter().chain(COLUMNS).chain([last]).map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(head.style(REVERSED)), area);
    state.offset = offset;
}

fn row(identity: &str, person: &Person, (name, last): (u16, u16), look: Look, now: Duration) -> Row<'static> {
    let right = |text: String, column: usize| format!("{text:>width$}", width = usize::from(COLUMNS[column]));
    let share = person.fallback_share().map_or_else(String::new, |share| format!("{share}%"));
    let row = Row::new(vec![
        fit(&Inert(&short(identity)).to_string(), name.into()),
        right(person.requests.to_string(), 0),
        right(format!("{:.1}", person.rate.per_second(now)), 1),
        right(share, 2),
        right(person.refused.to_string(), 3),
        right(person.findings.to_string(), 4),
        cut(&person.last, last.into()),
    ]);
    row.style(person.gravest.map_or_else(Style::new, |severity| look.severity(severity)))
}

fn draw_findings(frame: &mut Frame, area: Rect, state: &State, look: Look, clock: &ZonedDateTime) {
    let width = usize::from(area.width);
    let head = Line::styled(fit("LAST FINDINGS", width), REVERSED);
    let line = |recent: &Recent| {
        let at =
            recent.at.map_or_else(|| "?".to_owned(), |at| at.to_zoned_datetime(clock.time_zone().clone()).strftime("%H:%M:%S").to_string());
        let who = Inert(&recent.identity).to_string();
        let text = format!("{at:8} {:20} {} {}", recent.finding.id(), fit(&who, width.saturating_sub(30) / 2), recent.request);
        Line::styled(cut(&text, width), look.severity(recent.finding.severity()))
    };
    let none = state.tally.recent.is_empty().then(|| Line::raw("none so far"));
    let lines = std::iter::once(head).chain(none).chain(state.tally.recent.iter().map(line));
    frame.render_widget(Paragraph::new(lines.take(area.height.into()).collect::<Vec<_>>()), area);
}

impl Look {
    fn severity(self, severity: Severity) -> Style {
        match (severity, self.colour) {
            (Severity::Critical, true) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            (Severity::Critical, false) => Style::new().add_modifier(Modifier::BOLD),
            (Severity::Warning, true) => Style::new().fg(Color::Yellow),
            (Severity::Warning, false) => Style::new().add_modifier(Modifier::UNDERLINED),
            (Severity::Info, _) => Style::new(),
        }
    }

    fn counted(self, count: u64, severity: Severity) -> Style {
        if count > 0 { self.severity(severity) } else { Style::new() }
    }

    fn good(self) -> Style {
        if self.colour { Style::new().fg(Color::Green) } else { Style::new() }
    }
}
