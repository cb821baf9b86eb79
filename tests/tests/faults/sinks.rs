//! Nobody takes the events, or there is no room for them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    thread,
    time::Duration,
};

use kubewitness_tests::{agent::Agent, books, flood::Flood, scenarios::Bed};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{Form, SEEN_WITHIN};

/// The pipe is blocked for a minute while requests come as fast as they can; then it is read. What was read and what was counted as dropped
/// are all events.
pub(crate) fn blocked_pipe(bed: &Bed, form: Form) {
    let token = bed.identity("blocked", &["get"], &["nodes/proxy"]);
    let (mut agent, pipe) = bed.piped(&["--events", "-"]);
    let blocked = Duration::from_secs(form.of(3, 60));
    let long = "b".repeat(3000);
    let flood = Flood::get(&format!("/healthz?{long}={{n}}")).token(&token).connections(16).lasting(blocked).send(&bed.cluster).unwrap();
    assert_eq!((flood.only(), flood.failed), (Some(200), 0), "{flood:?}");
    let peak = books::peak_memory(agent.pid()).unwrap();
    let reader =
        thread::spawn(move || BufReader::new(pipe).lines().map_while(Result::ok).filter(|line| line.contains("ResponseComplete")).count());
    let settled = |agent: &mut Agent| {
        let told = books::sum(agent, "kubewitness_events_written_total")? + books::sum(agent, "kubewitness_events_dropped_total")?;
        let (seen, unseen) = books::known_requests(agent)?;
        Ok((seen + unseen == flood.answered() && told == seen).then_some((seen, unseen)))
    };
    let (seen, unseen) = agent.until("all is written or counted", SEEN_WITHIN, settled).unwrap();
    let [written, dropped] =
        ["kubewitness_events_written_total", "kubewitness_events_dropped_total"].map(|metric| books::sum(&agent, metric).unwrap());
    agent.stop(Duration::from_secs(5)).unwrap();
    assert_eq!(reader.join().unwrap() as u64, written, "what is counted as written can be read");
    assert!(dropped > 0, "the pipe was not blocked for long enough: {written} written");
    assert!(peak < 64 << 10, "{peak} KiB");
    let note = format!("{seen} requests, {unseen} unseen; {} MiB of memory at most", peak >> 10);
    form.row(&format!("pipe of events blocked for {} s", blocked.as_secs()), flood.answered(), written, dropped + unseen, &note);
}

/// A file system with 4 MiB for the events of a flood.
pub(crate) fn full_disk(bed: &Bed, form: Form) {
    let token = bed.identity("disk", &["get"], &["nodes/proxy"]);
    let disk = bed.folder.join("disk");
    fs::create_dir_all(&disk).unwrap();
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), c"size=4194304").unwrap();
    let _mounted = Unmount(&disk);
    let file = disk.join("events.jsonl");
    let (mut agent, _nothing) = bed.piped(&["--events", file.to_str().unwrap(), "--events-max-files", "0"]);
    let count = form.of(6000, 50_000);
    let flood = Flood::get("/healthz?{n}").token(&token).times(count).send(&bed.cluster).unwrap();
    assert_eq!((flood.only(), flood.answered()), (Some(200), count), "{flood:?}");
    let settled = |agent: &mut Agent| {
        let told = books::sum(agent, "kubewitness_events_written_total")? + books::sum(agent, "kubewitness_events_dropped_total")?;
        Ok((told + books::known_requests(agent)?.1 >= count).then_some(()))
    };
    agent.until("all is written or counted", SEEN_WITHIN, settled).unwrap();
    let [written, dropped] =
        ["kubewitness_events_written_total", "kubewitness_events_dropped_total"].map(|metric| books::sum(&agent, metric).unwrap());
    let unseen = books::known_requests(&agent).unwrap().1;
    let whole = fs::read_to_string(&file).unwrap().lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count() as u64;
    assert_eq!((written + dropped + unseen, whole), (count, written));
    assert!(dropped > 0, "the disk was large enough");
    form.row("disk full: 4 MiB", count, written, dropped + unseen, "each line that is counted as written is whole");
    agent.stop(Duration::from_secs(5)).unwrap();
}

struct Unmount<'a>(&'a std::path::Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}
