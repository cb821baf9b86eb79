//! Files as they lie around on disks.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::export::Weight;
use crate::export::metrics::{Metrics, SinkKind};
use crate::export::sink::{Rotation, Sink, Target};
use crate::observation::Timestamp;

/// A directory that goes away with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kubewitness-files-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn event(id: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"{id}","stage":"ResponseComplete","requestURI":"/pods","verb":"get","requestReceivedTimestamp":"2026-03-04T05:06:07Z","stageTimestamp":"2026-03-04T05:06:07Z","annotations":{{"kubewitness.dev/access":"unauthenticated","kubewitness.dev/node":"node1"}}}}"#
    ) + "\n"
}

fn events(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| event(&id.to_string())).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
}

fn counted(paths: &[PathBuf]) -> (u64, Vec<(&'static str, u64)>) {
    let observed = read_events(paths, |_| ()).unwrap();
    (observed.uses.values().sum(), observed.notes.iter().map(|note| (note.id, note.count)).collect())
}

#[test]
fn a_file_is_unpacked_by_what_it_holds() {
    let folder = Folder::new("packed");
    let (one, two) = (events(0..1000), events(1000..1500));
    let skipped = [&[0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for (name, content, count) in [
        ("plain.gz", one.clone().into_bytes(), 1000),
        ("one.gz", gzip(&one), 1000),
        ("gzip.zst", [gzip(&one), gzip(&two)].concat(), 1500),
        ("one.zst", zstd(&one), 1000),
        ("zstd.log", [zstd(&one), skipped.clone(), zstd(&two)].concat(), 1500),
        ("skipped-first.log", [skipped.clone(), zstd(&two)].concat(), 500),
        ("empty", vec![], 0),
        ("short", b"\n".to_vec(), 0),
    ] {
        assert_eq!(counted(&[folder.file(name, content)]), (count, vec![]), "{name}");
    }
}

#[test]
fn what_a_broken_file_still_tells_is_taken() {
    let folder = Folder::new("broken");
    let text = events(0..20_000);
    for (name, whole) in [("cut.gz", gzip(&text)), ("cut.zst", zstd(&text))] {
        let observed =
            read_events(&[folder.file(name, &whole[..whole.len() * 9 / 10]), folder.file("good.log", events(90_000..90_001))], |_| ());
        let observed = observed.unwrap();
        let count: u64 = observed.uses.values().sum();
        assert!((1..20_001).contains(&count), "{name}: {count}");
        let note = observed.notes.iter().find(|note| note.id == "damaged-file").unwrap();
        assert!(note.text.ends_with(name) && note.count == 1, "{note:?}");
    }
    let mut spoiled = gzip(&text);
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 0xff;
    let (count, notes) = counted(&[folder.file("spoiled.gz", spoiled)]);
    assert!(count < 20_000 && notes.contains(&("damaged-file", 1)), "{count} {notes:?}");
    for head in [&[0x1f, 0x8b][..], &[0x28, 0xb5, 0x2f, 0xfd]] {
        assert_eq!(counted(&[folder.file("head", head)]), (0, vec![("damaged-file", 1)]));
    }
}

#[test]
fn directories_are_read_by_name_and_to_the_bottom() {
    let folder = Folder::new("directory");
    let names = [
        "a.jsonl",
        "b.json",
        "c.log",
        "d/e/f.jsonl.gz",
        "events.jsonl.1",
        "events.jsonl.2.gz",
        "0.log.20260304-050607",
        "g.jsonl-20260304",
    ];
    for (id, name) in names.iter().enumerate() {
        folder.file(name, event(&id.to_string()));
    }
    for other in ["a.txt", "jsonl", "core", "d/README.md", "e.jsonl.swp"] {
        folder.file(other, "not an event");
    }
    symlink(&folder.0, folder.0.join("d/up")).unwrap();
    symlink(folder.0.join("a.jsonl"), folder.0.join("again.log")).unwrap();
    symlink("nowhere", folder.0.join("dangling.log")).unwrap();
    let found = counted(std::slice::from_ref(&folder.0));
    assert_eq!(found, (names.len() as u64, vec![("duplicate", 1), ("unread-file", 1)]));

    let order: Vec<String> = sources(&folder.0).unwrap().iter().map(Source::name).collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted);
}

/// As `kubewitness run --events-max-size` leaves them.
#[test]
fn files_that_an_agent_put_aside_are_read_in_the_order_of_time_and_once() {
    let folder = Folder::new("rotated");
    let metrics = Metrics::new("node1", 1).unwrap().sink(SinkKind::File);
    let target = Target::File(folder.0.join("events.jsonl"), Rotation { max_size: 4000, max_files: 0 });
    let sink = Sink::open(&target, metrics.clone(), Timestamp::default).unwrap();
    for id in 0..500 {
        sink.send(event(&format!("{id:06}")).as_bytes(), Timestamp::default(), Weight::Usual);
    }
    assert!(sink.close(Duration::from_secs(5)));
    let sources = sources(&folder.0).unwrap();
    assert!(sources.len() as u64 == metrics.rotations.rotated.get() + 1 && sources.len() > 20, "{}", sources.len());
    let mut text = String::new();
    for source in sources {
        source.open().unwrap().read_to_string(&mut text).unwrap();
    }
    assert_eq!(text, (0..500).map(|id| event(&format!("{id:06}"))).collect::<String>());
    assert_eq!(counted(std::slice::from_ref(&folder.0)), (500, vec![]));
}

#[test]
fn the_same_file_twice_counts_once() {
    let folder = Folder::new("twice");
    let file = folder.file("a.jsonl", events(0..100));
    let packed = folder.file("a.jsonl.gz", gzip(&events(0..100)));
    assert_eq!(counted(&[file.clone(), file, packed]), (100, vec![("duplicate", 200)]));
}

#[test]
fn what_must_be_acted_on_is_an_error_that_says_so() {
    let folder = Folder::new("errors");
    let missing = folder.0.join("missing.jsonl");
    let good = folder.file("good.jsonl", event("1"));
    let error = read_events(&[good, missing.clone()], |_| ()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read {}: No such file", missing.display())) && error.contains("name files"), "{error}");
    fs::create_dir(folder.0.join("empty")).unwrap();
    let error = read_events(&[folder.0.join("empty")], |_| ()).unwrap_err().to_string();
    assert!(error.contains("empty holds no files *.jsonl"), "{error}");
}

#[test]
fn progress_comes_to_its_end() {
    let folder = Folder::new("progress");
    let (plain, packed) = (folder.file("a.jsonl", events(0..5000)), folder.file("b.gz", gzip(&events(0..5000))));
    let total = [&plain, &packed].map(|path| fs::metadata(path).unwrap().len()).iter().sum();
    let mut told = Vec::new();
    read_events(&[plain, packed], |progress| told.push(progress)).unwrap();
    assert!(told.windows(2).all(|pair| pair[0].done <= pair[1].done));
    assert_eq!(told.last(), Some(&Progress { done: total, total: Some(total) }));
}

#[test]
fn names_cannot_speak_to_the_terminal() {
    let folder = Folder::new("names");
    let file = folder.file("a\u{1b}[2J.log", "not an event");
    let observed = read_events(&[file], |_| ()).unwrap();
    assert!(observed.notes[0].text.ends_with("a\u{fffd}[2J.log:1"), "{:?}", observed.notes);
}
