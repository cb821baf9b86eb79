//! Events as JSON lines, to a file or to standard output. A sink that fails costs events, which are counted, and never the agent.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::metrics::{SinkKind, SinkMetrics};
use crate::observation::Timestamp;

/// Lines that may wait for a slow sink.
const QUEUE: usize = 8192;

/// After a failure lines are dropped for this long; then the sink is tried again, a file opened anew.
const RETRY: Duration = Duration::from_secs(1);

/// Where to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// The end of this file, which is created where it does not exist, for its owner alone.
    File(PathBuf),
}

/// A sink: a queue, and a thread that writes it out.
pub struct Sink {
    queue: SyncSender<Line>,
    waiting: Arc<AtomicU64>,
    done: Receiver<()>,
    metrics: SinkMetrics,
}

/// An opened target.
struct Opened<W> {
    out: W,
    /// Whether its last line has no end; `None` where that cannot be seen.
    broken_line: Option<bool>,
}

/// One event.
#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    cause: Timestamp,
}

/// The sink could not be opened when the agent started.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open {name} for events: {source}; name a file in a directory that exists and that the agent may write to, or - for standard output"
)]
pub struct OpenError {
    name: String,
    source: io::Error,
}

impl Target {
    /// `-` is standard output, anything else a path.
    pub fn parse(argument: &str) -> Self {
        if argument == "-" { Self::Stdout } else { Self::File(argument.into()) }
    }

    /// The kind, for [`super::metrics::Metrics::sink`].
    pub const fn kind(&self) -> SinkKind {
        match self {
            Self::Stdout => SinkKind::Stdout,
            Self::File(_) => SinkKind::File,
        }
    }

    /// Unbuffered: what a failed write leaves in a buffer would come out later, after it was counted as dropped.
    fn open(&self) -> io::Result<Opened<File>> {
        match self {
            Self::Stdout => Ok(Opened { out: io::stdout().as_fd().try_clone_to_owned()?.into(), broken_line: None }),
            Self::File(path) => open_to_append(path),
        }
    }
}

impl Sink {
    /// Opens the target and starts its thread. `now` is the kernel's clock, [`Timestamp`].
    pub fn open(target: &Target, metrics: SinkMetrics, now: fn() -> Timestamp) -> Result<Self, OpenError> {
        let name = match target {
            Target::Stdout => "standard output".to_owned(),
            Target::File(path) => path.display().to_string(),
        };
        let first = target.open().map_err(|source| OpenError { name: name.clone(), source })?;
        let target = target.clone();
        Ok(Self::start(name, move || target.open(), first, metrics, now))
    }

    /// Queues a line, newline included; drops and counts it where there is no room. `cause` is the kernel's time of what led to it.
    pub fn send(&self, line: Vec<u8>, cause: Timestamp) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Line { bytes: line, cause }).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.dropped.inc();
        }
    }

    /// Writes out what waits; true if all of it was handled in this time. What was not is counted as dropped, and a thread that hangs in a
    /// write is left behind.
    pub fn close(self, within: Duration) -> bool {
        drop(self.queue);
        let in_time = self.done.recv_timeout(within).is_ok();
        if !in_time {
            self.metrics.dropped.inc_by(self.waiting.load(Ordering::Relaxed));
        }
        in_time
    }

    fn start<W: Write + Send + 'static>(
        name: String,
        reopen: impl FnMut() -> io::Result<Opened<W>> + Send + 'static,
        first: Opened<W>,
        metrics: SinkMetrics,
        now: fn() -> Timestamp,
    ) -> Self {
        let (queue, lines) = mpsc::sync_channel::<Line>(QUEUE);
        let (finished, done) = mpsc::channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let left = Arc::clone(&waiting);
        let counters = metrics.clone();
        let broken_line = first.broken_line.unwrap_or(false);
        let mut writer = Writer { name, reopen, out: Some(first.out), broken_line, failed: None, dropped: 0 };
        thread::spawn(move || {
            for line in lines {
                if writer.write(&line.bytes, Instant::now()) {
                    counters.written_after(Duration::from_nanos(now().0.saturating_sub(line.cause.0)));
                } else {
                    counters.dropped.inc();
                }
                left.fetch_sub(1, Ordering::Relaxed);
            }
            // Nobody listens any more if the deadline has passed.
            let _ = finished.send(());
        });
        Self { queue, waiting, done, metrics }
    }
}

/// Writes whole lines to something that may fail and come back.
struct Writer<W, R> {
    name: String,
    reopen: R,
    /// `None` after a failure, until it is opened again.
    out: Option<W>,
    /// A line was cut short (now, or by an earlier agent that was killed): the next one must not continue it.
    broken_line: bool,
    /// When it failed last.
    failed: Option<Instant>,
    /// Lines dropped in this burst of failures.
    dropped: u64,
}

impl<W: Write, R: FnMut() -> io::Result<Opened<W>>> Writer<W, R> {
    /// Writes a line, newline included; false if it was dropped.
    fn write(&mut self, line: &[u8], now: Instant) -> bool {
        if self.failed.is_some_and(|failed| now.duration_since(failed) < RETRY) {
            self.dropped += 1;
            return false;
        }
        match self.try_write(line) {
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

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        let out = if let Some(out) = &mut self.out {
            out
        } else {
            let opened = (self.reopen)()?;
            // A file may have been emptied or replaced meanwhile.
            self.broken_line = opened.broken_line.unwrap_or(self.broken_line);
            self.out.insert(opened.out)
        };
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

fn open_to_append(path: &Path) -> io::Result<Opened<File>> {
    let out = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // A pipe or a device cannot be read back.
    let broken_line = if out.metadata()?.is_file() { Some(!ends_with_newline(path)?) } else { None };
    Ok(Opened { out, broken_line })
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::export::metrics::Metrics;

    /// What the next writes do: take so many bytes, or fail.
    #[derive(Clone, Default)]
    struct Fickle {
        next: Arc<Mutex<VecDeque<io::Result<usize>>>>,
        written: Arc<Mutex<Vec<u8>>>,
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

    fn full() -> io::Error {
        ErrorKind::StorageFull.into()
    }

    fn metrics() -> SinkMetrics {
        Metrics::new("node1", 1).unwrap().sink(SinkKind::File)
    }

    fn counted(metrics: &SinkMetrics) -> (u64, u64) {
        (metrics.written.get(), metrics.dropped.get())
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
            let out = Fickle { next: Arc::new(Mutex::new(next.iter().map(copy).collect())), ..Fickle::default() };
            let again = out.clone();
            let mut writer = Writer {
                name: "test".into(),
                reopen: move || {
                    let written = again.written.lock().unwrap().clone();
                    let broken_line = looks_back.then(|| !written.is_empty() && !written.ends_with(b"\n"));
                    Ok(Opened { out: again.clone(), broken_line })
                },
                out: Some(out.clone()),
                broken_line: false,
                failed: None,
                dropped: 0,
            };
            let start = Instant::now();
            let after = [Duration::ZERO, RETRY / 2, RETRY, RETRY + RETRY / 4];
            let lines = ["one\n", "two\n", "three\n", "four\n"];
            let result: Vec<bool> = lines.iter().zip(after).map(|(line, after)| writer.write(line.as_bytes(), start + after)).collect();
            assert_eq!(result, *kept, "{shown}");
            assert_eq!(String::from_utf8(out.written.lock().unwrap().clone()).unwrap(), *expected, "{shown}");
        }
    }

    #[test]
    fn events_are_written_and_counted() {
        let file = std::env::temp_dir().join(format!("kubewitness-sink-{}", std::process::id()));
        std::fs::write(&file, "half a li").unwrap();
        let metrics = metrics();
        let sink = Sink::open(&Target::File(file.clone()), metrics.clone(), || Timestamp(5_000_000)).unwrap();
        for n in 0..100 {
            sink.send(format!("{n}\n").into_bytes(), Timestamp(1_000_000));
        }
        assert!(sink.close(Duration::from_secs(5)));
        let lines = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let expected: String = std::iter::once("half a li\n".to_owned()).chain((0..100).map(|n| format!("{n}\n"))).collect();
        assert_eq!(lines, expected);
        assert_eq!(counted(&metrics), (100, 0));
        assert_eq!(metrics.latency.get_sample_count(), 100);
        assert!((metrics.latency.get_sample_sum() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn a_file_that_was_emptied_after_a_cut_line_begins_with_an_event() {
        let file = std::env::temp_dir().join(format!("kubewitness-emptied-{}", std::process::id()));
        let mut writer = Writer {
            name: "test".into(),
            reopen: || Target::File(file.clone()).open(),
            out: None,
            broken_line: true,
            failed: None,
            dropped: 0,
        };
        assert!(writer.write(b"{}\n", Instant::now()));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(text, "{}\n");
    }

    #[test]
    fn a_full_disk_costs_events_and_nothing_else() {
        let metrics = metrics();
        let sink = Sink::open(&Target::File("/dev/full".into()), metrics.clone(), Timestamp::default).unwrap();
        for _ in 0..50 {
            sink.send(b"{}\n".to_vec(), Timestamp::default());
        }
        assert!(sink.close(Duration::from_secs(5)));
        assert_eq!(counted(&metrics), (0, 50));
    }

    #[test]
    fn a_sink_that_hangs_is_left_behind() {
        struct Hangs;
        impl Write for Hangs {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                loop {
                    thread::park();
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let metrics = metrics();
        let hangs = || Opened { out: Hangs, broken_line: None };
        let sink = Sink::start("test".into(), move || Ok(hangs()), hangs(), metrics.clone(), Timestamp::default);
        let sent = QUEUE as u64 + 100;
        for _ in 0..sent {
            sink.send(b"{}\n".to_vec(), Timestamp::default());
        }
        let start = Instant::now();
        assert!(!sink.close(Duration::from_millis(50)));
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(counted(&metrics), (0, sent));
    }

    #[test]
    fn a_target_that_cannot_be_opened_says_what_to_do() {
        let target = Target::parse("/nonexistent/events.jsonl");
        let error = Sink::open(&target, metrics(), Timestamp::default).err().unwrap().to_string();
        assert!(error.starts_with("cannot open /nonexistent/events.jsonl for events: "), "{error}");
        assert_eq!((Target::parse("-"), target.kind()), (Target::Stdout, SinkKind::File));
    }
}
