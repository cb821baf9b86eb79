//! What is queued comes out again, whatever happens in between.

use std::{
    env,
    io::{BufRead as _, BufReader},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index};

use super::*;

const LIMIT: u64 = 1 << 20;

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("kubewitness-queue-{}-{number}", std::process::id())))
    }

    fn open(&self, limit: u64) -> DiskQueue {
        // The lock of a queue that was dropped is held for a moment by a process that another test starts, until it runs its program.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match DiskQueue::open(&self.0, limit) {
                Err(OpenError::Locked(_)) if Instant::now() < deadline => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    /// The files of records, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "events"));
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = fs::remove_dir_all(&self.0);
    }
}

fn event(number: usize) -> Vec<u8> {
    format!("{{\"number\":{number},\"filler\":\"{}\"}}", "x".repeat(number * 7 % 300)).into_bytes()
}

fn number(event: &[u8]) -> usize {
    let value: serde_json::Value = serde_json::from_slice(event).unwrap();
    value["number"].as_u64().unwrap().try_into().unwrap()
}

fn fill(queue: &mut DiskQueue, numbers: Range<usize>) {
    for number in numbers {
        queue.append(&event(number), Weight::Usual).unwrap();
    }
}

/// Takes all that is there, in batches; the numbers, and how many were told to be lost.
fn drain(queue: &mut DiskQueue) -> (Vec<usize>, u64) {
    let (mut numbers, mut lost) = (Vec::new(), 0);
    loop {
        let peeked = queue.peek(7, 2000);
        lost += peeked.lost.map_or(0, |lost| lost.events);
        if peeked.events.is_empty() {
            return (numbers, lost);
        }
        numbers.extend(peeked.events.iter().map(|event| number(event)));
        if let Err(error) = queue.acknowledge(peeked.events.len()) {
            assert_eq!(error.kind(), io::ErrorKind::IsADirectory, "what a test has put in place of a file cannot be removed as one");
        }
    }
}

#[test]
fn an_older_run_is_gone_on_with() {
    let folder = Folder::new();
    let mut queue = folder.open(LIMIT);
    fill(&mut queue, 0..100);
    assert_eq!(queue.waiting().events, 100);
    assert_eq!(queue.peek(3, 1 << 20).events.len(), 3);
    queue.acknowledge(2).unwrap();
    drop(queue);
    let mut queue = folder.open(LIMIT);
    assert_eq!(queue.waiting().events, 98);
    fill(&mut queue, 100..120);
    assert_eq!(drain(&mut queue), ((2..120).collect(), 0));
    assert_eq!(queue.waiting(), Waiting::default());
    drop(queue);
    let mut queue = folder.open(LIMIT);
    assert_eq!((queue.waiting(), drain(&mut queue)), (Waiting::default(), (vec![], 0)));
}

#[test]
fn files_are_private_few_and_removed() {
    let folder = Folder::new();
    let mut queue = folder.open(LIMIT);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    for round in 0..20 {
        fill(&mut queue, round * 1000..(round + 1) * 1000);
        let files = folder.segments();
        assert!(files.len() > 2 && files.len() <= 6, "{files:?}");
        assert!(files.iter().all(|file| mode(file) == 0o600 && fs::metadata(file).unwrap().size() < LIMIT / SEGMENTS + 400));
        assert_eq!(drain(&mut queue).0.len(), 1000);
        assert_eq!(folder.segments().len(), 1);
    }
    for file in ["lock", ACKNOWLEDGED] {
        assert_eq!(mode(&folder.0.join(file)), 0o600, "{file}");
    }
    assert!(!queue.unsynced().is_empty());
    assert!(queue.unsynced().is_empty(), "once is enough");
}

#[test]
fn when_it_is_full_the_oldest_stay() {
    let folder = Folder::new();
    let mut queue = folder.open(20_000);
    let appended = (0..300).take_while(|number| queue.append(&event(*number), Weight::Usual).is_ok()).count();
    assert!((80..200).contains(&appended), "{appended}");
    let alarms = (appended..300).take_while(|number| queue.append(&event(*number), Weight::Alarm).is_ok()).count();
    assert!((5..30).contains(&alarms), "{alarms}");
    assert!(matches!(queue.append(&event(299), Weight::Alarm), Err(AppendError::Full { limit: 20_000 })));
    assert!(queue.used() <= 20_000);
    // Room comes with the file that is done with.
    assert_eq!(queue.peek(40, 1 << 20).events.len(), 40);
    queue.acknowledge(40).unwrap();
    queue.append(&event(1000), Weight::Usual).unwrap();
    let expected: Vec<_> = (40..appended + alarms).chain([1000]).collect();
    assert_eq!(drain(&mut queue), (expected, 0));
}

#[test]
fn a_second_agent_is_told_what_to_do() {
    let folder = Folder::new();
    let _first = folder.open(LIMIT);
    let error = DiskQueue::open(&folder.0, LIMIT).unwrap_err().to_string();
    assert!(error.contains("another process uses the queue") && error.contains("--audit-webhook-queue"), "{error}");
    let error = DiskQueue::open(Path::new("/dev/null/queue"), LIMIT).unwrap_err().to_string();
    assert!(error.starts_with("/dev/null/queue: ") && error.contains("may write to"), "{error}");
}

#[test]
fn a_full_disk_costs_the_event_that_finds_no_room() {
    let folder = Folder::new();
    let mut queue = folder.open(LIMIT);
    let full = || Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for begun in [0, 5] {
        fill(&mut queue, begun..begun + 2);
        queue.writer = full();
        assert!(matches!(queue.append(&event(99), Weight::Alarm), Err(AppendError::Disk(_))));
        // Not even the half that was written can be taken away: another file is begun, and its first record fails as well.
        assert!(queue.writer.is_none());
        queue.begin_segment().unwrap();
        queue.writer = full();
        assert!(queue.append(&event(99), Weight::Alarm).is_err());
        fill(&mut queue, begun + 2..begun + 5);
    }
    assert_eq!(queue.waiting().events, 10);
    drop(queue);
    assert_eq!(drain(&mut folder.open(LIMIT)), ((0..10).collect(), 0));
}

/// A queue of some files, closed.
fn filled(count: usize) -> Folder {
    let folder = Folder::new();
    fill(&mut folder.open(LIMIT / 16), 0..count);
    assert!(folder.segments().len() > 5);
    folder
}

#[test]
fn damage_is_skipped_and_counted() {
    type Damage = fn(&Path);
    let flip: Damage = |file| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        // Neither a newline nor what becomes one.
        bytes[middle] ^= 0x40;
        fs::write(file, bytes).unwrap();
    };
    let cut: Damage = |file| File::options().write(true).open(file).unwrap().set_len(1000).unwrap();
    let remove: Damage = |file| fs::remove_file(file).unwrap();
    let garble: Damage = |file| fs::write(file, vec![b'\n'; 3000]).unwrap();
    let blank: Damage = |file| fs::write(file, vec![0; 3000]).unwrap();
    let folder_in_its_place: Damage = |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    };
    for (name, damage, open_before) in [
        ("flip", flip, false),
        ("cut", cut, false),
        ("remove", remove, false),
        ("garble", garble, false),
        ("blank", blank, false),
        ("remove while it is open", remove, true),
        ("cut while it is open", cut, true),
        ("a folder", folder_in_its_place, true),
    ] {
        let folder = filled(300);
        let open = || folder.open(LIMIT / 16);
        let early = open_before.then(open);
        damage(&folder.segments()[2]);
        let mut queue = early.unwrap_or_else(open);
        // What is looked at again is not told again.
        let mut lost = 0;
        for _ in 0..2 {
            lost += queue.peek(300, 1 << 20).lost.map_or(0, |lost| lost.events);
        }
        let (numbers, more) = drain(&mut queue);
        lost += more;
        assert!(numbers.is_sorted() && numbers.len() > 230 && numbers.len() < 300, "{name}: {}", numbers.len());
        // Newlines that are nobody's stand for records that were none.
        let told = if name == "garble" { lost >= 300 - numbers.len() as u64 } else { lost == 300 - numbers.len() as u64 };
        assert!(told, "{name}: {lost} lost, {} there", numbers.len());
        assert_eq!(queue.waiting(), Waiting::default(), "{name}");
        fill(&mut queue, 300..310);
        assert_eq!(drain(&mut queue), ((300..310).collect(), 0), "{name}");
    }
}

#[test]
fn a_stale_or_broken_mark_repeats_and_loses_nothing() {
    for content in ["", "nonsense\n", "00000000 1 2 3\n"] {
        let folder = filled(300);
        let mut queue = folder.open(LIMIT / 16);
        queue.peek(10, 1 << 20);
        queue.acknowledge(10).unwrap();
        drop(queue);
        fs::write(folder.0.join(ACKNOWLEDGED), content).unwrap();
        assert_eq!(drain(&mut folder.open(LIMIT / 16)), ((0..300).collect(), 0));
    }
}

/// What happens to a queue.
#[derive(Clone, Debug)]
enum Deed {
    Append(usize),
    /// Looks at so many, and takes away a part of them.
    Take(usize, Index),
    /// The agent ends, at any moment.
    Kill,
    /// It is killed while it writes a record; the part of it that is in the file.
    KillWriting(Index),
    /// It is killed before the mark is replaced: an older one is there.
    KillMarking,
    /// The machine loses power: the end of the last file is missing.
    PowerCut(Index),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (1_usize..30).prop_map(Deed::Append),
        4 => (1_usize..40, any::<Index>()).prop_map(|(count, part)| Deed::Take(count, part)),
        1 => Just(Deed::Kill),
        1 => any::<Index>().prop_map(Deed::KillWriting),
        1 => Just(Deed::KillMarking),
        1 => any::<Index>().prop_map(Deed::PowerCut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// Everything that was appended comes out, in order, at least once, until it is acknowledged; a power cut takes the end and no more.
    #[test]
    fn whatever_happens(deeds in proptest::collection::vec(deed(), 1..50)) {
        let limit = 60_000;
        let folder = Folder::new();
        let mut queue = folder.open(limit);
        let mark = folder.0.join(ACKNOWLEDGED);
        // The numbers that are in the queue, and may be; the first of them that must still come; the mark before the last one.
        let (mut there, mut next, mut due) = (Vec::<usize>::new(), 0, 0);
        let (mut older, mut older_due, mut cut_off) = (None, 0, false);
        for deed in deeds {
            match deed {
                Deed::Append(count) => for _ in 0..count {
                    if queue.append(&event(next), Weight::Usual).is_ok() {
                        there.push(next);
                    }
                    next += 1;
                    prop_assert!(queue.used() <= limit);
                },
                Deed::Take(count, part) => {
                    let peeked = queue.peek(count, 4000);
                    prop_assert_eq!(&peeked.lost, &None);
                    let seen: Vec<_> = peeked.events.iter().map(|event| number(event)).collect();
                    let expected: Vec<_> = there.iter().copied().filter(|number| *number >= due).take(seen.len()).collect();
                    prop_assert_eq!(&seen, &expected);
                    prop_assert!(!seen.is_empty() || there.iter().all(|number| *number < due), "something waits and is not seen");
                    if !seen.is_empty() {
                        let taken = part.index(seen.len()) + 1;
                        (older, older_due) = (fs::read(&mark).ok(), due);
                        queue.acknowledge(taken).unwrap();
                        due = seen[taken - 1] + 1;
                    }
                }
                Deed::Kill => {
                    drop(queue);
                    queue = folder.open(limit);
                }
                Deed::KillWriting(cut) => {
                    drop(queue);
                    if let Some(last) = folder.segments().last() {
                        let mut bytes = Vec::new();
                        record::encode(&event(next), &mut bytes);
                        let part = &bytes[..cut.index(bytes.len())];
                        OpenOptions::new().append(true).open(last).unwrap().write_all(part).unwrap();
                    }
                    queue = folder.open(limit);
                }
                // A mark from before a power cut tells of what is gone, and was delivered, as lost.
                Deed::KillMarking if cut_off => {}
                Deed::KillMarking => {
                    drop(queue);
                    match &older {
                        Some(bytes) => fs::write(&mark, bytes).unwrap(),
                        None => { let _absent = fs::remove_file(&mark); }
                    }
                    queue = folder.open(limit);
                    // What was removed with its file does not come again.
                    let again = queue.peek(1, 1).events.first().map(|event| number(event));
                    due = again.unwrap_or(due).clamp(older_due.min(due), due);
                    older = None;
                    older_due = due;
                    if mark.exists() {
                        older = fs::read(&mark).ok();
                    }
                }
                Deed::PowerCut(cut) => {
                    drop(queue);
                    cut_off = true;
                    if let Some(last) = folder.segments().last() {
                        let bytes = fs::read(last).unwrap();
                        let kept = cut.index(bytes.len() + 1);
                        let gone = memchr::memchr_iter(b'\n', &bytes[kept..]).count();
                        there.truncate(there.len() - gone);
                        OpenOptions::new().write(true).open(last).unwrap().set_len(kept as u64).unwrap();
                    }
                    queue = folder.open(limit);
                }
            }
        }
        let (rest, lost) = drain(&mut queue);
        prop_assert_eq!(lost, 0);
        prop_assert_eq!(rest, there.into_iter().filter(|number| *number >= due).collect::<Vec<_>>());
    }
}

/// The other side of the next test: a process that appends and says so, as fast as it can.
#[test]
#[ignore = "is run by a_kill_loses_nothing_that_was_appended"]
fn appends_until_it_is_killed() {
    let folder = PathBuf::from(env::var_os("KUBEWITNESS_TEST_QUEUE").expect("the folder is named"));
    let mut queue = DiskQueue::open(&folder, 64 << 20).unwrap();
    loop {
        let number = queue.next.try_into().unwrap();
        queue.append(&event(number), Weight::Usual).unwrap();
        println!("appended {number}");
    }
}

#[test]
fn a_kill_loses_nothing_that_was_appended() {
    let folder = Folder::new();
    let mut appended = 0;
    for round in 0..8 {
        let name = format!("{}::appends_until_it_is_killed", module_path!().split_once("::").unwrap().1);
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", &name, "--ignored", "--nocapture"])
            .env("KUBEWITNESS_TEST_QUEUE", &folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let begun = Instant::now();
        let mut last = None;
        for line in &mut lines {
            last = line.strip_prefix("appended ").and_then(|number| number.parse::<usize>().ok()).or(last);
            if last.is_some() && begun.elapsed() > Duration::from_millis(20 + 17 * round) {
                break;
            }
        }
        child.kill().unwrap();
        // What it said before it was killed is still in the pipe.
        last = lines.filter_map(|line| line.strip_prefix("appended ")?.parse().ok()).last().or(last);
        child.wait().unwrap();
        appended = last.unwrap() + 1;
    }
    assert!(appended > 100, "{appended} is no load");
    let (numbers, lost) = drain(&mut folder.open(64 << 20));
    assert_eq!(lost, 0);
    // The last one may be there without that it was said.
    assert!(numbers.len() == appended || numbers.len() == appended + 1, "{} of {appended}", numbers.len());
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
}

/// Prints how long it takes.
#[test]
#[ignore = "writes 232 MB"]
fn an_hour_of_events_has_room() {
    const SECOND: usize = 43;
    let folder = Folder::new();
    let mut queue = folder.open(256 << 20);
    let event = vec![b'x'; 1536 - record::OVERHEAD];
    let begun = Instant::now();
    for _ in 0..SECOND * 3600 {
        queue.append(&event, Weight::Usual).unwrap();
    }
    let appended = begun.elapsed();
    drop(queue);
    let begun = Instant::now();
    let mut queue = folder.open(256 << 20);
    let opened = begun.elapsed();
    assert_eq!(queue.waiting().events, SECOND as u64 * 3600);
    while queue.waiting().events > 0 {
        let there = queue.peek(400, 1_000_000).events.len();
        queue.acknowledge(there).unwrap();
    }
    println!("appended in {appended:.1?}, opened in {opened:.1?}, taken out in {:.1?}", begun.elapsed());
}
