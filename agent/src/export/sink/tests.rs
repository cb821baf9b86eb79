//! Sinks with their threads, on real files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::*;
use crate::export::metrics::Metrics;

const NEVER: Rotation = Rotation { max_size: 0, max_files: 0 };

/// A directory that goes away with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kubewitness-sink-{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    /// All files, in the order of their names, with what is in them.
    fn files(&self) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
    }

    /// What is in them, one after the other.
    fn text(&self) -> String {
        self.files().into_iter().map(|(_, text)| text).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn metrics() -> SinkMetrics {
    Metrics::new("node1", 1).unwrap().sink(SinkKind::File)
}

fn counted(metrics: &SinkMetrics) -> (u64, u64) {
    (metrics.written.get(), metrics.dropped.get())
}

fn rotations(metrics: &SinkMetrics) -> (u64, u64) {
    (metrics.rotations.rotated.get(), metrics.rotations.failed.get())
}

fn opened(file: &Path, rotation: Rotation, metrics: &SinkMetrics) -> Sink {
    Sink::open(&Target::File(file.to_owned(), rotation), metrics.clone(), Timestamp::default).unwrap()
}

/// Lines with the numbers of a range.
fn numbers(of: std::ops::Range<u32>) -> Vec<String> {
    of.map(|number| format!("{{\"number\":{number:06}}}\n")).collect()
}

fn send(sink: &Sink, lines: &[String]) {
    for line in lines {
        sink.send(line.as_bytes(), Timestamp::default(), Weight::Usual);
    }
    sink.flush();
}

/// Waits until the sink has handled so many lines.
fn settle(metrics: &SinkMetrics, lines: u64) {
    let start = Instant::now();
    while metrics.written.get() + metrics.dropped.get() < lines {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", counted(metrics));
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn events_are_written_and_counted() {
    let folder = Folder::new("written");
    fs::write(folder.file(), "half a li").unwrap();
    let metrics = metrics();
    let sink = Sink::open(&Target::File(folder.file(), NEVER), metrics.clone(), || Timestamp(5_000_000)).unwrap();
    for n in 0..100 {
        sink.send(format!("{n}\n").as_bytes(), Timestamp(1_000_000), Weight::Usual);
    }
    assert!(sink.close(Duration::from_secs(5)));
    let expected: String = std::iter::once("half a li\n".to_owned()).chain((0..100).map(|n| format!("{n}\n"))).collect();
    assert_eq!(folder.text(), expected);
    assert_eq!(counted(&metrics), (100, 0));
    assert_eq!(metrics.latency.get_sample_count(), 100);
    assert!((metrics.latency.get_sample_sum() - 0.4).abs() < 1e-9);
}

#[test]
fn a_full_disk_costs_events_and_nothing_else() {
    let metrics = metrics();
    let sink = opened(Path::new("/dev/full"), Rotation { max_size: 1, max_files: 2 }, &metrics);
    send(&sink, &numbers(0..50));
    sink.renewer().renew();
    assert!(sink.close(Duration::from_secs(5)));
    assert_eq!((counted(&metrics), rotations(&metrics)), ((0, 50), (0, 0)));
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
    impl Place for Hangs {
        type Out = Self;

        fn open(&mut self) -> io::Result<Opened<Self>> {
            Ok(Opened { out: Self, broken_line: None })
        }

        fn prepare(&mut self, _: &Self, _: usize, _: Instant) -> (Option<Opened<Self>>, usize) {
            (None, usize::MAX)
        }

        fn is_renewed(&self, _: &Self) -> bool {
            false
        }
    }
    let metrics = metrics();
    let sink = Sink::start("test".into(), Hangs, metrics.clone(), Timestamp::default).unwrap();
    let sent = queue::LINES as u64 + 100;
    for _ in 0..sent {
        sink.send(b"{}\n", Timestamp::default(), Weight::Usual);
    }
    // Nothing waits for a renewal either.
    sink.renewer().renew();
    let start = Instant::now();
    assert!(!sink.close(Duration::from_millis(50)));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(counted(&metrics), (0, sent));
}

#[test]
fn a_target_that_cannot_be_opened_says_what_to_do() {
    let target = Target::parse("/nonexistent/events.jsonl", NEVER);
    let error = Sink::open(&target, metrics(), Timestamp::default).err().unwrap().to_string();
    assert!(error.starts_with("cannot open /nonexistent/events.jsonl for events: "), "{error}");
    assert_eq!((Target::parse("-", NEVER), target.kind()), (Target::Stdout, SinkKind::File));
}

#[test]
fn full_files_are_put_aside_whole_and_nothing_is_lost() {
    let folder = Folder::new("rotation");
    let (metrics, lines) = (metrics(), numbers(0..1000));
    let sink = opened(&folder.file(), Rotation { max_size: 500, max_files: 0 }, &metrics);
    send(&sink, &lines);
    assert!(sink.close(Duration::from_secs(5)));
    assert_eq!(folder.text(), lines.concat(), "in the order of the names it is the order of time");
    let files = folder.files();
    // Each holds as many whole lines as there is room for.
    let each = 500 / lines[0].len();
    assert_eq!(files.len(), 1000_usize.div_ceil(each));
    for (name, text) in &files[..files.len() - 1] {
        assert_eq!(text.len(), each * lines[0].len(), "{name}");
    }
    assert_eq!(files.last().unwrap().0, "events.jsonl");
    for (name, _) in &files {
        assert_eq!(fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!((counted(&metrics), rotations(&metrics)), ((1000, 0), (files.len() as u64 - 1, 0)));
}

#[test]
fn only_so_many_files_are_kept_and_no_other_is_touched() {
    let folder = Folder::new("kept");
    for other in ["events.jsonl.1", "events-2026.jsonl", "events-1990-01-01T00-00-00.000.jsonl.gz", "other-1990-01-01T00-00-00.000.jsonl"] {
        fs::write(folder.0.join(other), "other\n").unwrap();
    }
    // One that an earlier agent left, and one too many, since it was killed before it could remove it.
    for old in ["events-1990-01-01T00-00-00.000.jsonl", "events-1990-01-01T00-00-00.001.jsonl"] {
        fs::write(folder.0.join(old), "old\n").unwrap();
    }
    let (metrics, lines) = (metrics(), numbers(0..100));
    let sink = opened(&folder.file(), Rotation { max_size: 200, max_files: 3 }, &metrics);
    send(&sink, &lines);
    assert!(sink.close(Duration::from_secs(5)));
    let (others, own): (Vec<_>, Vec<_>) = folder.files().into_iter().partition(|(_, text)| text == "other\n");
    assert_eq!((others.len(), own.len()), (4, 3));
    let kept: String = own.into_iter().map(|(_, text)| text).collect();
    assert!(lines.concat().ends_with(&kept) && kept.len() > 400, "the newest are kept: {kept}");
    // All that were put aside but two, and the two old ones.
    assert_eq!(metrics.rotations.removed.get(), metrics.rotations.rotated.get());
}

#[test]
fn a_line_that_is_longer_than_a_file_has_one_of_its_own() {
    let folder = Folder::new("long");
    let long = format!("{}\n", "x".repeat(1000));
    let lines = ["a\n".to_owned(), long.clone(), long, "b\n".to_owned()];
    let sink = opened(&folder.file(), Rotation { max_size: 100, max_files: 0 }, &metrics());
    send(&sink, &lines);
    assert!(sink.close(Duration::from_secs(5)));
    let texts: Vec<_> = folder.files().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, lines);
}

#[test]
fn a_file_that_cannot_be_put_aside_goes_on_to_be_written() {
    let folder = Folder::new("stuck");
    // A name that leaves no room for a time.
    let file = folder.0.join(format!("{}.jsonl", "e".repeat(240)));
    let (metrics, lines) = (metrics(), numbers(0..100));
    let sink = opened(&file, Rotation { max_size: 100, max_files: 2 }, &metrics);
    send(&sink, &lines);
    assert!(sink.close(Duration::from_secs(5)));
    assert_eq!(folder.text(), lines.concat());
    assert_eq!((counted(&metrics), rotations(&metrics)), ((100, 0), (0, 1)), "it is not tried for each line");
}

#[test]
fn what_a_killed_agent_left_is_taken_up() {
    let lines = numbers(0..20);
    // Killed after the rename, and before there was a new file; in the middle of a line; at the very end of a full file.
    for (left, first) in [(None, ""), (Some("{\"numb"), "{\"numb\n"), (Some(&*lines[..5].concat()), &*lines[..5].concat())] {
        let folder = Folder::new("killed");
        fs::write(folder.0.join("events-1990-01-01T00-00-00.000.jsonl"), "old\n").unwrap();
        if let Some(left) = left {
            fs::write(folder.file(), left).unwrap();
        }
        let sink = opened(&folder.file(), Rotation { max_size: 100, max_files: 0 }, &metrics());
        send(&sink, &lines[5..]);
        assert!(sink.close(Duration::from_secs(5)));
        assert_eq!(folder.text(), format!("old\n{first}{}", lines[5..].concat()));
    }
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_when_told() {
    let folder = Folder::new("moved");
    let (metrics, lines) = (metrics(), numbers(0..40));
    let sink = opened(&folder.file(), NEVER, &metrics);
    send(&sink, &lines[..10]);
    settle(&metrics, 10);
    fs::rename(folder.file(), folder.0.join("aside.jsonl")).unwrap();
    send(&sink, &lines[10..20]);
    settle(&metrics, 20);
    assert!(!folder.file().exists(), "until it is told it writes to what was moved");
    sink.renewer().renew();
    // At once, not with the next event, which may be hours away.
    let start = Instant::now();
    while !folder.file().exists() {
        assert!(start.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(1));
    }
    send(&sink, &lines[20..30]);
    settle(&metrics, 30);
    // The directory is gone: what is open goes on to be written.
    let elsewhere = folder.0.with_extension("elsewhere");
    fs::rename(&folder.0, &elsewhere).unwrap();
    sink.renewer().renew();
    send(&sink, &lines[30..]);
    assert!(sink.close(Duration::from_secs(5)));
    fs::rename(&elsewhere, &folder.0).unwrap();
    assert_eq!(folder.files(), [("aside.jsonl".into(), lines[..20].concat()), ("events.jsonl".into(), lines[20..].concat())]);
    assert_eq!(counted(&metrics), (40, 0));
}

#[test]
fn nothing_is_lost_while_it_is_moved_and_told_again_and_again() {
    let folder = Folder::new("hectic");
    let (metrics, lines) = (metrics(), numbers(0..5000));
    let sink = opened(&folder.file(), Rotation { max_size: 2000, max_files: 0 }, &metrics);
    let renewer = sink.renewer();
    for (round, lines) in lines.chunks(100).enumerate() {
        send(&sink, lines);
        let _not_there = fs::rename(folder.file(), folder.0.join(format!("aside-{round:03}.jsonl")));
        renewer.renew();
    }
    assert!(sink.close(Duration::from_secs(5)));
    renewer.renew();
    let mut written: Vec<_> = folder.text().lines().map(|line| format!("{line}\n")).collect();
    written.sort();
    assert_eq!(written, lines);
    assert_eq!(counted(&metrics), (5000, 0));
}

#[test]
fn a_file_that_was_emptied_is_not_full() {
    let folder = Folder::new("emptied");
    let (metrics, lines) = (metrics(), numbers(0..10));
    let sink = opened(&folder.file(), Rotation { max_size: 150, max_files: 2 }, &metrics);
    send(&sink, &lines[..7]);
    settle(&metrics, 7);
    // As logrotate's `copytruncate` does.
    fs::File::options().write(true).open(folder.file()).unwrap().set_len(0).unwrap();
    send(&sink, &lines[7..]);
    assert!(sink.close(Duration::from_secs(5)));
    assert_eq!(folder.files(), [("events.jsonl".into(), lines[7..].concat())]);
    assert_eq!(rotations(&metrics), (0, 0));
}

#[test]
fn a_file_that_somebody_else_put_aside_is_not_renamed_again() {
    let folder = Folder::new("other");
    let (metrics, lines) = (metrics(), numbers(0..20));
    let sink = opened(&folder.file(), Rotation { max_size: 150, max_files: 0 }, &metrics);
    send(&sink, &lines[..7]);
    settle(&metrics, 7);
    fs::rename(folder.file(), folder.0.join("aside.jsonl")).unwrap();
    fs::write(folder.file(), "").unwrap();
    let created = fs::metadata(folder.file()).unwrap().ino();
    send(&sink, &lines[7..8]);
    settle(&metrics, 8);
    assert_eq!(fs::metadata(folder.file()).unwrap().ino(), created);
    send(&sink, &lines[8..]);
    assert!(sink.close(Duration::from_secs(5)));
    assert_eq!(folder.text(), lines.concat());
}

#[test]
fn a_pipe_is_left_as_it_is() {
    let folder = Folder::new("pipe");
    let pipe = folder.0.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let reading = pipe.clone();
    let reader = thread::spawn(move || fs::read_to_string(reading).unwrap());
    let lines = numbers(0..10);
    let sink = opened(&pipe, Rotation { max_size: 10, max_files: 2 }, &metrics());
    send(&sink, &lines[..5]);
    sink.renewer().renew();
    send(&sink, &lines[5..]);
    assert!(sink.close(Duration::from_secs(5)));
    assert_eq!(reader.join().unwrap(), lines.concat());
}
