//! `kubewitness watch` as it is started: over files and pipes, and on a terminal, which it leaves as it was.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use kubewitness::watch::{
    Filter,
    top::{Input, show},
};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};

/// What gives the screen back: the other screen, and the cursor.
const LEAVES: &str = "\u{1b}[?1049l";
const CURSOR: &str = "\u{1b}[?25h";

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubewitness"));
    let variables = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("KUBEWITNESS_"));
    variables.for_each(|name| {
        command.env_remove(name);
    });
    command.env_remove("NO_COLOR").env("TERM", "xterm-256color").env("TZ", "UTC").arg("watch");
    command
}

fn event(user: &str, findings: &str) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"{user}","stage":"ResponseComplete","requestURI":"/exec/default/web/main","user":{{"username":"{user}"}},"responseStatus":{{"metadata":{{}},"code":101}},"stageTimestamp":"2026-03-04T05:06:07.000000Z","annotations":{{"kubewitness.dev/access":"proxy-only","kubewitness.dev/endpoint":"exec"{findings}}}}}"#
    ) + "\n"
}

fn events() -> String {
    event("jane", r#","kubewitness.dev/findings":"unlogged-exec""#) + &event("joe", "")
}

fn with_stdin(arguments: &[&str], stdin: &str) -> Output {
    let mut child = command().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file of two events.
struct Events(PathBuf);

impl Events {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("watch-{name}.jsonl"));
        fs::write(&path, events()).unwrap();
        Self(path)
    }
}

/// What ends it.
enum End {
    Keys(&'static [u8]),
    Signal(Signal),
}

/// A terminal with something in it.
struct Pty {
    controller: OwnedFd,
    user: OwnedFd,
    said: mpsc::Receiver<Vec<u8>>,
    all: String,
}

impl Pty {
    fn new() -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let user = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&user, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let (says, said) = mpsc::channel();
        let mut reader = File::from(controller.try_clone().unwrap());
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut chunk) {
                if says.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { controller, user, said, all: String::new() }
    }

    fn spawn(&self, mut command: Command) -> Child {
        let end = || Stdio::from(self.user.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    fn modes(&self) -> String {
        let Termios { input_modes, output_modes, control_modes, local_modes, special_codes, .. } = tcgetattr(&self.user).unwrap();
        format!("{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?} {special_codes:?}")
    }

    /// Until this was said.
    fn until(&mut self, words: &str) {
        let begun = Instant::now();
        while !self.all.contains(words) {
            let Ok(more) = self.said.recv_timeout(Duration::from_secs(10).saturating_sub(begun.elapsed())) else {
                panic!("{words:?} is not in {:?}", self.all)
            };
            self.all += &String::from_utf8_lossy(&more);
        }
    }

    fn press(&self, keys: &[u8]) {
        rustix::io::write(&self.controller, keys).unwrap();
    }
}

fn ended(mut child: Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn files_and_pipes() {
    let file = Events::new("files");
    let path = file.0.to_str().unwrap();
    let lines = [
        "TIME                        IDENTITY                      ENDPOINT         POD/CONTAINER                       ACCESS          CODE FINDINGS",
        "2026-03-04T05:06:07.000000Z jane                          exec             default/web/main                    proxy-only      101  unlogged-exec",
        "2026-03-04T05:06:07.000000Z joe                           exec             default/web/main                    proxy-only      101",
    ];
    for output in [with_stdin(&[path], ""), with_stdin(&["-"], &events())] {
        assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), lines);
    }
    let json = with_stdin(&["-o", "json", "--identity", "jo*", "-"], &events());
    assert_eq!(text(&json.stdout), event("joe", ""));
    let junk = with_stdin(&["-o", "json", "-"], &format!("junk\n{{}}\n{}", events()));
    assert_eq!(text(&junk.stderr), "1 line of JSON is no event of kubewitness\n1 line cannot be read\n");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    for (arguments, status, said) in [
        (&["--endpoint", "portforward", "-"][..], 2, "a similar value exists: 'portForward'"),
        (&["--access", "deny", "-"], 2, "a similar value exists: 'denied'"),
        (&["--finding-only", "-"], 2, "a similar argument exists: '--findings-only'"),
        (&["--since", "yesterday", "-"], 2, "such as 10m"),
        (&["-", "-"], 2, "can be read once"),
        (&["--top", "-o", "json", "-"], 2, "exclude each other"),
        (&["--top", "-"], 1, "--top needs a terminal"),
        (&["/nowhere.jsonl"], 1, "/nowhere.jsonl"),
    ] {
        let output = command().args(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_reader_who_has_seen_enough_ends_it_although_nothing_comes() {
    let mut child = command().arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    drop(child.stdout.take());
    assert!(ended(child).success());
    drop(stdin);
}

#[test]
fn a_terminal_has_colours_unless_somebody_wants_none() {
    let file = Events::new("colours");
    for (no_color, expected) in [(None, true), (Some(""), true), (Some("1"), false)] {
        let mut pty = Pty::new();
        let mut command = command();
        command.arg(&file.0);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        assert!(ended(pty.spawn(command)).success());
        pty.until("joe");
        assert_eq!(pty.all.contains("\u{1b}[1;31m05:06:07 jane "), expected, "{no_color:?}: {:?}", pty.all);
        assert_eq!(pty.all.contains('\u{1b}'), expected, "{no_color:?}: {:?}", pty.all);
    }
}

#[test]
fn the_terminal_is_left_as_it_was_found() {
    let file = Events::new("screen");
    let ways = [
        ("q", End::Keys(b"q")),
        ("Esc", End::Keys(b"\x1b")),
        ("Ctrl-C", End::Keys(b"\x03")),
        ("SIGINT", End::Signal(Signal::INT)),
        ("SIGTERM", End::Signal(Signal::TERM)),
        ("SIGHUP", End::Signal(Signal::HUP)),
    ];
    for (name, end) in ways {
        let mut pty = Pty::new();
        let before = pty.modes();
        let mut command = command();
        command.arg("--top").arg(&file.0);
        let child = pty.spawn(command);
        pty.until("jane");
        assert_ne!(pty.modes(), before, "{name}: keys come one by one");
        match end {
            End::Keys(keys) => pty.press(keys),
            End::Signal(signal) => kill_process(Pid::from_child(&child), signal).unwrap(),
        }
        assert!(ended(child).success(), "{name}");
        pty.until(LEAVES);
        pty.until(CURSOR);
        assert_eq!(pty.modes(), before, "{name}");
    }
}

#[test]
fn the_terminal_is_left_as_it_was_found_by_a_panic_too() {
    let mut pty = Pty::new();
    let before = pty.modes();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "panics", "--ignored", "--nocapture"]).env("TERM", "xterm-256color");
    let child = pty.spawn(command);
    pty.until("LAST FINDINGS");
    assert_ne!(pty.modes(), before);
    pty.press(b"s");
    assert_eq!(ended(child).code(), Some(101));
    pty.until("this is the panic");
    let (screen, told) = pty.all.split_once(LEAVES).expect("the screen is given back");
    assert!(screen.contains("LAST FINDINGS") && told.contains("this is the panic"), "before the panic is told: {:?}", pty.all);
    assert_eq!(pty.modes(), before);
}

#[test]
#[ignore = "the test above starts it on a terminal"]
fn panics() {
    let (sender, inputs) = mpsc::sync_channel(1);
    let drawn = sender.clone();
    thread::spawn(move || {
        drawn.send(Input::Told("drawn".to_owned())).unwrap();
        thread::sleep(Duration::from_millis(500));
        panic!("this is the panic");
    });
    show(Filter::default(), true, sender, &inputs).unwrap();
}
