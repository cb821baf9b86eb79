//! What every queue of events does, and the one in memory.

use std::{collections::VecDeque, fs::File, io};

pub(super) use crate::export::Weight;

/// Bytes of an event that is queued; the wire bounds those of the agent to a fraction of it. What is longer could not be told from damage.
pub(super) const LONGEST_EVENT: usize = 256 << 10;
/// A part of the room, 1/10, is kept for events that tell of something wrong: whoever floods a node with requests fills the rest.
const RESERVE: u64 = 10;

/// A bounded queue of events. The methods may write to a disk and so take a while.
pub(super) trait Queue: Send {
    /// Adds an event, which is JSON without a newline. Once this has returned, a kill of the agent does not lose it, if the queue is on disk.
    fn append(&mut self, event: &[u8], weight: Weight) -> Result<(), AppendError>;

    /// The oldest events: at most so many, and of so many bytes together, at least one if there is one.
    fn peek(&mut self, events: usize, bytes: usize) -> Peeked;

    /// Takes away so many of the events that [`Self::peek`] showed last, the oldest first. After an error they are gone all the same, but
    /// may come back when the agent starts anew.
    fn acknowledge(&mut self, events: usize) -> io::Result<()>;

    /// What waits.
    fn waiting(&self) -> Waiting;

    /// Files whose content should reach the disk now, for a power cut; asked from time to time.
    fn unsynced(&mut self) -> Vec<File>;
}

/// The events that come next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peeked {
    /// JSON each, the oldest first.
    pub(super) events: Vec<Vec<u8>>,
    /// What was lost on the way to them and was not told before, if anything.
    pub(super) lost: Option<Lost>,
}

/// A part of the queue that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// At least so many events.
    pub(super) events: u64,
    /// Where they were, and what is wrong with it.
    pub(super) why: String,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// Why an event was not queued.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    #[error("the queue is full ({} MiB)", limit >> 20)]
    Full { limit: u64 },
    #[error("it has {0} bytes, more than any event should")]
    TooLong(usize),
    #[error("the disk does not take it: {0}")]
    Disk(#[from] io::Error),
}

/// Whether there is room for so many more bytes. The oldest events are kept and the newest refused: what an attacker did first cannot be
/// pushed out by what comes later.
pub(super) fn room(used: u64, more: usize, limit: u64, weight: Weight) -> Result<(), AppendError> {
    let usable = match weight {
        Weight::Usual => limit - limit / RESERVE,
        Weight::Alarm => limit,
    };
    if used.saturating_add(more as u64) > usable { Err(AppendError::Full { limit }) } else { Ok(()) }
}

/// A queue in memory, lost with the agent.
#[derive(Debug)]
pub(super) struct MemoryQueue {
    events: VecDeque<Vec<u8>>,
    bytes: u64,
    limit: u64,
}

impl MemoryQueue {
    /// Of at most so many bytes.
    pub(super) const fn new(limit: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, limit }
    }
}

impl Queue for MemoryQueue {
    fn append(&mut self, event: &[u8], weight: Weight) -> Result<(), AppendError> {
        if event.len() > LONGEST_EVENT {
            return Err(AppendError::TooLong(event.len()));
        }
        let size = event.len() + size_of::<Vec<u8>>();
        room(self.bytes, size, self.limit, weight)?;
        self.bytes += size as u64;
        self.events.push_back(event.to_vec());
        Ok(())
    }

    fn peek(&mut self, events: usize, bytes: usize) -> Peeked {
        let mut size = 0;
        let fits = |event: &&Vec<u8>| {
            let first = size == 0;
            size += event.len();
            first || size <= bytes
        };
        Peeked { events: self.events.iter().take(events).take_while(fits).cloned().collect(), lost: None }
    }

    fn acknowledge(&mut self, events: usize) -> io::Result<()> {
        for event in self.events.drain(..events) {
            self.bytes -= (event.len() + size_of::<Vec<u8>>()) as u64;
        }
        Ok(())
    }

    fn waiting(&self) -> Waiting {
        Waiting { events: self.events.len() as u64, bytes: self.bytes }
    }

    fn unsynced(&mut self) -> Vec<File> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_of_the_room_is_for_alarms() {
        let mut queue = MemoryQueue::new(1000);
        let event = [b'x'; 76];
        let mut appended = |weight| (0..20).filter(|_| queue.append(&event, weight).is_ok()).count();
        assert_eq!((appended(Weight::Usual), appended(Weight::Alarm), appended(Weight::Alarm)), (9, 1, 0));
        assert_eq!(queue.waiting(), Waiting { events: 10, bytes: 1000 });
        assert!(matches!(queue.append(&event, Weight::Alarm), Err(AppendError::Full { limit: 1000 })));
        assert!(matches!(queue.append(&vec![0; LONGEST_EVENT + 1], Weight::Alarm), Err(AppendError::TooLong(_))));
    }

    #[test]
    fn what_is_taken_away_makes_room() {
        let mut queue = MemoryQueue::new(1000);
        for text in ["one", "two", "three"] {
            queue.append(text.as_bytes(), Weight::Usual).unwrap();
        }
        let texts = |peeked: Peeked| peeked.events.into_iter().map(|event| String::from_utf8(event).unwrap()).collect::<Vec<_>>();
        assert_eq!(texts(queue.peek(2, 1000)), ["one", "two"]);
        assert_eq!(texts(queue.peek(9, 6)), ["one", "two"]);
        assert_eq!(texts(queue.peek(9, 1)), ["one"]);
        queue.acknowledge(2).unwrap();
        assert_eq!(texts(queue.peek(9, 1000)), ["three"]);
        queue.acknowledge(1).unwrap();
        assert_eq!(queue.waiting(), Waiting::default());
        assert_eq!(queue.peek(9, 9), Peeked::default());
    }
}
