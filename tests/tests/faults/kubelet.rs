//! The kubelet ends, comes back, is another one, is stopped, is not the only one.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use kubewitness_tests::{
    agent::Agent,
    books,
    build::{KubernetesProgram, Release},
    cluster::{Cluster, Options},
    flood::Flood,
    scenarios::Bed,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Form, SEEN_WITHIN, folder, load, seen};

/// A kubelet that starts reads its certificates first.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);

/// By SIGTERM and by SIGKILL in turn. What the client had no answer for may have been served or not; all else must be there.
pub(crate) fn restarted(bed: &Bed, form: Form) {
    let rounds = form.of(4, 100);
    let token = bed.identity("restarted", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&["--events-max-files", "0"]);
    let load = load(&token, "restarted=").while_refused(LISTENS_WITHIN).start(&bed.cluster).unwrap();
    for round in 0..rounds {
        thread::sleep(Duration::from_millis(500));
        if round % 2 == 0 {
            bed.cluster.end_kubelet().unwrap();
        } else {
            kill(&bed.cluster);
        }
        bed.cluster.start_kubelet().unwrap();
    }
    thread::sleep(Duration::from_millis(500));
    let answers = load.stop().unwrap();
    assert_eq!(answers.statuses.keys().copied().collect::<Vec<_>>(), [200], "{answers:?}");
    let files = folder(&agent);
    let seen = seen(&mut agent, &files, "restarted=", &answers);
    assert_eq!(agent.log().matches("attached to a kubelet").count(), 1, "the same file is planned once");
    let lost = books::sum(&agent, "kubewitness_records_lost_total").unwrap();
    assert_eq!(lost, 0);
    let unanswered = format!("{} more were cut off by the end of a kubelet; those that had begun are in the events", answers.failed);
    form.row(&format!("kubelet restarted {rounds} times under load"), answers.answered(), seen, lost, &unanswered);
    // The next scenario wants a kubelet that knows its pods.
    bed.cluster.restart_kubelet().unwrap();
}

/// The file is replaced by a rename, then the kubelet is restarted: to another release, back, and to the same one in another file.
pub(crate) fn upgraded(bed: &Bed, form: Form) {
    let rounds = form.of(2, 20);
    let token = bed.identity("upgraded", &["get"], &["nodes/proxy"]);
    let builds = form.of(vec![Release::V1_36], vec![Release::V1_37, Release::V1_36, Release::V1_36]);
    let builds: Vec<PathBuf> = builds.into_iter().map(|build| build.program(KubernetesProgram::Kubelet).build().unwrap()).collect();
    let mut agent = bed.agent(&["--events-max-files", "0"]);
    let mut kubelet = Replaceable::start(&bed.cluster, &bed.folder.join("kubelet"));
    attached(&mut agent, 2);
    let load = load(&token, "upgraded=").while_refused(LISTENS_WITHIN).start(&bed.cluster).unwrap();
    for round in 0..rounds {
        thread::sleep(Duration::from_millis(500));
        kubelet.replace_file(&builds[round % builds.len()]);
        // The new file is probed while the old one still runs.
        attached(&mut agent, 3 + round);
        kubelet.restart();
    }
    thread::sleep(Duration::from_millis(500));
    kubelet.listens(LISTENS_WITHIN);
    let answers = load.stop().unwrap();
    assert!(answers.answered() > 100, "{answers:?}");
    let files = folder(&agent);
    let seen = seen(&mut agent, &files, "upgraded=", &answers);
    assert_eq!(books::sum(&agent, "kubewitness_records_lost_total").unwrap(), 0);
    let note = format!("{} more were cut off by the end of a kubelet", answers.failed);
    form.row(
        &format!("kubelet upgraded in place {rounds} times under load: file replaced, then restarted"),
        answers.answered(),
        seen,
        0,
        &note,
    );
    drop(kubelet);
    bed.cluster.restart_kubelet().unwrap();
}

/// The kubelet is stopped, and its file is written anew where it is: probes that were left on it would break the new kubelet.
pub(crate) fn overwritten(bed: &Bed, form: Form) {
    let rounds = form.of(1, 10);
    let token = bed.identity("overwritten", &["get"], &["nodes/proxy"]);
    let builds = [Release::V1_37, Release::V1_36].map(|build| build.program(KubernetesProgram::Kubelet).build().unwrap());
    let mut agent = bed.agent(&[]);
    let mut kubelet = Replaceable::start(&bed.cluster, &bed.folder.join("kubelet"));
    attached(&mut agent, 2);
    let each = 200;
    let mut answered = 0;
    for round in 0..rounds {
        kubelet.end();
        // Truncated and written: the same inode.
        fs::write(&kubelet.file, fs::read(&builds[round % builds.len()]).unwrap()).unwrap();
        kubelet.restart();
        attached(&mut agent, 3 + round);
        let mut planned = sites(&kubelet.file);
        let mut found = kubelet.breakpoints();
        planned.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, planned, "the code of the new kubelet has the probes of its own plan and no others");
        let mark = format!("overwritten{round}=");
        let requests = Flood::get(&format!("/healthz?{mark}{{n}}")).token(&token).times(each).while_refused(LISTENS_WITHIN);
        let answers = requests.send(&bed.cluster).unwrap();
        assert_eq!((answers.only(), answers.answered()), (Some(200), each), "{answers:?}");
        let files = folder(&agent);
        answered += seen(&mut agent, &files, &mark, &answers);
    }
    let expected = each * rounds as u64;
    form.row(
        &format!("kubelet stopped, its file overwritten, started, {rounds} times"),
        expected,
        answered,
        0,
        "no probe was left on the old bytes",
    );
    drop(kubelet);
    bed.cluster.restart_kubelet().unwrap();
}

/// Where a file is probed: offsets in it.
fn sites(file: &Path) -> Vec<u64> {
    let plan = kubewitness::target::plan::plan(&fs::read(file).unwrap()).unwrap();
    plan.sites.iter().map(|site| site.file_offset).collect()
}

fn attached(agent: &mut Agent, files: usize) {
    let said = |agent: &Agent| agent.log().matches("attached to a kubelet").count();
    agent.until("the new file is attached", LISTENS_WITHIN, |agent| Ok((said(agent) >= files).then_some(()))).unwrap();
}

pub(crate) fn stopped(bed: &Bed, form: Form) {
    let rounds = form.of(2, 20);
    let token = bed.identity("stopped", &["get"], &["nodes/proxy"]);
    let mut agent = bed.agent(&[]);
    let load = load(&token, "stopped=").start(&bed.cluster).unwrap();
    let pid = pid(&bed.cluster);
    for _ in 0..rounds {
        thread::sleep(Duration::from_millis(300));
        kill_process(pid, Signal::STOP).unwrap();
        thread::sleep(Duration::from_secs(1));
        kill_process(pid, Signal::CONT).unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    let answers = load.stop().unwrap();
    assert_eq!((answers.only(), answers.failed), (Some(200), 0), "{answers:?}");
    let files = folder(&agent);
    let seen = seen(&mut agent, &files, "stopped=", &answers);
    assert_eq!(books::sum(&agent, "kubewitness_requests_incomplete_total").unwrap(), 0);
    form.row(&format!("kubelet stopped for a second and continued, {rounds} times"), answers.answered(), seen, 0, "");
}

/// Two kubelets of two releases, each in a network namespace of its own, and one agent that was told of both.
pub(crate) fn two(bed: &Bed, form: Form) {
    let options = Options { kubelet: Release::V1_37, ..Options::named("kf-second") };
    Cluster::down(&options.name).unwrap();
    let second = Down(Cluster::up(&options).unwrap());
    let tokens = [bed.identity("two", &["get"], &["nodes/proxy"]), {
        second.0.service_account("two").unwrap();
        second.0.grant("two", &["get"], &["nodes/proxy"]).unwrap();
        second.0.token("two", None).unwrap()
    }];
    let pids = [&bed.cluster, &second.0].map(|cluster| cluster.kubelet_pid().unwrap().to_string());
    let mut agent = bed.agent(&["--kubelet-pid", &pids[0], "--kubelet-pid", &pids[1]]);
    agent
        .until("both are attached", SEEN_WITHIN, |agent| Ok((agent.log().matches("attached to a kubelet").count() == 2).then_some(())))
        .unwrap();
    let each = form.of(1000, 20_000);
    let of =
        |mark: &str, index: usize| Flood::get(&format!("/healthz?{mark}{{n}}")).token(&tokens[index]).connections(4).rate(2000).times(each);
    let first = of("first=", 0).start(&bed.cluster).unwrap();
    let other = of("second=", 1).start(&second.0).unwrap();
    let (first, other) = (first.wait().unwrap(), other.wait().unwrap());
    let files = folder(&agent);
    let both = seen(&mut agent, &files, "first=", &first) + seen(&mut agent, &files, "second=", &other);
    assert_eq!(both, 2 * each);
    form.row(
        "two kubelets at once (1.36.3 and 1.37.2)",
        first.answered() + other.answered(),
        both,
        0,
        "one agent, told of both by --kubelet-pid",
    );
}

/// A kubelet from a file that can be replaced under it.
struct Replaceable<'a> {
    cluster: &'a Cluster,
    file: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl<'a> Replaceable<'a> {
    fn start(cluster: &'a Cluster, file: &Path) -> Self {
        let pid = cluster.kubelet_pid().expect("the cluster has a kubelet");
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        cluster.end_kubelet().unwrap();
        fs::copy(cluster.kubelet_binary(), file).unwrap();
        let arguments = line.split_terminator('\0').skip(1).map(str::to_owned).collect();
        let mut this = Self { cluster, file: file.to_owned(), arguments, child: None };
        this.restart();
        this
    }

    /// As a package manager does: written beside it, then renamed over it.
    fn replace_file(&self, build: &Path) {
        let new = self.file.with_extension("new");
        fs::copy(build, &new).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }

    fn restart(&mut self) {
        self.end();
        let log = fs::File::options().append(true).open(self.cluster.log("kubelet")).unwrap();
        let mut command = self.cluster.command(&self.file);
        let child = command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits until it serves.
    fn listens(&self, within: Duration) {
        let answers = Flood::get("/healthz?listens").connections(1).times(1).while_refused(within).send(self.cluster).unwrap();
        assert_eq!(answers.only(), Some(401), "{answers:?}");
    }

    /// Where its code in memory is not that of its file: the addresses in the file.
    fn breakpoints(&self) -> Vec<u64> {
        let pid = self.child.as_ref().expect("it runs").id();
        let file = fs::read(&self.file).unwrap();
        let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut found = Vec::new();
        for line in maps.lines().filter(|line| line.contains(" r-xp ") && line.ends_with(&self.file.display().to_string())) {
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (from, to) = fields[0].split_once('-').map(|(from, to)| (number(from), number(to))).unwrap();
            let offset = usize::try_from(number(fields[2])).unwrap();
            let mut code = vec![0; usize::try_from(to - from).unwrap()];
            memory.read_exact_at(&mut code, from).unwrap();
            let differ = code.iter().zip(&file[offset..]).enumerate().filter(|(_, (one, other))| one != other);
            found.extend(differ.map(|(index, _)| (offset + index) as u64));
        }
        found
    }
}

impl Drop for Replaceable<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
        let _gone = fs::remove_file(&self.file);
    }
}

/// A cluster that is taken down when this is dropped.
struct Down(Cluster);

impl Drop for Down {
    fn drop(&mut self) {
        // The next run of the same name removes what is left.
        let _left = Cluster::down(self.0.name());
    }
}

fn pid(cluster: &Cluster) -> Pid {
    cluster.kubelet_pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("the kubelet runs")
}

fn kill(cluster: &Cluster) {
    kill_process(pid(cluster), Signal::KILL).unwrap();
    while cluster.kubelet_pid().is_some() {
        thread::sleep(Duration::from_millis(10));
    }
}
