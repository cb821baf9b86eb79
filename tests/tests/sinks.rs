//! Events that cannot be written are counted, each of them, and cost nothing else.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use kubewitness_tests::{
    agent::Agent,
    call::Call,
    cluster::{Options, Token},
    scenarios::{Bed, completed, figure, play},
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Bytes of the small disk: some fifty events.
const ROOM: &str = "size=65536";
/// The agent tries a failed sink again every second.
const RETRY: Duration = Duration::from_millis(1200);

#[test]
fn sinks() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sinks");
    let options = Options::named("t-sinks");
    play(
        &options,
        &folder,
        &[("a full disk costs events and nothing else", full_disk), ("a closed pipe costs events and nothing else", closed_pipe)],
    );
}

fn full_disk(bed: &Bed) {
    const SENT: u32 = 300;
    let token = bed.identity("disk", &["get"], &["nodes/proxy"]);
    let disk = SmallDisk::mount(bed.folder.join("disk"));
    let mut agent = agent_with_events(bed, &disk.folder.join("events.jsonl").display().to_string(), Stdio::null());
    send(bed, &token, "fill", SENT);
    let (written, dropped) = settled(&mut agent, "file", SENT);
    assert!(written > 10, "there was room for some: {written}");
    assert!(dropped > 10, "there was no room for all: {dropped}");
    assert_eq!(count(&whole_lines(&disk), "fill"), written, "what is counted as written is on the disk");
    assert_eq!(said(&agent, "cannot write events"), 1, "{}", agent.log());

    // Half an event may be left at the end; the next one begins on a line of its own.
    disk.grow();
    thread::sleep(RETRY);
    send(bed, &token, "again", 20);
    let (again, lost) = settled(&mut agent, "file", SENT + 20);
    assert_eq!((again, lost), (written + 20, dropped), "everything is written again");
    let lines = whole_lines(&disk);
    assert_eq!((count(&lines, "fill"), count(&lines, "again")), (written, 20));
    assert!(lines.iter().all(|line| !line.is_empty()), "no empty lines");
    let broken = lines.iter().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).count();
    assert!(broken <= 1, "{broken} lines are broken by one burst");
    assert_eq!(said(&agent, &format!("{dropped} were dropped")), 1, "{}", agent.log());
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());
}

fn closed_pipe(bed: &Bed) {
    let token = bed.identity("pipe", &["get"], &["nodes/proxy"]);
    let mut command = command(bed, "-");
    let mut child = command.1.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let reader = BufReader::new(child.stdout.take().unwrap());
    let mut agent = ready(Agent::started(child, bed.cluster.network_namespace(), command.0));
    send(bed, &token, "read", 10);
    let lines: Vec<_> = reader.lines().take(10).map(Result::unwrap).collect();
    // `take` dropped the reader: nobody reads any more.
    assert_eq!(count(&lines, "read"), 10);
    send(bed, &token, "unread", 50);
    assert_eq!(settled(&mut agent, "stdout", 60), (10, 50));
    assert_eq!(said(&agent, "cannot write events to standard output"), 1, "{}", agent.log());
    assert!(agent.fetch("/readyz").unwrap().starts_with("attached"));
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());
}

/// An agent whose log is not where its events are.
fn agent_with_events(bed: &Bed, events: &str, stdout: Stdio) -> Agent {
    let (folder, mut command) = command(bed, events);
    let child = command.stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
    ready(Agent::started(child, bed.cluster.network_namespace(), folder))
}

fn command(bed: &Bed, events: &str) -> (PathBuf, std::process::Command) {
    let options = bed.agent_options(&[]);
    fs::create_dir_all(&options.folder).unwrap();
    let log = fs::File::create(options.folder.join("agent.log")).unwrap();
    let mut command = bed.cluster.command(&options.binary);
    command.args(["run", "--node-name", "node1", "--rbac", "off", "--events", events]).stderr(log);
    (options.folder, command)
}

fn ready(mut agent: Agent) -> Agent {
    agent
        .until("the agent watches the kubelet", Duration::from_secs(30), |agent| {
            Ok(agent.fetch("/readyz").ok().filter(|page| page.starts_with("attached")))
        })
        .unwrap();
    agent
}

fn send(bed: &Bed, token: &Token, user_agent: &str, count: u32) {
    let answers = Call::get("/healthz").token(token).user_agent(user_agent).times(count).from_node(&bed.cluster).unwrap();
    assert_eq!((answers.only(), answers.answered()), (Some(200), u64::from(count)), "{}", answers.problem);
}

/// Written and dropped events, when as many as this have met either fate.
fn settled(agent: &mut Agent, sink: &str, wanted: u32) -> (u64, u64) {
    let figure = |agent: &Agent, what: &str| figure(agent, &format!("kubewitness_events_{what}_total{{sink=\"{sink}\"}}"));
    agent
        .until("all events were written or dropped", Duration::from_secs(5), |agent| {
            let fates = (figure(agent, "written"), figure(agent, "dropped"));
            assert!(fates.0 + fates.1 <= u64::from(wanted), "{fates:?} is more than {wanted}");
            Ok((fates.0 + fates.1 == u64::from(wanted)).then_some(fates))
        })
        .unwrap()
}

fn said(agent: &Agent, what: &str) -> usize {
    agent.log().matches(what).count()
}

fn whole_lines(disk: &SmallDisk) -> Vec<String> {
    let text = fs::read_to_string(disk.folder.join("events.jsonl")).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.split('\n').map(str::to_owned).collect()
}

fn count(lines: &[String], user_agent: &str) -> u64 {
    let events: Vec<_> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    completed(&events, user_agent).len() as u64
}

/// A file system in memory that is soon full; it is unmounted when it is dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn mount(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        mount("tmpfs", &folder, "tmpfs", MountFlags::empty(), std::ffi::CString::new(ROOM).unwrap().as_c_str()).unwrap();
        Self { folder }
    }

    fn grow(&self) {
        rustix::mount::mount_remount(&self.folder, MountFlags::empty(), c"size=1048576").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.folder, UnmountFlags::DETACH).unwrap();
    }
}
