//! Whole lines to something that may fail and come back.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use super::queue::Chunk;

/// After a failure lines are dropped for this long; then it is tried again, a file opened anew.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Where lines can be written to.
pub(super) trait Place {
    /// What they are written to. Unbuffered: what a failed write leaves in a buffer would come out later, after it was counted as dropped.
    type Out: Write;

    /// Opens it, for the first time or anew.
    fn open(&mut self) -> io::Result<Opened<Self::Out>>;

    /// Called before lines are written, of which the first has so many bytes: what is to be written to from now on, if that is another, and how
    /// many bytes have room there. The first line is written also if it has none.
    fn prepare(&mut self, out: &Self::Out, length: usize, now: Instant) -> (Option<Opened<Self::Out>>, usize);

    /// Whether to open it anew when somebody says that it was moved away: a pipe was not.
    fn is_renewed(&self, out: &Self::Out) -> bool;
}

/// An opened place.
pub(super) struct Opened<W> {
    pub(super) out: W,
    /// Whether its last line has no end; `None` where that cannot be seen.
    pub(super) broken_line: Option<bool>,
}

/// Writes whole lines.
pub(super) struct Writer<P: Place> {
    name: String,
    place: P,
    /// `None` after a failure, until it is opened again.
    out: Option<P::Out>,
    /// A line was cut short (now, or by an earlier agent that was killed): the next one must not continue it.
    broken_line: bool,
    /// When it failed last.
    failed: Option<Instant>,
    /// Lines dropped in this burst of failures.
    dropped: u64,
}

impl<P: Place> Writer<P> {
    /// Opens the place. `name` is for people.
    pub(super) fn open(name: String, mut place: P) -> io::Result<Self> {
        let opened = place.open()?;
        let broken_line = opened.broken_line.unwrap_or(false);
        Ok(Self { name, place, out: Some(opened.out), broken_line, failed: None, dropped: 0 })
    }

    /// Writes lines, and says how many of them, from the first on; the rest was dropped.
    pub(super) fn write(&mut self, chunk: &Chunk, now: Instant) -> usize {
        if self.failed.is_some_and(|failed| now.duration_since(failed) < RETRY) {
            self.dropped += chunk.lines.len() as u64;
            return 0;
        }
        let mut done = 0;
        while done < chunk.lines.len() {
            let (written, result) = self.try_write(chunk, done, now);
            done += written;
            if let Err(error) = result {
                if self.failed.is_none() {
                    tracing::error!(
                        "cannot write events to {}: {error}; they are dropped and counted, and it is tried again every second",
                        self.name
                    );
                }
                self.out = None;
                self.failed = Some(now);
                self.dropped += (chunk.lines.len() - done) as u64;
                return done;
            }
            if self.failed.take().is_some() {
                tracing::info!("events are written to {} again; {} were dropped", self.name, self.dropped);
                self.dropped = 0;
            }
        }
        done
    }

    /// Opens the place anew, since somebody says that it was moved away. If that fails what was open goes on to be written: no event is lost
    /// by it.
    pub(super) fn renew(&mut self) {
        if !self.out.as_ref().is_some_and(|out| self.place.is_renewed(out)) {
            return;
        }
        match self.place.open() {
            Ok(opened) => {
                self.take(opened);
                tracing::info!("{} was opened anew", self.name);
            }
            Err(error) => tracing::error!("{} cannot be opened anew: {error}; events go on to where they went", self.name),
        }
    }

    fn take(&mut self, opened: Opened<P::Out>) {
        // A file may have been emptied or replaced meanwhile.
        self.broken_line = opened.broken_line.unwrap_or(self.broken_line);
        self.out = Some(opened.out);
    }

    /// Writes as many lines as have room, from the line `first` on; how many of them are whole.
    fn try_write(&mut self, chunk: &Chunk, first: usize, now: Instant) -> (usize, io::Result<()>) {
        let start = first.checked_sub(1).map_or(0, |before| chunk.lines[before].0);
        let length = chunk.lines[first].0 - start;
        let (next, room) = match &self.out {
            Some(out) => self.place.prepare(out, length, now),
            None => match self.place.open() {
                Ok(opened) => (Some(opened), length),
                Err(error) => return (0, Err(error)),
            },
        };
        if let Some(opened) = next {
            self.take(opened);
        }
        // It is there: a place that could not be opened was an error.
        let Some(out) = &mut self.out else { return (0, Err(ErrorKind::NotConnected.into())) };
        if self.broken_line {
            if let Err(error) = out.write_all(b"\n") {
                return (0, Err(error));
            }
            self.broken_line = false;
        }
        let count = chunk.lines[first..].partition_point(|(end, _)| end - start <= room).max(1);
        let end = chunk.lines[first + count - 1].0;
        let (written, result) = write_all(out, &chunk.bytes[start..end]);
        let whole = chunk.lines[first..first + count].partition_point(|(end, _)| end - start <= written);
        let ends_a_line = written == 0 || chunk.lines[first..].get(whole.wrapping_sub(1)).is_some_and(|(end, _)| end - start == written);
        self.broken_line = !ends_a_line;
        (whole, result)
    }
}

/// Writes all bytes, and says how many were written also if not all could be.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::observation::Timestamp;

    /// What the next writes do: take so many bytes, or fail.
    #[derive(Clone, Default)]
    struct Fickle {
        next: Arc<Mutex<VecDeque<io::Result<usize>>>>,
        written: Arc<Mutex<Vec<u8>>>,
        looks_back: bool,
    }

    impl Write for Fickle {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let take = self.next.lock().unwrap().pop_front().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.written.lock().unwrap().extend(&bytes[..take]);
            Ok(take)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Place for Fickle {
        type Out = Self;

        fn open(&mut self) -> io::Result<Opened<Self>> {
            let written = self.written.lock().unwrap().clone();
            let broken_line = self.looks_back.then(|| !written.is_empty() && !written.ends_with(b"\n"));
            Ok(Opened { out: self.clone(), broken_line })
        }

        fn prepare(&mut self, _: &Self, _: usize, _: Instant) -> (Option<Opened<Self>>, usize) {
            (None, usize::MAX)
        }

        fn is_renewed(&self, _: &Self) -> bool {
            false
        }
    }

    fn full() -> io::Error {
        ErrorKind::StorageFull.into()
    }

    #[test]
    fn lines_are_whole_and_a_broken_one_is_closed() {
        type Row = (Vec<io::Result<usize>>, [bool; 4], &'static str);
        let rows: Vec<Row> = vec![
            (vec![], [true; 4], "one\ntwo\nthree\nfour\n"),
            // Short writes and interruptions are carried on.
            (vec![Ok(1), Err(ErrorKind::Interrupted.into()), Ok(2)], [true; 4], "one\ntwo\nthree\nfour\n"),
            // The disk is full at once; the second line comes too soon, the third finds room.
            (vec![Err(full())], [false, false, true, true], "three\nfour\n"),
            // It is full in the middle of a line.
            (vec![Ok(2), Err(full())], [false, false, true, true], "on\nthree\nfour\n"),
            // And again when the line is to be closed.
            (vec![Ok(2), Err(full()), Err(full())], [false; 4], "on"),
            (vec![Ok(0)], [false, false, true, true], "three\nfour\n"),
        ];
        let both = rows.iter().flat_map(|row| [(row, false), (row, true)]);
        for ((next, kept, expected), looks_back) in both {
            let shown = format!("{next:?}, looks back: {looks_back}");
            let copy = |result: &io::Result<usize>| result.as_ref().copied().map_err(|error| error.kind().into());
            let out = Fickle { next: Arc::new(Mutex::new(next.iter().map(copy).collect())), looks_back, ..Fickle::default() };
            let mut writer = Writer::open("test".into(), out.clone()).unwrap();
            let start = Instant::now();
            let after = [Duration::ZERO, RETRY / 2, RETRY, RETRY + RETRY / 4];
            let lines = ["one\n", "two\n", "three\n", "four\n"];
            let result: Vec<bool> =
                lines.iter().zip(after).map(|(line, after)| writer.write(&chunk(&[line]), start + after) == 1).collect();
            assert_eq!(result, *kept, "{shown}");
            assert_eq!(String::from_utf8(out.written.lock().unwrap().clone()).unwrap(), *expected, "{shown}");
        }
    }

    fn chunk(lines: &[&str]) -> Chunk {
        let mut chunk = Chunk::default();
        for line in lines {
            chunk.bytes.extend(line.bytes());
            chunk.lines.push((chunk.bytes.len(), Timestamp::default()));
        }
        chunk
    }

    #[test]
    fn of_lines_that_are_written_at_once_those_before_a_failure_are_whole() {
        // Bytes that are written before the disk is full, and what is written and counted then; the next line comes later.
        for (room, whole, expected) in [
            (0, 0, "next\n"),
            (2, 0, "on\nnext\n"),
            (4, 1, "one\nnext\n"),
            (6, 1, "one\ntw\nnext\n"),
            (8, 2, "one\ntwo\nnext\n"),
            (13, 2, "one\ntwo\nthree\nnext\n"),
        ] {
            for looks_back in [false, true] {
                let next = if room == 0 { vec![Err(full())] } else { vec![Ok(room), Err(full())] };
                let out = Fickle { next: Arc::new(Mutex::new(next.into())), looks_back, ..Fickle::default() };
                let mut writer = Writer::open("test".into(), out.clone()).unwrap();
                let start = Instant::now();
                assert_eq!(writer.write(&chunk(&["one\n", "two\n", "three\n"]), start), whole, "{room}");
                assert_eq!(writer.write(&chunk(&["next\n"]), start + RETRY), 1);
                assert_eq!(String::from_utf8(out.written.lock().unwrap().clone()).unwrap(), expected, "{room}");
            }
        }
    }
}
