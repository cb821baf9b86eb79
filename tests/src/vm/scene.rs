//! The agent beside the kubelet's server in a virtual machine: a known number of requests of each kind, and whether all of them were seen,
//! each once, by the events and by the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Machine, Processor, Report, VmError};

/// Booting, planning and all requests take a minute where every instruction is translated, two on a busy machine.
const LIMIT: Duration = Duration::from_secs(400);
const MEMORY: u32 = 1536;

/// What runs in the machine.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The processor, for which all programs are.
    pub processor: Processor,
    /// The kernel, as [`super::Series::fetch`] gives it.
    pub kernel: PathBuf,
    /// What is added to the kernel's command line.
    pub kernel_arguments: String,
    /// The agent.
    pub agent: PathBuf,
    /// `kubeletserver`.
    pub server: PathBuf,
    /// `kubeletcall`.
    pub client: PathBuf,
    /// Further programs by their names, for the script that is added.
    pub programs: Vec<(&'static str, PathBuf)>,
}

/// Requests of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Whose token is sent; nobody's if empty.
    token: &'static str,
    path: &'static str,
    upgrade: bool,
    count: u32,
    /// What is expected: status, access, and for an upgrade what came of it.
    code: u32,
    access: &'static str,
    endpoint: &'static str,
}

/// All kinds. Counts differ, so that no two can be taken for each other.
pub const KINDS: [Kind; 8] = [
    Kind { token: "reader", path: "/pods", upgrade: false, count: 41, code: 200, access: "fine-grained", endpoint: "pods" },
    Kind { token: "fallback", path: "/pods", upgrade: false, count: 31, code: 200, access: "fallback", endpoint: "pods" },
    Kind { token: "nobody", path: "/pods", upgrade: false, count: 19, code: 403, access: "denied", endpoint: "pods" },
    Kind { token: "", path: "/pods", upgrade: false, count: 17, code: 401, access: "unauthenticated", endpoint: "pods" },
    Kind { token: "reader", path: "/metrics", upgrade: false, count: 5, code: 200, access: "single", endpoint: "metrics" },
    Kind { token: "reader", path: "/nothing", upgrade: false, count: 3, code: 404, access: "unchecked", endpoint: "other" },
    Kind { token: "fallback", path: EXEC, upgrade: true, count: 23, code: 101, access: "proxy-only", endpoint: "exec" },
    Kind { token: "nobody", path: EXEC, upgrade: true, count: 7, code: 403, access: "denied", endpoint: "exec" },
];
/// Requests of sixteen clients at once, all allowed by their first check: programs are preempted while they run, and others hit the same
/// instructions on the same processor.
const STORM: u32 = 3000;
/// Requests whose handler panics.
const PANICS: u32 = 5;
/// The clock is set a day ahead, two days back, and right again; each time what it shows is written down, before some requests and after them.
const STEPS: &str = "\
now() { date -u +%Y-%m-%dT%H:%M:%S >>/out/clock; }
step() {
	date -s @$(($(date +%s) + $1)) >/dev/null
	now
	kubeletcall --url https://127.0.0.1:10250/pods?stepped --header 'Authorization: Bearer reader' --count 20 >>/out/answers 2>&1
	sleep 1
	now
}
step 86400
step -172800
step 86400
";
/// How often the clock is set, and the requests after each.
const STEPPED: (u32, u32) = (3, 20);
const EXEC: &str = "/exec/default/web/main?command=id&output=1";

impl Kind {
    /// Requests of all kinds.
    pub fn all() -> u32 {
        KINDS.iter().map(|kind| kind.count).sum::<u32>() + STORM + PANICS + STEPPED.0 * STEPPED.1
    }

    /// Execs that ran.
    pub fn executed() -> u32 {
        KINDS.iter().filter(|kind| kind.code == 101).map(|kind| kind.count).sum()
    }

    fn command(&self, out: &mut String) {
        let Self { token, path, count, .. } = self;
        let _ = write!(out, "kubeletcall --url 'https://127.0.0.1:10250{path}' --count {count} --concurrency 2");
        if !token.is_empty() {
            let _ = write!(out, " --header 'Authorization: Bearer {token}'");
        }
        if self.upgrade {
            out.push_str(" --header 'Connection: Upgrade' --header 'Upgrade: SPDY/3.1'");
        }
        out.push_str(" >>/out/answers 2>&1\n");
    }
}

impl Scene {
    /// Plays it; `more` is a script that runs at last, with the agent stopped and the server still there.
    pub fn play(&self, folder: &Path, more: &str) -> Result<Report, VmError> {
        let file = |name: &str, path: &Path| (format!("bin/{name}"), path.to_owned());
        let mut files = vec![file("kubewitness", &self.agent), file("kubeletserver", &self.server), file("kubeletcall", &self.client)];
        files.extend(self.programs.iter().map(|(name, path)| file(name, path)));
        let machine = Machine {
            processor: self.processor,
            kernel: self.kernel.clone(),
            kernel_arguments: self.kernel_arguments.clone(),
            memory: MEMORY,
            files,
            script: Self::script(more),
            limit: LIMIT,
        };
        machine.run(folder)
    }

    fn script(more: &str) -> String {
        let mut script = "\
kubeletserver >/out/server 2>&1 &
kubewitness run --rbac off --node-name node1 --events /tmp/events >/out/agent 2>&1 &
agent=$!
until wget -q -O - http://127.0.0.1:9464/readyz 2>/dev/null | grep -q ^attached; do
	kill -0 $agent || exit 1
	sleep 0.2
done
kubewitness doctor >/out/doctor 2>&1
kubewitness doctor -o json >/out/doctor.json 2>/dev/null
"
        .to_owned();
        for kind in &KINDS {
            kind.command(&mut script);
        }
        let storm = "kubeletcall --url https://127.0.0.1:10250/pods?storm --header 'Authorization: Bearer reader' --concurrency 16";
        let _ = writeln!(script, "{storm} --count {STORM} >>/out/answers 2>&1");
        // The connection is cut, which its caller takes for a failure.
        let panic = "kubeletcall --url https://127.0.0.1:10250/containerLogs/default/panic/main --header 'Authorization: Bearer fallback'";
        let _ = writeln!(script, "{panic} --count {PANICS} >>/out/panics 2>&1");
        script.push_str(STEPS);
        // Routine records are drained by time.
        script.push_str("sleep 3\nwget -q -O /out/metrics http://127.0.0.1:9464/metrics\nkill $agent\nwait $agent\nended=$?\n");
        script.push_str("grep -v -e storm -e stepped /tmp/events >/out/events\ngrep -c storm /tmp/events >/out/storm\n");
        script.push_str("grep stepped /tmp/events >/out/stepped\n");
        // What a kernel says when something went wrong in it.
        script.push_str("dmesg | grep -E 'BUG|Oops|WARNING|Call Trace' >/out/complaints\n");
        script.push_str(more);
        script.push_str("\nexit $ended\n");
        script
    }
}

/// Compares what the agent told with what was asked.
///
/// # Panics
///
/// If anything is missing, there twice, or else than it was asked.
pub fn assert_all_seen(report: &Report) {
    let file = |name: &str| report.files.get(name).map_or("", String::as_str);
    let context = || format!("{}\nagent: {}\nanswers: {}\ndoctor: {}", report.release, file("agent"), file("answers"), file("doctor"));
    assert_eq!(report.status, 0, "the agent ends well: {}", context());
    assert!(!file("answers").contains("failed"), "every request was answered: {}", context());
    assert_eq!(file("complaints"), "", "the kernel has nothing to complain of: {}", context());

    let sum = |name: &str, labels: &[&str]| -> f64 {
        let lines = file("metrics").lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let is = |found: f64, wanted: u32| (found - f64::from(wanted)).abs() < 0.5;
    // A page that is being moved cannot be read just then: such a request is told as partial, and counted with the others.
    let unreadable = sum("kubewitness_requests_incomplete_total{", &["reason=\"text-unreadable\""]);
    let nearly = |found: f64, wanted: u32| found <= f64::from(wanted) && found + unreadable >= f64::from(wanted);
    assert!(unreadable <= 5.0 && (sum("kubewitness_requests_incomplete_total{", &[]) - unreadable).abs() < 0.5, "{}", file("metrics"));
    let storm: f64 = file("storm").trim().parse().unwrap_or_default();
    assert!(nearly(storm, STORM), "{storm} events of the storm: {}", context());

    let events: Vec<Value> = file("events").lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let mut ended: BTreeMap<(String, String, u64), u32> = BTreeMap::new();
    for event in events.iter().filter(|event| event["stage"] == "ResponseComplete") {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let annotations = &event["annotations"];
        if annotations["kubewitness.dev/completeness"] == "partial: text-unreadable" {
            continue;
        }
        assert_eq!(annotations["kubewitness.dev/completeness"], Value::Null, "{event}");
        let key = (
            text(&event["requestURI"]),
            text(&annotations["kubewitness.dev/access"]),
            event["responseStatus"]["code"].as_u64().unwrap_or(0),
        );
        *ended.entry(key).or_default() += 1;
    }
    let expected: BTreeMap<_, _> =
        KINDS.iter().map(|kind| ((kind.path.to_owned(), kind.access.to_owned(), u64::from(kind.code)), kind.count)).collect();
    assert!(ended.keys().all(|key| expected.contains_key(key)), "{ended:?}: {}", context());
    for (key, count) in expected {
        let found = ended.get(&key).copied().unwrap_or_default();
        assert!(nearly(f64::from(found), count), "{found} instead of {count} ended events of {key:?}: {}", context());
    }

    let panicked = events.iter().filter(|event| event["stage"] == "Panic" && event["requestURI"] == "/containerLogs/default/panic/main");
    assert_eq!(panicked.count(), PANICS as usize, "each panic is told as one: {}", context());
    assert_times_follow(file("clock"), file("stepped"));

    for kind in KINDS.iter().filter(|kind| !kind.token.is_empty() && kind.access != "unchecked") {
        let user = format!("system:serviceaccount:test:{}", kind.token);
        let is_its = |event: &&Value| {
            event["stage"] == "ResponseComplete" && event["user"]["username"] == user.as_str() && event["requestURI"] == kind.path
        };
        let count = u32::try_from(events.iter().filter(is_its).count()).unwrap_or(u32::MAX);
        assert!(nearly(f64::from(count), kind.count), "{count} of {user} on {}: {}", kind.path, context());
    }
    // The finding stands in every later event of its request.
    let raised =
        |event: &&Value| event["annotations"]["kubewitness.dev/findings"].as_str().is_some_and(|found| found.contains("unlogged-exec"));
    let unlogged: BTreeSet<&str> = events.iter().filter(raised).filter_map(|event| event["auditID"].as_str()).collect();
    assert_eq!(unlogged.len(), Kind::executed() as usize, "each executed exec raises unlogged-exec: {}", context());

    for kind in &KINDS {
        let labels = [format!("endpoint=\"{}\"", kind.endpoint), format!("access=\"{}\"", kind.access), format!("code=\"{}\"", kind.code)];
        let found = sum("kubewitness_requests_total{", &labels.each_ref().map(String::as_str));
        let expected =
            if (kind.endpoint, kind.access) == ("pods", "fine-grained") { kind.count + STORM + STEPPED.0 * STEPPED.1 } else { kind.count };
        assert!(nearly(found, expected), "{labels:?}: {found} instead of {expected}: {}", file("metrics"));
    }
    assert!(is(sum("kubewitness_requests_total{", &[]), Kind::all()), "no other requests: {}", file("metrics"));
    for (name, label) in
        [("kubewitness_unlogged_exec_total{", "outcome=\"executed\""), ("kubewitness_findings_total{", "finding=\"unlogged-exec\"")]
    {
        assert!(is(sum(name, &[label]), Kind::executed()), "{name}: {}", file("metrics"));
    }
    for nothing in
        ["kubewitness_records_lost_total{", "kubewitness_connections_without_request_total{", "kubewitness_events_dropped_total{"]
    {
        assert!(is(sum(nothing, &[]), 0), "{nothing}: {}", file("metrics"));
    }
}

/// The events of requests that were sent after the clock was set have the time that it showed then. Times of this form are in their order as
/// texts.
fn assert_times_follow(clock: &str, events: &str) {
    let lines: Vec<&str> = clock.lines().collect();
    let shown = lines.as_chunks::<2>().0;
    assert_eq!(shown.len(), STEPPED.0 as usize, "{clock}");
    let mut found = vec![0; shown.len()];
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).expect(line);
        let time = |field: &str| event[field].as_str().expect(line).to_owned();
        let (received, ended) = (time("requestReceivedTimestamp"), time("stageTimestamp"));
        let step = shown.iter().position(|[from, to]| received.as_str() >= *from && ended.as_str() <= *to);
        found[step.unwrap_or_else(|| panic!("at none of these times: {clock}{line}"))] += 1;
        assert!(received <= ended, "{line}");
    }
    assert_eq!(found, vec![STEPPED.1; shown.len()], "{clock}\n{events}");
}
