//! Files of events: full, moved, rotated and filtered, no event is lost silently or written twice.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use kubewitness_tests::{
    agent::{Agent, output_of},
    call::Call,
    cluster::{CONTAINER, Options, POD, Token},
    host,
    scenarios::{Bed, Scenario, annotation, completed, figure, play},
};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::Signal,
};
use serde_json::Value;

/// Bytes of the small disk: some fifty events.
const ROOM: &str = "size=65536";
/// The agent tries a failed sink again every second.
const RETRY: Duration = Duration::from_millis(1200);
const ROTATED: &str = "kubewitness_events_rotations_total{outcome=\"rotated\"}";

#[test]
fn sinks() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sinks");
    let options = Options::named("t-sinks");
    play(
        &options,
        &folder,
        &[
            ("a full disk costs events and nothing else", full_disk),
            ("a small disk is enough where files are removed", small_disk),
            ("a closed pipe costs events and nothing else", closed_pipe),
            ("files are rotated and moved under load, and no event is lost or written twice", rotation),
            ("a file that cannot be renamed goes on to be written", stuck),
            ("the audit policy leaves out events, not what is counted", audit_policy),
        ],
    );
}

#[test]
#[ignore = "docs/sinks.md tells what comes of it"]
fn logrotate() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("logrotate");
    let scenarios: [Scenario; 2] = [("logrotate, create", create), ("logrotate, copytruncate", copytruncate)];
    play(&Options::named("t-logrotate"), &folder, &scenarios);
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

fn small_disk(bed: &Bed) {
    let token = bed.identity("small", &["get"], &["nodes/proxy"]);
    let disk = SmallDisk::mount(bed.folder.join("small"));
    let events = disk.folder.join("events.jsonl").display().to_string();
    let mut agent = agent_with(bed, &["--events", &events, "--events-max-size", "16Ki", "--events-max-files", "3"], Stdio::null());
    send(bed, &token, "small", 300);
    assert_eq!(settled(&mut agent, "file", 300), (300, 0));
    let files = event_files(&disk.folder);
    assert!(files.len() == 3 && files.iter().all(|file| file.metadata().unwrap().len() <= 16 << 10), "{files:?}");
    assert!(figure(&agent, ROTATED) > 3);
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());
}

fn closed_pipe(bed: &Bed) {
    let token = bed.identity("pipe", &["get"], &["nodes/proxy"]);
    let mut command = bed.agent_command(&["--events", "-"]);
    let mut child = command.1.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let reader = BufReader::new(child.stdout.take().unwrap());
    let mut agent = ready(Agent::started(child, bed.cluster.network_namespace(), command.0));
    send(bed, &token, "read", 10);
    let lines: Vec<_> = reader.lines().take(10).map(Result::unwrap).collect();
    // `take` dropped the reader: nobody reads any more.
    assert_eq!(count(&lines, "read"), 10);
    send(bed, &token, "unread", 50);
    // There is nothing to open anew, and SIGHUP must not end it.
    agent.signal(Signal::HUP).unwrap();
    assert_eq!(settled(&mut agent, "stdout", 60), (10, 50));
    assert_eq!(said(&agent, "cannot write events to standard output"), 1, "{}", agent.log());
    assert!(agent.fetch("/readyz").unwrap().starts_with("attached"));
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());
}

fn rotation(bed: &Bed) {
    const SENT: u32 = 3000;
    let token = bed.identity("rotation", &["get"], &["nodes/proxy"]);
    let folder = bed.folder.join("rotation");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("events.jsonl");
    let arguments = ["--events", &file.display().to_string(), "--events-max-size", "64Ki", "--events-max-files", "0"];
    // The first is killed while it writes; the second takes up what it left.
    let first = agent_with(bed, &arguments, Stdio::null());
    let load =
        |name: &str, count| Call::get("/healthz").token(&token).user_agent(name).times(count).workers(4).start(&bed.cluster).unwrap();
    let endless = load("first", 0);
    thread::sleep(Duration::from_millis(1500));
    drop(first);
    endless.stop().unwrap();
    let left = event_files(&folder).iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>();

    let mut agent = agent_with(bed, &arguments, Stdio::null());
    let running = load("second", SENT);
    for round in 0..8 {
        thread::sleep(Duration::from_millis(100));
        // What logrotate does: with `create`, or without.
        let aside = folder.join(format!("events.jsonl.{round}"));
        if fs::rename(&file, aside).is_ok() && round % 2 == 0 {
            let _made_by_the_agent = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        }
        agent.signal(Signal::HUP).unwrap();
    }
    let answers = running.wait().unwrap();
    assert_eq!((answers.only(), answers.answered()), (Some(200), u64::from(SENT)), "{}", answers.problem);
    let (written, dropped) = settled(&mut agent, "file", SENT);
    assert_eq!((written, dropped), (u64::from(SENT), 0));
    assert!(figure(&agent, ROTATED) > 10);
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());

    let files = event_files(&folder);
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert!(text.ends_with('\n'));
    let (events, broken): (Vec<_>, Vec<_>) = text.lines().map(serde_json::from_str::<Value>).partition(Result::is_ok);
    assert!(broken.len() <= usize::from(!left.ends_with('\n')), "only the line that a killed agent left is broken: {broken:?}");
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    let keys: BTreeSet<_> = events.iter().map(|event| (event["auditID"].to_string(), event["stage"].to_string())).collect();
    assert_eq!(keys.len(), events.len(), "no event is there twice");
    assert_eq!(completed(&events, "second").len() as u64, written, "and none is missing");
    assert!(completed(&events, "first").len() > 100);
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

fn stuck(bed: &Bed) {
    let token = bed.identity("stuck", &["get"], &["nodes/proxy"]);
    let folder = bed.folder.join("stuck");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("events.jsonl");
    fs::write(&file, "").unwrap();
    // As a container sees a file that is mounted alone: it cannot be renamed.
    let _mount = BindMount::of(&file);
    let mut agent = agent_with(bed, &["--events", &file.display().to_string(), "--events-max-size", "4Ki"], Stdio::null());
    send(bed, &token, "stuck", 30);
    assert_eq!(settled(&mut agent, "file", 30), (30, 0));
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 30);
    assert_eq!((figure(&agent, ROTATED), figure(&agent, "kubewitness_events_rotations_total{outcome=\"failed\"}")), (0, 1));
    assert_eq!(said(&agent, "is full and no new one can be begun"), 1, "{}", agent.log());
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());
}

fn audit_policy(bed: &Bed) {
    let scraper = bed.identity("scraper", &["get"], &["nodes/healthz", "nodes/metrics"]);
    let intruder = bed.identity("intruder", &["get"], &["nodes/proxy"]);
    let policy = bed.folder.join("audit-policy.yaml");
    fs::write(&policy, include_str!("../../deploy/helm/kubewitness/files/audit-policy.yaml")).unwrap();
    let mut agent = bed.agent(&["--audit-policy", &policy.display().to_string()]);
    let scrape = |name: &str| Call::get("/healthz").token(&scraper).user_agent(name).times(20).from_node(&bed.cluster).unwrap().only();
    assert_eq!(scrape("routine"), Some(200));
    assert_eq!(Call::get("/metrics/probes").token(&scraper).user_agent("routine").from_node(&bed.cluster).unwrap().only(), Some(200));
    assert_eq!(Call::get("/metrics/probes").token(&intruder).user_agent("refused").from_node(&bed.cluster).unwrap().only(), Some(403));
    let exec = format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1");
    let mut call = Call::websocket(&exec, "v4.channel.k8s.io").token(&intruder).user_agent("exec").start(&bed.cluster).unwrap();
    call.upgraded().unwrap();
    call.stop().unwrap();
    for name in ["refused", "exec"] {
        let event = agent.event(name, Duration::from_secs(5), |event| event["userAgent"] == name).unwrap();
        assert_eq!(annotation(&event, "audit-policy"), "applied");
    }
    let omitted = "kubewitness_events_omitted_total{stage=\"ResponseComplete\"}";
    agent.until("the routine is left out", Duration::from_secs(5), |agent| Ok((figure(agent, omitted) == 21).then_some(()))).unwrap();
    let routine = "kubewitness_requests_total{access=\"fine-grained\",code=\"200\",endpoint=\"healthz\",transport=\"plain\"}";
    assert_eq!(figure(&agent, routine), 20, "it is counted all the same");
    assert_eq!(figure(&agent, "kubewitness_unlogged_exec_total{endpoint=\"exec\",outcome=\"executed\",verb=\"get\"}"), 1);
    assert!(completed(&agent.events().unwrap(), "routine").is_empty());

    // Read again, at SIGHUP; what is no policy changes nothing.
    let all = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n";
    let reload = |agent: &mut Agent, text: &str, wanted: &str| {
        fs::write(&policy, text).unwrap();
        agent.signal(Signal::HUP).unwrap();
        agent.until(wanted, Duration::from_secs(5), |agent| Ok(agent.log().contains(wanted).then_some(()))).unwrap();
    };
    reload(&mut agent, all, "was read again");
    reload(&mut agent, &all.replace("Metadata", "Metadat"), "stays as it was");
    assert_eq!(scrape("recorded"), Some(200));
    agent
        .until("all are events", Duration::from_secs(5), |agent| Ok((completed(&agent.events()?, "recorded").len() == 20).then_some(())))
        .unwrap();
    assert_eq!(figure(&agent, omitted), 21);
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());

    // What is wrong from the start is said, and nothing is begun.
    let mut command = bed.cluster.command(Bed::binary());
    let output = command.args(["run", "--rbac", "off", "--audit-policy"]).arg(&policy).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(&format!("{}:4: ", policy.display())), "{said}");
}

fn create(bed: &Bed) {
    let Outcome { sent, found, broken } = rotated_by_logrotate(bed, "create", |agent| {
        format!("create 0600 root root\n compress\n delaycompress\n postrotate\n kill -HUP {}\n endscript", agent.pid())
    });
    assert_eq!((found, broken), (sent, 0), "nothing is lost");
}

fn copytruncate(bed: &Bed) {
    let Outcome { sent, found, .. } = rotated_by_logrotate(bed, "copytruncate", |_| "copytruncate\n compress\n delaycompress".to_owned());
    assert!(found <= sent && found > sent / 2, "{found}");
}

/// What is in the files in the end.
struct Outcome {
    /// Events that the agent counted as written.
    sent: u64,
    /// Events that are there.
    found: u64,
    /// Lines that are no event.
    broken: usize,
}

/// Sends requests while logrotate runs as often as it can.
fn rotated_by_logrotate(bed: &Bed, name: &str, way: impl FnOnce(&Agent) -> String) -> Outcome {
    const SENT: u32 = 40_000;
    let token = bed.identity(name, &["get"], &["nodes/proxy"]);
    let folder = bed.folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let file = folder.join("events.jsonl");
    let agent = agent_with(bed, &["--events", &file.display().to_string(), "--events-max-size", "0"], Stdio::null());
    let program = host::logrotate().unwrap();
    let (configuration, state) = (bed.folder.join(format!("{name}.conf")), bed.folder.join(format!("{name}.state")));
    fs::write(&configuration, format!("{} {{\n size 1k\n rotate 1000\n missingok\n notifempty\n {}\n}}\n", file.display(), way(&agent)))
        .unwrap();
    fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644)).unwrap();
    let running = Call::get("/healthz").token(&token).user_agent(name).times(SENT).workers(4).start(&bed.cluster).unwrap();
    let written = |agent: &Agent| figure(agent, "kubewitness_events_written_total{sink=\"file\"}");
    while written(&agent) < u64::from(SENT) {
        output_of(std::process::Command::new(&program).arg("--state").arg(&state).arg(&configuration)).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(running.wait().unwrap().only(), Some(200));
    assert!(agent.stop(Duration::from_secs(2)).unwrap().success());
    let files = event_files(&folder);
    let texts: Vec<_> = files.iter().map(|file| output_of(std::process::Command::new("zcat").arg("-f").arg(file)).unwrap()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let (events, broken): (Vec<_>, Vec<_>) = lines.map(serde_json::from_str::<Value>).partition(Result::is_ok);
    let ids: BTreeSet<_> = events.iter().flatten().map(|event| event["auditID"].to_string()).collect();
    assert_eq!(ids.len(), events.len(), "no event is there twice");
    let (found, bytes) = (ids.len() as u64, texts.iter().map(String::len).sum::<usize>());
    eprintln!(
        "{name}: {SENT} events were written; {found} are in {} files of {bytes} bytes, and {} halves of one",
        files.len(),
        broken.len()
    );
    Outcome { sent: u64::from(SENT), found, broken: broken.len() }
}

/// An agent whose log is not where its events are.
fn agent_with_events(bed: &Bed, events: &str, stdout: Stdio) -> Agent {
    agent_with(bed, &["--events", events], stdout)
}

fn agent_with(bed: &Bed, arguments: &[&str], stdout: Stdio) -> Agent {
    let (folder, mut command) = bed.agent_command(arguments);
    let child = command.stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
    ready(Agent::started(child, bed.cluster.network_namespace(), folder))
}

fn ready(mut agent: Agent) -> Agent {
    agent.until_it_watches().unwrap();
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

/// The files of events in a folder, in the order of their names.
fn event_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
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

/// A file that is mounted on itself; it is unmounted when this is dropped.
struct BindMount<'a>(&'a Path);

impl<'a> BindMount<'a> {
    fn of(file: &'a Path) -> Self {
        rustix::mount::mount_bind(file, file).unwrap();
        Self(file)
    }
}

impl Drop for BindMount<'_> {
    fn drop(&mut self) {
        unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}
