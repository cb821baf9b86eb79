//! Lines that wait for a slow sink: bounded in number and in bytes, and those that matter most neither wait behind the others nor for room.
//!
//! They wait in chunks, so that a line is neither an allocation nor a lock for itself, and the sink's thread is woken for many at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::export::Weight;
use crate::observation::Timestamp;

/// Lines of one weight that may wait.
pub(super) const LINES: usize = 8192;
/// Bytes of them. Callers choose how long lines are, and the agent must not grow by what they choose.
pub(super) const BYTES: usize = 8 << 20;
/// Bytes of a chunk; a longer line has one of its own.
const CHUNK: usize = 256 << 10;
/// Chunks that are kept: what a busy kubelet fills from one drain of the rings to the next.
const SPARE: usize = 3;

/// Lines, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Where each line ends, and the kernel's time of what led to it.
    pub(super) lines: Vec<(usize, Timestamp)>,
}

impl Chunk {
    fn has_room(&self, length: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + length <= CHUNK
    }

    fn push(&mut self, line: &[u8], cause: Timestamp) {
        self.bytes.extend_from_slice(line);
        self.lines.push((self.bytes.len(), cause));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }
}

/// What the sink's thread has to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Write these lines.
    Lines(Chunk),
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
    /// Chunks that were written, to be filled again: new memory is a fault for each of its pages.
    spare: Vec<Chunk>,
    /// Lines wait that nobody was woken for.
    untold: bool,
    wake: bool,
    closed: bool,
}

#[derive(Debug, Default)]
struct Lane {
    chunks: VecDeque<Chunk>,
    lines: usize,
    bytes: usize,
}

impl Queue {
    /// Adds a line; false if there is no room for it. An alarm wakes the sink's thread at once, the others when [`Self::flush`] is called, or
    /// a chunk is full.
    pub(super) fn push(&self, line: &[u8], cause: Timestamp, weight: Weight) -> bool {
        let mut state = self.state();
        let State { alarms, usual, spare, .. } = &mut *state;
        let own = if weight == Weight::Alarm { alarms } else { usual };
        if !own.has_room(line.len()) {
            return false;
        }
        let is_full = own.push(line, cause, spare);
        state.untold = true;
        if is_full || weight == Weight::Alarm {
            self.tell(state);
        }
        true
    }

    /// Wakes the sink's thread if lines wait.
    pub(super) fn flush(&self) {
        let state = self.state();
        if state.untold {
            self.tell(state);
        }
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        state.untold = false;
        drop(state);
        self.changed.notify_one();
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

    /// Waits for what is next, alarms first; `None` after the last line of a queue that is closed. Takes back the chunk before.
    pub(super) fn next(&self, written: Option<Chunk>) -> Option<Next> {
        let mut state = self.state();
        if let Some(mut chunk) = written.filter(|chunk| chunk.bytes.capacity() <= 2 * CHUNK) {
            chunk.clear();
            if state.spare.len() < SPARE {
                state.spare.push(chunk);
            }
        }
        loop {
            if let Some(chunk) = state.alarms.pop() {
                return Some(Next::Lines(chunk));
            }
            if std::mem::take(&mut state.wake) {
                return Some(Next::Wake);
            }
            if let Some(chunk) = state.usual.pop() {
                return Some(Next::Lines(chunk));
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
    /// One line always finds room: the longest event is shorter than what may wait.
    fn has_room(&self, length: usize) -> bool {
        self.lines == 0 || (self.lines < LINES && self.bytes + length <= BYTES)
    }

    /// True if this line began another chunk than the first.
    fn push(&mut self, line: &[u8], cause: Timestamp, spare: &mut Vec<Chunk>) -> bool {
        let is_new = self.chunks.back().is_none_or(|chunk| !chunk.has_room(line.len()));
        if is_new {
            self.chunks.push_back(spare.pop().unwrap_or_default());
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(line, cause);
        }
        self.lines += 1;
        self.bytes += line.len();
        is_new && self.chunks.len() > 1
    }

    fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.lines -= chunk.lines.len();
        self.bytes -= chunk.bytes.len();
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &Queue, length: usize, weight: Weight) -> usize {
        let line = vec![b'x'; length];
        (0..10_000).filter(|_| queue.push(&line, Timestamp::default(), weight)).count()
    }

    fn next(queue: &Queue) -> Vec<usize> {
        match queue.next(None) {
            Some(Next::Lines(chunk)) => {
                let starts = std::iter::once(0).chain(chunk.lines.iter().map(|(end, _)| *end));
                starts.zip(&chunk.lines).map(|(start, (end, _))| end - start).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flood_leaves_alarms_their_room_and_their_turn() {
        let queue = Queue::default();
        assert_eq!(taken(&queue, 10, Weight::Usual), LINES);
        assert_eq!(taken(&queue, 20, Weight::Alarm), LINES);
        let mut alarms = 0;
        while alarms < LINES {
            let lines = next(&queue);
            assert!(lines.iter().all(|length| *length == 20));
            alarms += lines.len();
        }
        let mut usual = next(&queue).len();
        assert!(queue.push(&[b'x'; 20], Timestamp::default(), Weight::Alarm));
        assert_eq!(next(&queue), [20]);
        queue.wake();
        assert!(matches!(queue.next(None), Some(Next::Wake)));
        queue.close();
        while usual < LINES {
            let lines = next(&queue);
            assert!(lines.iter().all(|length| *length == 10));
            usual += lines.len();
        }
        assert!(queue.next(None).is_none());
    }

    #[test]
    fn long_lines_do_not_make_the_agent_grow() {
        let queue = Queue::default();
        assert_eq!(taken(&queue, 64 << 10, Weight::Usual), BYTES >> 16);
        assert!(queue.push(&vec![b'x'; BYTES + 1], Timestamp::default(), Weight::Alarm));
        assert!(!queue.push(b"x", Timestamp::default(), Weight::Alarm));
    }

    #[test]
    fn a_chunk_is_filled_again_and_holds_whole_lines() {
        let queue = Queue::default();
        let line = vec![b'x'; 1000];
        (0..800).for_each(|_| assert!(queue.push(&line, Timestamp::default(), Weight::Usual)));
        let mut written = None;
        let mut lines = 0;
        queue.close();
        while let Some(Next::Lines(chunk)) = queue.next(written.take()) {
            assert!(chunk.bytes.len() <= CHUNK && chunk.bytes.len() == 1000 * chunk.lines.len());
            lines += chunk.lines.len();
            written = Some(chunk);
        }
        assert_eq!(lines, 800);
    }
}
