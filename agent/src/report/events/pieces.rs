//! Lines that are no line: a writer that was killed in the middle of one leaves its beginning, and the next one may go on right behind it.

use memchr::memmem;

use super::line::{self, Line};

/// Events that are looked for in one line, so that no line takes long.
const PIECES: usize = 16;

/// Hands on what is in a line that breaks off, piece by piece.
pub(super) fn pieces(mut line: &[u8], mut hand_on: impl FnMut(&Line, &[u8])) {
    for _ in 0..PIECES {
        let read = line::read(line);
        let rest = match read {
            Line::Cut | Line::NotJson => next_start(line),
            _ => None,
        };
        let Some(at) = rest else { return hand_on(&read, line) };
        let (before, rest) = line.split_at(at);
        match line::read(before) {
            // What some loggers put before their lines.
            Line::NotJson => (),
            read => hand_on(&read, before),
        }
        line = rest;
    }
    hand_on(&Line::Cut, line);
}

/// Where the next event begins, behind the first byte.
fn next_start(line: &[u8]) -> Option<usize> {
    memmem::find(line.get(1..)?, line::START).map(|at| at + 1)
}
