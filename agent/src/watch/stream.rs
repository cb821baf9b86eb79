//! Lines for events, one after the other. Pure: bytes in, bytes out.

use jiff::ZonedDateTime;
use jiff::civil::Date;

use super::row::Row;
use super::{Filter, Layout};
use crate::exchange::bounded::Bounded;
use crate::export::watchers::{Notice, State, Status};
use crate::judge::Finding;
use crate::report::text::Paint;
use crate::report::{Heard, Lines};

/// Requests that go on and of which it is remembered what was shown.
const RUNNING: usize = 4096;

/// What lines look like.
#[derive(Clone, Debug)]
pub enum Form {
    /// For people.
    Text(Layout, Paint),
    /// The events as they came, and how many were lost in between.
    Json,
}

/// The lines so far.
#[derive(Debug)]
pub struct Stream {
    form: Form,
    filter: Filter,
    lines: Lines,
    /// The findings that were shown of requests that go on.
    running: Bounded<String, Vec<Finding>>,
    /// The day of the last line; at first today.
    day: Option<Date>,
    status: Option<Status>,
    /// Lines that are no events of kubewitness.
    pub others: u64,
    /// Lines that cannot be read.
    pub unreadable: u64,
}

/// What bytes led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What is to be written.
    pub data: Vec<u8>,
    /// What is to be told beside the data.
    pub told: Vec<String>,
    /// The agent sends nothing, for this reason.
    pub refused: Option<String>,
}

impl Stream {
    /// Nothing was shown yet.
    pub fn new(form: Form, filter: Filter, now: &ZonedDateTime) -> Self {
        let running = Bounded::new(RUNNING);
        Self { form, filter, lines: Lines::default(), running, day: Some(now.date()), status: None, others: 0, unreadable: 0 }
    }

    /// The line above all others, where there is one.
    pub fn head(&self) -> Option<String> {
        match &self.form {
            Form::Text(layout, paint) => Some(paint.heading(&layout.head()) + "\n"),
            Form::Json => None,
        }
    }

    /// The terminal has another width now.
    pub fn lay_out(&mut self, layout: Layout) {
        if let Form::Text(before, _) = &mut self.form {
            *before = layout;
        }
    }

    /// Takes the next bytes of a source, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) -> Shown {
        let mut shown = Shown::default();
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, |heard| self.hear(&heard, &mut shown));
        self.lines = lines;
        shown
    }

    /// The source is over; another may follow.
    pub fn end(&mut self) -> Shown {
        let mut shown = Shown::default();
        std::mem::take(&mut self.lines).end(|heard| self.hear(&heard, &mut shown));
        self.status = None;
        shown
    }

    fn hear(&mut self, heard: &Heard, shown: &mut Shown) {
        match heard {
            Heard::Event(event, json) => self.event(&Row::of(event), json, &mut shown.data),
            Heard::Other(json) => match Notice::read(json) {
                Some(notice) => self.notice(notice, json, shown),
                None => self.others += 1,
            },
            Heard::Unreadable => self.unreadable += 1,
        }
    }

    fn event(&mut self, row: &Row, json: &[u8], data: &mut Vec<u8>) {
        if !self.filter.shows(row) {
            return;
        }
        let Form::Text(layout, paint) = &self.form else {
            data.extend_from_slice(json);
            return data.push(b'\n');
        };
        if !is_news(&mut self.running, row) {
            return;
        }
        let day = row.at.and_then(|at| layout.day(at)).filter(|day| Some(*day) != self.day);
        if let Some(day) = day {
            self.day = Some(day);
            data.extend_from_slice(paint.dim(&format!("-- {day} --")).as_bytes());
            data.push(b'\n');
        }
        let line = layout.row(row);
        let painted = row.severity().map_or_else(|| line.clone(), |severity| paint.severity(severity, &line));
        data.extend_from_slice(painted.as_bytes());
        data.push(b'\n');
    }

    fn notice(&mut self, notice: Notice, json: &[u8], shown: &mut Shown) {
        match (notice, &self.form) {
            (Notice::Lost { .. }, Form::Json) => {
                shown.data.extend_from_slice(json);
                shown.data.push(b'\n');
            }
            (Notice::Lost { events }, Form::Text(_, paint)) => {
                let events = format!("{events} event{}", if events == 1 { "" } else { "s" });
                let line = paint.dim(&format!("… {events} lost here: this terminal is slower than the requests"));
                shown.data.extend_from_slice(line.as_bytes());
                shown.data.push(b'\n');
            }
            (Notice::Status(status), _) => self.status(status, &mut shown.told),
            (Notice::Refused { reason }, _) => shown.refused = Some(reason),
        }
    }

    /// Tells of how the agent is at first, and when that changes.
    fn status(&mut self, status: Status, told: &mut Vec<String>) {
        let is_new = self.status.as_ref().is_none_or(|before| (&before.state, &before.says) != (&status.state, &status.says));
        if is_new {
            told.push(sentence(&status));
        }
        let before = self.status.as_ref().map_or(status.records_lost, |before| before.records_lost);
        let lost = status.records_lost.saturating_sub(before);
        if lost > 0 {
            told.push(format!("the agent lost {lost} records of the kernel: requests may be missing, or not whole"));
        }
        self.status = Some(status);
    }
}

/// Whether a line of this request tells something that an earlier one did not: that it began, that something is wrong, that it is over.
fn is_news(running: &mut Bounded<String, Vec<Finding>>, row: &Row) -> bool {
    if row.is_over {
        running.remove(&row.audit_id.to_owned());
        return true;
    }
    let id = row.audit_id.to_owned();
    let is_news = running.get(&id).is_none_or(|shown| *shown != row.findings);
    if is_news {
        let _oldest = running.insert(id, row.findings.clone());
    }
    is_news
}

fn sentence(status: &Status) -> String {
    let Status { node, says, .. } = status;
    match status.state {
        State::Attached => format!("{node}: {says} is watched"),
        State::Starting | State::Waiting => format!("{node}: {says}"),
        State::Blind => format!("{node}: the agent does not see all: {says}"),
    }
}

#[cfg(test)]
mod tests;
