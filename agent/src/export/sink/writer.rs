//! Whole lines to something that may fail and come back.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

/// After a failure lines are dropped for this long; then it is tried again, a file opened anew.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Where lines can be written to.
pub(super) trait Place {
    /// What they are written to. Unbuffered: what a failed write leaves in a buffer would come out later, after it was counted as dropped.
    type Out: Write;

    /// Opens it, for the first time or anew.
    fn open(&mut self) -> io::Result<Opened<Self::Out>>;

    /// Called before each line, of so many bytes: what is to be written to from now on, if that is another.
    fn before_a_line(&mut self, out: &Self::Out, length: usize, now: Instant) -> Option<Opened<Self::Out>>;

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

    /// Writes a line, newline included; false if it was dropped.
    pub(super) fn write(&mut self, line: &[u8], now: Instant) -> bool {
        if self.failed.is_some_and(|failed| now.duration_since(failed) < RETRY) {
            self.dropped += 1;
            return false;
        }
        match self.try_write(line, now) {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!("events are written to {} again; {} were dropped", self.name, self.dropped);
                    self.dropped = 0;
                }
                true
            }
            Err(error) => {
                if self.failed.is_none() {
                    tracing::error!(
                        "cannot write events to {}: {error}; they are dropped and counted, and it is tried again every second",
                        self.name
                    );
                }
                self.out = None;
                self.failed = Some(now);
                self.dropped += 1;
                false
            }
        }
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

    fn try_write(&mut self, line: &[u8], now: Instant) -> io::Result<()> {
        let next = match &self.out {
            Some(out) => self.place.before_a_line(out, line.len(), now),
            None => Some(self.place.open()?),
        };
        if let Some(opened) = next {
            self.take(opened);
        }
        // It is there: a place that could not be opened was an error.
        let Some(out) = &mut self.out else { return Err(ErrorKind::NotConnected.into()) };
        if self.broken_line {
            out.write_all(b"\n")?;
            self.broken_line = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.broken_line = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;

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

        fn before_a_line(&mut self, _: &Self, _: usize, _: Instant) -> Option<Opened<Self>> {
            None
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
            let result: Vec<bool> = lines.iter().zip(after).map(|(line, after)| writer.write(line.as_bytes(), start + after)).collect();
            assert_eq!(result, *kept, "{shown}");
            assert_eq!(String::from_utf8(out.written.lock().unwrap().clone()).unwrap(), *expected, "{shown}");
        }
    }
}
