//! On real sockets.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::*;
use crate::export::metrics::Metrics;

/// A folder of its own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kubewitness-watchers-{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn watchers() -> (Watchers, WatchMetrics) {
    let metrics = Metrics::new("node1", 10).unwrap().watch();
    (Watchers::new(metrics.clone()), metrics)
}

fn tell() -> Tell {
    Arc::new(|| Status {
        node: "node1".to_owned(),
        version: "0".to_owned(),
        state: State::Attached,
        says: "kubelet v1.36.3".to_owned(),
        records_lost: 0,
        requests_unseen: 0,
    })
}

fn lines(stream: UnixStream) -> impl Iterator<Item = String> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    BufReader::new(stream).lines().map(Result::unwrap)
}

/// What is no status.
fn events(stream: UnixStream) -> impl Iterator<Item = String> {
    lines(stream).filter(|line| !matches!(Notice::read(line.as_bytes()), Some(Notice::Status(_))))
}

fn until(mut what: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn each_watcher_gets_how_the_agent_is_and_what_comes_after_it() {
    let folder = Folder::new("each");
    let path = folder.path("watch.sock");
    let (watchers, metrics) = watchers();
    let served = watchers.serve(Socket::open(&path).unwrap(), tell()).unwrap();
    watchers.send(b"nobody sees it\n", Weight::Alarm);
    let mut first = lines(UnixStream::connect(&path).unwrap());
    assert_eq!(Notice::read(first.next().unwrap().as_bytes()), Some(Notice::Status(tell()())));
    watchers.send(b"1\n", Weight::Usual);
    let second = UnixStream::connect(&path).unwrap();
    until(|| metrics.watching.get() == 2);
    watchers.send(b"2\n", Weight::Usual);
    watchers.flush();
    assert_eq!(first.by_ref().take(2).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(events(second).next().unwrap(), "2");
    // An alarm waits for nothing.
    watchers.send(b"alarm\n", Weight::Alarm);
    assert_eq!(first.next().unwrap(), "alarm");
    drop(first);
    // Who is gone is noticed without an event.
    until(|| !watchers.is_watched());
    assert_eq!((metrics.watching.get(), metrics.lost.get()), (0, 0));
    drop(served);
    assert!(!path.exists());
}

#[test]
fn who_reads_slowly_is_told_what_they_miss_and_holds_nobody_up() {
    const LINES: usize = 40_000;
    let (watchers, metrics) = watchers();
    let (slow, theirs) = UnixStream::pair().unwrap();
    watchers.admit(theirs, &tell()).unwrap();
    let line = |number: usize| format!("{number} {}\n", "x".repeat(500));
    let begun = Instant::now();
    for number in 0..LINES {
        watchers.send(line(number).as_bytes(), Weight::Usual);
    }
    watchers.flush();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let reader = thread::spawn(move || {
        let (mut got, mut lost, mut next) = (0, 0, 0);
        for line in events(slow) {
            if let Some(Notice::Lost { events }) = Notice::read(line.as_bytes()) {
                lost += events;
                next += events;
            } else {
                let number: u64 = line.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(number, next, "what is missing is told where it is missing");
                (got, next) = (got + 1, next + 1);
            }
        }
        (got, lost)
    });
    watchers.close(Duration::from_secs(10));
    let (got, lost) = reader.join().unwrap();
    assert_eq!(got + lost, LINES as u64);
    assert!(got > 0 && lost > 0, "{got} read, {lost} lost");
    assert_eq!(metrics.lost.get(), lost);
}

#[test]
fn who_does_not_read_at_all_is_let_go() {
    let metrics = Metrics::new("node1", 10).unwrap().watch();
    let watchers = Watchers::with_patience(metrics.clone(), Duration::from_millis(100));
    let (unread, theirs) = UnixStream::pair().unwrap();
    watchers.admit(theirs, &tell()).unwrap();
    (0..2000).for_each(|_| watchers.send(&[b'x'; 1000], Weight::Usual));
    watchers.flush();
    until(|| metrics.watching.get() == 0);
    assert!(!watchers.is_watched());
    drop(unread);
}

#[test]
fn the_end_of_the_agent_waits_for_nobody() {
    let (watchers, _) = watchers();
    let (unread, theirs) = UnixStream::pair().unwrap();
    watchers.admit(theirs, &tell()).unwrap();
    (0..2000).for_each(|_| watchers.send(&[b'x'; 1000], Weight::Usual));
    let begun = Instant::now();
    watchers.close(Duration::from_millis(50));
    assert!(begun.elapsed() < Duration::from_secs(2));
    drop(unread);
}

#[test]
fn there_is_room_for_a_few() {
    let folder = Folder::new("few");
    let path = folder.path("watch.sock");
    let (watchers, metrics) = watchers();
    let _served = watchers.serve(Socket::open(&path).unwrap(), tell()).unwrap();
    let mut all: Vec<_> = (0..MOST).map(|_| UnixStream::connect(&path).unwrap()).collect();
    until(|| usize::try_from(metrics.watching.get()) == Ok(MOST));
    let refused = lines(UnixStream::connect(&path).unwrap()).next().unwrap();
    assert!(matches!(Notice::read(refused.as_bytes()), Some(Notice::Refused { .. })), "{refused}");
    all.pop();
    until(|| usize::try_from(metrics.watching.get()) == Ok(MOST - 1));
    let next = lines(UnixStream::connect(&path).unwrap()).next().unwrap();
    assert!(matches!(Notice::read(next.as_bytes()), Some(Notice::Status(_))), "{next}");
}

#[test]
fn the_socket_is_for_its_owner_alone_and_replaces_what_a_killed_agent_left() {
    let folder = Folder::new("owner");
    let path = folder.path("run/watch.sock");
    let socket = Socket::open(&path).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert!(matches!(Socket::open(&path), Err(SocketError::Taken(taken)) if taken == path));
    drop(socket);
    assert!(!path.exists());
    // A killed agent leaves a name to which nobody listens, and perhaps the one before.
    drop(UnixListener::bind(&path).unwrap());
    drop(UnixListener::bind(folder.path("run/watch.sock.new")).unwrap());
    assert!(UnixStream::connect(&path).is_err());
    let (watchers, _) = watchers();
    let _served = watchers.serve(Socket::open(&path).unwrap(), tell()).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn nothing_of_others_is_replaced_or_relied_upon() {
    let folder = Folder::new("others");
    let file = folder.path("file");
    fs::write(&file, "kept").unwrap();
    assert!(matches!(Socket::open(&file), Err(SocketError::NoSocket(_))));
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    assert!(matches!(Socket::open(&folder.path("a/b/watch.sock")), Err(SocketError::System { what: "making", .. })));
    for (others, holds, expected) in [
        // A new volume of Kubernetes.
        (0o777, false, Ok(0o700)),
        (0o755, false, Ok(0o700)),
        // As /run is.
        (0o755, true, Ok(0o755)),
        (0o777, true, Err(())),
        (0o1777, true, Err(())),
        (0o770, true, Err(())),
    ] {
        let shown = format!("{others:o}, holds something: {holds}");
        let directory = folder.path("directory");
        fs::create_dir(&directory).unwrap();
        if holds {
            fs::write(directory.join("something"), "").unwrap();
        }
        fs::set_permissions(&directory, Permissions::from_mode(others)).unwrap();
        let opened = Socket::open(&directory.join("watch.sock"));
        match opened {
            Ok(socket) => {
                assert_eq!(Ok(mode(&directory)), expected, "{shown}");
                drop(socket);
            }
            Err(SocketError::Open(_)) => assert_eq!(Err(()), expected, "{shown}"),
            Err(error) => panic!("{shown}: {error}"),
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn who_is_at_the_other_end_is_known() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    assert!(is_trusted(&ours));
    refuse(ours, "no");
    let mut said = String::new();
    theirs.read_to_string(&mut said).unwrap();
    assert_eq!(Notice::read(said.trim().as_bytes()), Some(Notice::Refused { reason: "no".to_owned() }));
}
