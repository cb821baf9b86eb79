//! The last lines, for whoever reads them in time. Pure.
//!
//! All watchers read the same lines, each from its own place, so that what is kept does not grow with their number. Lines that were not read when
//! their room is needed are gone, and a watcher learns how many by the numbers that it misses. Alarms have room of their own: nobody who floods a
//! node with requests pushes them out.

use std::collections::VecDeque;

use crate::export::Weight;

/// Bytes of the lines of one weight that are kept; half a second of the largest flood.
pub(super) const BYTES: usize = 1 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// The lines.
#[derive(Debug, Default)]
pub(super) struct Room {
    usual: Lane,
    alarms: Lane,
    /// Lines that there were.
    count: u64,
}

#[derive(Debug, Default)]
struct Lane {
    /// Each with its place among the lines of both lanes.
    lines: VecDeque<(u64, Box<[u8]>)>,
    bytes: usize,
    /// Lines that are gone.
    gone: u64,
}

/// How far a watcher has read: lines of each lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    usual: u64,
    alarms: u64,
}

impl Room {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &[u8], weight: Weight) {
        match weight {
            Weight::Usual => self.usual.push(self.count, line),
            Weight::Alarm => self.alarms.push(self.count, line),
        }
        self.count += 1;
    }

    /// Behind the last line.
    pub(super) fn end(&self) -> Place {
        Place { usual: self.usual.end(), alarms: self.alarms.end() }
    }

    /// Adds what follows a place to `out`, in the order in which it came, and moves the place; says how many lines were gone. Not all lines need be
    /// read at once.
    pub(super) fn read(&self, place: &mut Place, out: &mut Vec<u8>) -> u64 {
        let lost = self.usual.skip(&mut place.usual) + self.alarms.skip(&mut place.alarms);
        while out.len() < CHUNK {
            let (usual, alarm) = (self.usual.at(place.usual), self.alarms.at(place.alarms));
            let is_alarm = match (usual, alarm) {
                (Some((usual, _)), Some((alarm, _))) => alarm < usual,
                (usual, _) => usual.is_none(),
            };
            let (next, place) = if is_alarm { (alarm, &mut place.alarms) } else { (usual, &mut place.usual) };
            let Some((_, line)) = next else { break };
            out.extend_from_slice(line);
            *place += 1;
        }
        lost
    }

    /// Nobody reads any more.
    pub(super) fn clear(&mut self) {
        self.usual.clear();
        self.alarms.clear();
    }
}

impl Lane {
    fn push(&mut self, number: u64, line: &[u8]) {
        while self.bytes + line.len() > BYTES && self.drop_oldest() {}
        self.bytes += line.len();
        self.lines.push_back((number, line.into()));
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, line)) = self.lines.pop_front() else { return false };
        self.bytes -= line.len();
        self.gone += 1;
        true
    }

    fn end(&self) -> u64 {
        self.gone + self.lines.len() as u64
    }

    /// Moves to the oldest line that is left; how many were missed by that.
    fn skip(&self, place: &mut u64) -> u64 {
        let lost = self.gone.saturating_sub(*place);
        *place += lost;
        lost
    }

    fn at(&self, place: u64) -> Option<&(u64, Box<[u8]>)> {
        self.lines.get(usize::try_from(place.checked_sub(self.gone)?).ok()?)
    }

    fn clear(&mut self) {
        self.gone = self.end();
        self.lines = VecDeque::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(room: &Room, place: &mut Place) -> (u64, String) {
        let mut out = Vec::new();
        let lost = room.read(place, &mut out);
        (lost, String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_reads_all_that_comes_after_it_in_order() {
        let mut room = Room::default();
        room.push(b"before\n", Weight::Usual);
        let mut early = room.end();
        room.push(b"1\n", Weight::Usual);
        room.push(b"2\n", Weight::Alarm);
        let mut late = room.end();
        room.push(b"3\n", Weight::Usual);
        assert_eq!(read(&room, &mut early), (0, "1\n2\n3\n".to_owned()));
        assert_eq!(read(&room, &mut late), (0, "3\n".to_owned()));
        assert_eq!(read(&room, &mut early), (0, String::new()));
    }

    #[test]
    fn a_flood_pushes_out_what_is_usual_and_no_alarm() {
        let mut room = Room::default();
        let mut place = room.end();
        room.push(b"alarm\n", Weight::Alarm);
        let line = [b'x'; 1024];
        (0..3 * BYTES / line.len()).for_each(|_| room.push(&line, Weight::Usual));
        assert!(room.usual.bytes <= BYTES);
        let (lost, text) = read(&room, &mut place);
        assert_eq!(usize::try_from(lost), Ok(2 * BYTES / line.len()));
        assert!(text.starts_with("alarm\n"));
        room.push(&vec![b'y'; 2 * BYTES], Weight::Usual);
        assert_eq!(room.usual.lines.len(), 1, "one line has room always");
    }

    proptest! {
        #[test]
        fn a_line_is_read_once_or_counted_as_lost(steps in prop::collection::vec(prop_oneof![(1usize..400_000).prop_map(Some), Just(None)], 1..60)) {
            let mut room = Room::default();
            let mut place = room.end();
            let (mut pushed, mut told, mut lost) = (0u64, 0u64, 0u64);
            for step in steps.into_iter().chain(std::iter::repeat_n(None, 60)) {
                if let Some(length) = step {
                    let weight = if length % 2 == 0 { Weight::Usual } else { Weight::Alarm };
                    let mut line = vec![b'x'; length];
                    line.push(b'\n');
                    room.push(&line, weight);
                    pushed += 1;
                } else {
                    let (missed, text) = read(&room, &mut place);
                    lost += missed;
                    told += text.lines().count() as u64;
                }
            }
            prop_assert_eq!(pushed, told + lost);
        }
    }
}
