//! What the screen shows, and what changes it. Pure: what happens and the time come in.

use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::tally::{Order, Tally};
use crate::export::watchers::{Notice, Status};
use crate::report::{Heard, Lines};
use crate::watch::Filter;
use crate::watch::row::Row;

/// Something happens.
#[derive(Debug)]
pub enum Input {
    /// The source says more.
    Bytes(Vec<u8>),
    /// Something is told that is no event.
    Told(String),
    /// A file is over, or an agent ended.
    End,
    /// The terminal says something: a key, or another size.
    Terminal(Event),
    /// The process is asked to end.
    Stop,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The screen is drawn when it is time to.
    Later,
    /// It is drawn at once.
    Now,
    /// It is wiped and drawn at once: the terminal may have moved what was there.
    Anew,
    /// It is over.
    End,
}

/// All that is shown.
#[derive(Debug, Default)]
pub(super) struct State {
    filter: Filter,
    lines: Lines,
    pub(super) tally: Tally,
    pub(super) order: Order,
    /// Identities that are above the first one that is shown.
    pub(super) offset: usize,
    /// How the agent is; `None` if that is not known, as of a file.
    pub(super) status: Option<Status>,
    /// Events that did not come, since this was too slow for them.
    pub(super) lost: u64,
    /// What was told last.
    pub(super) told: Option<String>,
}

/// Lines that a page key moves.
const PAGE: usize = 10;

impl State {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Something happens; `now` is the time since any beginning.
    pub(super) fn take(&mut self, input: Input, now: Duration) -> Then {
        match input {
            Input::Bytes(bytes) => {
                let mut lines = std::mem::take(&mut self.lines);
                lines.feed(&bytes, |heard| self.hear(&heard, now));
                self.lines = lines;
                Then::Later
            }
            Input::End => {
                std::mem::take(&mut self.lines).end(|heard| self.hear(&heard, now));
                self.status = None;
                Then::Later
            }
            Input::Told(text) => {
                self.told = Some(text);
                Then::Later
            }
            Input::Terminal(Event::Key(key)) if key.kind != KeyEventKind::Release => self.key(key),
            Input::Terminal(Event::Resize(..)) => Then::Anew,
            Input::Terminal(_) => Then::Later,
            Input::Stop => Then::End,
        }
    }

    fn hear(&mut self, heard: &Heard, now: Duration) {
        match heard {
            Heard::Event(event, _) => {
                let row = Row::of(event);
                if self.filter.shows(&row) {
                    self.tally.take(&row, now);
                }
            }
            Heard::Other(json) => match Notice::read(json) {
                Some(Notice::Status(status)) => {
                    self.status = Some(status);
                    self.told = None;
                }
                Some(Notice::Lost { events }) => self.lost += events,
                Some(Notice::Refused { reason }) => self.told = Some(reason),
                None => {}
            },
            Heard::Unreadable => {}
        }
    }

    fn key(&mut self, key: KeyEvent) -> Then {
        match key.code {
            KeyCode::Char('c' | 'C') if key.modifiers.contains(KeyModifiers::CONTROL) => return Then::End,
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Then::End,
            KeyCode::Char('s') => (self.order, self.offset) = (self.order.next(), 0),
            KeyCode::Char('c') => (self.tally, self.lost, self.offset) = (Tally::default(), 0, 0),
            KeyCode::Down | KeyCode::Char('j') => self.offset += 1,
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.offset += PAGE,
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(PAGE),
            KeyCode::Home => self.offset = 0,
            _ => return Then::Later,
        }
        Then::Now
    }
}
