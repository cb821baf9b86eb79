//! Where a kubelet's file is: in a container, on an overlay that nobody else sees, or nowhere any more.
//!
//! Needs root, and the agent as `cargo xtask build` leaves it.

mod doctor;
mod watched;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use kubewitness_tests::{
    call::Call,
    cluster::{CONTAINER, Options, POD, Token},
    copy::KubeletCopy,
    figures::Figures,
    scenarios::{Bed, annotation, completed, play},
};
use watched::{Watched, await_pods};

const FIGURES: Figures = Figures::of("docs/compatibility.md", "modes");
/// A kubelet that starts reads its pods and certificates first.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
const SENT: u32 = 200;

#[test]
fn where_the_file_is() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kx-file");
    play(
        &Options::named("kx-file"),
        &folder,
        &[
            ("a kubelet in a container of its own, on an overlay", in_a_container),
            ("a kubelet whose file is deleted", deleted),
            ("a kubelet whose file is replaced", replaced),
        ],
    );
}

/// Talos and Rancher run it so: the path of its executable means nothing outside, and each start has a new overlay on the same image.
fn in_a_container(bed: &Bed) {
    let token = identity(bed, "contained");
    let line = command_line(bed);
    bed.cluster.end_kubelet().unwrap();
    let image = bed.folder.join("image");
    fs::create_dir_all(&image).unwrap();
    fs::copy(bed.cluster.kubelet_binary(), image.join("kubelet")).unwrap();

    let first = Contained::start(bed, &image, 1, &line);
    listens(bed, &token);
    await_pods(bed);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    let exec = format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1");
    let (answered, event) = watched.tell(&Call::websocket(&exec, "v4.channel.k8s.io").token(&token));
    assert_eq!((answered, annotation(&event, "findings")), (101, "unlogged-exec"), "{event}");
    let path = fs::read_link(format!("/proc/{}/exe", first.pid())).unwrap();
    assert!(!path.exists(), "{} can be seen from here", path.display());
    assert!(doctor::text(first.pid()).contains("4 sites"), "doctor plans it all the same");
    let settings = doctor::settings(first.pid()).expect("its files are read where it reads them");
    assert_eq!(settings["authorization"], ("Webhook".to_owned(), false));
    watched.close("in a container, the executable on an overlay", "every request, once");

    // The next container: another overlay, of the same image. The agent watched the one before.
    let mut agent = bed.agent(&[]);
    drop(first);
    let client = from_the_first_request(bed, &token, "next-container");
    let second = Contained::start(bed, &image, 2, &line);
    let answers = client.wait().unwrap();
    assert_eq!((answers.answered(), answers.failed), (u64::from(SENT), 0), "{}", answers.problem);
    seen(&mut agent, "next-container", SENT as usize);
    drop(second);
    bed.cluster.restart_kubelet().unwrap();
}

/// The kernel keeps a file that is mapped. Whoever looks for its path finds nothing.
fn deleted(bed: &Bed) {
    let token = identity(bed, "deleted");
    let file = bed.folder.join("kubelet-to-delete");
    let kubelet = KubeletCopy::replace(&bed.cluster, &file).unwrap();
    listens(bed, &token);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    assert_eq!(watched.tell(&Call::get("/healthz").token(&token)).0, 200);
    fs::remove_file(&file).unwrap();
    assert_eq!(watched.tell(&Call::get("/healthz").token(&token)).0, 200);
    watched.close("file deleted while it runs and is watched", "every request, once");

    // An agent that comes later has only the process to go by.
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    let load = Call::get("/healthz").token(&token).user_agent("deleted").times(SENT).workers(2).from_node(&bed.cluster).unwrap();
    assert_eq!(load.only(), Some(200), "{}", load.problem);
    seen(&mut watched.agent, "deleted", SENT as usize);
    assert!(doctor::text(kubelet.pid()).contains("4 sites"), "doctor plans it all the same");
    watched.close("file deleted before the agent came", "every request, once");
    drop(kubelet);
    bed.cluster.restart_kubelet().unwrap();
}

/// As an upgrade does: another file by the same name, while the process of the first one runs on.
fn replaced(bed: &Bed) {
    let token = identity(bed, "replaced");
    let file = bed.folder.join("kubelet-to-replace");
    let kubelet = KubeletCopy::replace(&bed.cluster, &file).unwrap();
    listens(bed, &token);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    let load = || {
        let name = "replaced";
        let call = Call::get("/healthz").token(&token).user_agent(name).times(SENT).workers(2);
        assert_eq!(call.from_node(&bed.cluster).unwrap().only(), Some(200));
    };
    load();
    // What takes its name is no kubelet: whoever went by the name would now read the wrong file.
    let other = file.with_extension("new");
    fs::copy("/proc/self/exe", &other).unwrap();
    fs::rename(&other, &file).unwrap();
    load();
    seen(&mut watched.agent, "replaced", 2 * SENT as usize);
    watched.close("file replaced while it runs and is watched", "every request, once");

    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    load();
    seen(&mut watched.agent, "replaced", SENT as usize);
    watched.close("file replaced before the agent came", "every request, once");
    drop(kubelet);
    bed.cluster.restart_kubelet().unwrap();
}

fn identity(bed: &Bed, name: &str) -> Token {
    bed.identity(name, &["get"], &["nodes/proxy", "nodes/metrics"])
}

/// Waits until somebody answers on the kubelet's port.
fn listens(bed: &Bed, token: &Token) {
    let answers = Call::get("/healthz").token(token).while_refused(LISTENS_WITHIN).from_node(&bed.cluster).unwrap();
    assert_eq!(answers.only(), Some(200), "{}", answers.problem);
}

/// A client that asks every millisecond whether somebody listens: its first request is the kubelet's first one.
fn from_the_first_request(bed: &Bed, token: &Token, name: &str) -> kubewitness_tests::call::Running {
    Call::get("/healthz").token(token).user_agent(name).times(SENT).while_refused(LISTENS_WITHIN).start(&bed.cluster).unwrap()
}

fn seen(agent: &mut kubewitness_tests::agent::Agent, name: &str, count: usize) {
    let all = agent.until("all of them are seen", Duration::from_secs(5), |agent| {
        Ok((completed(&agent.events()?, name).len() >= count).then_some(()))
    });
    let told = completed(&agent.events().unwrap(), name);
    assert!(all.is_ok() && told.len() == count, "{} of {count} are told", told.len());
    assert!(told.iter().all(|event| annotation(event, "completeness").is_empty()));
}

/// The arguments of the cluster's kubelet.
fn command_line(bed: &Bed) -> Vec<String> {
    let pid = bed.cluster.kubelet_pid().expect("the kubelet runs");
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    line.split_terminator('\0').skip(1).map(str::to_owned).collect()
}

/// A kubelet in a mount namespace of its own; it is killed when it is dropped.
struct Contained(Child);

impl Contained {
    /// Mounts an overlay over the image, as a container runtime does, and runs the kubelet that is in it.
    fn start(bed: &Bed, image: &Path, number: u32, arguments: &[String]) -> Self {
        let root = bed.folder.join(format!("container-{number}"));
        // The kernel refuses an overlay's own folders on another overlay.
        let script = r#"mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" "$1/root" &&
            mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root" &&
            root="$1/root" && shift 2 && exec "$root/kubelet" "$@""#;
        fs::create_dir_all(&root).unwrap();
        let log: fs::File = fs::File::options().append(true).open(bed.cluster.log("kubelet")).unwrap();
        let mut command = bed.cluster.command(PathBuf::from("unshare"));
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&root).arg(image).args(arguments);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Every program on the way becomes the next one, so it is the kubelet's.
    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}
