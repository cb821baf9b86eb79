//! Lines that wait for a slow sink: bounded in number and in bytes, and those that matter most neither wait behind the others nor for room.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::export::Weight;
use crate::observation::Timestamp;

/// Lines of one weight that may wait.
pub(super) const LINES: usize = 8192;
/// Bytes of them. Callers choose how long lines are, and the agent must not grow by what they choose.
pub(super) const BYTES: usize = 8 << 20;

/// One event.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    /// The kernel's time of what led to it.
    pub(super) cause: Timestamp,
}

/// What the sink's thread has to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Write this line.
    Line(Line),
    /// Nothing but a look at whether the file is to be opened anew.
    Wake,
}

/// The queue: two lanes, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    alarms: Lane,
    usual: Lane,
    wake: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Lane {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Queue {
    /// Adds a line; false if there is no room for it.
    pub(super) fn push(&self, line: Line, weight: Weight) -> bool {
        let mut state = self.state();
        let taken = match weight {
            Weight::Alarm => state.alarms.push(line),
            Weight::Usual => state.usual.push(line),
        };
        drop(state);
        self.changed.notify_one();
        taken
    }

    /// Lets the sink's thread look at whether the file is to be opened anew.
    pub(super) fn wake(&self) {
        self.state().wake = true;
        self.changed.notify_one();
    }

    /// Takes no more lines; those that wait are still handed out.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Waits for what is next, alarms first; `None` after the last line of a queue that is closed.
    pub(super) fn next(&self) -> Option<Next> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.alarms.pop() {
                return Some(Next::Line(line));
            }
            if std::mem::take(&mut state.wake) {
                return Some(Next::Wake);
            }
            if let Some(line) = state.usual.pop() {
                return Some(Next::Line(line));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn push(&mut self, line: Line) -> bool {
        // One line always finds room: the longest event is shorter than what may wait.
        let fits = self.lines.is_empty() || (self.lines.len() < LINES && self.bytes + line.bytes.len() <= BYTES);
        if fits {
            self.bytes += line.bytes.len();
            self.lines.push_back(line);
        }
        fits
    }

    fn pop(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.bytes.len();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(length: usize) -> Line {
        Line { bytes: vec![b'x'; length], cause: Timestamp::default() }
    }

    fn taken(queue: &Queue, length: usize, weight: Weight) -> usize {
        (0..10_000).filter(|_| queue.push(line(length), weight)).count()
    }

    #[test]
    fn a_flood_leaves_alarms_their_room_and_their_turn() {
        let queue = Queue::default();
        assert_eq!(taken(&queue, 10, Weight::Usual), LINES);
        assert_eq!(taken(&queue, 20, Weight::Alarm), LINES);
        let next = || match queue.next() {
            Some(Next::Line(line)) => line.bytes.len(),
            other => panic!("{other:?}"),
        };
        assert!((0..LINES).all(|_| next() == 20));
        assert_eq!(next(), 10);
        assert!(queue.push(line(20), Weight::Alarm));
        queue.wake();
        assert_eq!(next(), 20);
        assert!(matches!(queue.next(), Some(Next::Wake)));
        queue.close();
        assert_eq!((1..LINES).filter(|_| next() == 10).count(), LINES - 1);
        assert!(queue.next().is_none());
    }

    #[test]
    fn long_lines_do_not_make_the_agent_grow() {
        let queue = Queue::default();
        assert_eq!(taken(&queue, 64 << 10, Weight::Usual), BYTES >> 16);
        assert!(queue.push(line(BYTES + 1), Weight::Alarm));
        assert!(!queue.push(line(1), Weight::Alarm));
    }
}
