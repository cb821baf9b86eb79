//! One screen: the pod and what it may, the attack, its event, and what is left. At most 100 columns and 45 lines.

use anyhow::{Result, ensure};
use kubewitness_tests::chart::NAME;
use kubewitness_tests::held::Held;
use serde_json::Value;

use super::super::audit::Entry;
use super::super::scenes::METRIC;
use super::super::screen::{Paint, WIDTH, alarming, cut, logged};
use super::super::{events, write_out};
use crate::progress::separate;

/// The agent's pod, before the attack.
pub(super) struct Pod {
    /// What `kubectl get pods` prints.
    pub(super) table: String,
    /// `/proc/PID/status` of its process.
    pub(super) status: String,
    pub(super) held: Held,
}

/// What is left after `helm uninstall`.
pub(super) struct Left {
    /// What the agent had in the kernel.
    pub(super) held: Held,
    /// What of it is still there.
    pub(super) still: Held,
    pub(super) same_kubelet: bool,
}

/// All that was seen.
pub(super) struct Told {
    pub(super) pod: Pod,
    /// What ran in the intruder's pod.
    pub(super) command: Vec<String>,
    /// What it got: the output of `id`.
    pub(super) loot: String,
    pub(super) alert: Value,
    /// The counter before and after.
    pub(super) counted: (f64, f64),
    /// What the API server's audit log gained.
    pub(super) logged: Vec<Entry>,
    /// `None` where the release stays.
    pub(super) left: Option<Left>,
}

impl Told {
    /// An error that names whatever is not as it must be.
    pub(super) fn verdict(&self) -> Result<()> {
        let findings = events::text(&self.alert["annotations"]["kubewitness.dev/findings"]);
        ensure!(findings == "unlogged-exec,verb-bypass", "the event tells of `{findings}`");
        ensure!(self.loot.starts_with("uid=0(root)"), "the attack got `{}` and not the output of `id`", self.loot);
        let (before, after) = self.counted;
        ensure!((after - before - 1.0).abs() < f64::EPSILON, "{METRIC} went from {before} to {after}");
        let more: Vec<_> = self.logged.iter().filter(|entry| !entry.is_review_by_node()).map(|entry| entry.uri.as_str()).collect();
        ensure!(more.is_empty(), "the API server's audit log holds {}", more.join(", "));
        let Some(left) = &self.left else { return Ok(()) };
        ensure!(left.still == Held::default(), "something of the agent is left: {}", sentence(left));
        ensure!(left.same_kubelet, "the kubelet is another process than before");
        Ok(())
    }
}

/// Prints the screen on stdout.
pub(super) fn print(told: &Told, release: &str) -> Result<()> {
    separate();
    write_out(&format!("{}\n", lines(told, release, Paint::for_stdout()).join("\n")))
}

fn lines(told: &Told, release: &str, paint: Paint) -> Vec<String> {
    let indented = |line: &str| cut(&format!("  {line}"), WIDTH);
    let mut lines = vec![paint.bold(&format!("kubewitness on a cluster of Kubernetes {release}, installed with helm")), String::new()];
    lines.push(paint.bold(&format!("kubectl --namespace {NAME} get pods --output=wide")));
    lines.extend(columns(&told.pod.table).map(indented));
    lines.push(paint.bold("What its process has: three capabilities, no way to more, a filter of system calls"));
    lines.push(indented(&rights(&told.pod.status)));
    lines.push(indented(&amounts(&told.pod.held)));
    lines.extend([
        String::new(),
        paint.bold("The attack, from inside the pod default/intruder, which may do nothing but `get nodes/proxy`"),
    ]);
    lines.extend(typed(&told.command).iter().map(|line| indented(line)));
    lines.push(indented(&told.loot));
    lines.push(paint.bold(&format!("kubectl --namespace {NAME} logs daemonset/{NAME}: its audit event, the essentials")));
    lines.extend(events::essentials(&told.alert).iter().map(|line| alarming(&indented(line), paint)));
    lines.extend([String::new(), paint.bold("The metric that moved")]);
    let (before, after) = told.counted;
    lines.push(format!("  {METRIC}  {}", paint.red(&format!("{before} → {after}"))));
    lines.extend([String::new(), paint.bold("All that the API server's own audit log holds about it: no user, no pod, no command")]);
    lines.extend(told.logged.iter().map(logged));
    if let Some(left) = &told.left {
        lines.extend([String::new(), paint.bold("After helm uninstall"), indented(&sentence(left))]);
    }
    lines
}

/// The attack's command on three lines, without the headers that every WebSocket has.
fn typed(command: &[String]) -> [String; 3] {
    let word = |flag: &str| command.iter().skip_while(|word| *word != flag).nth(1).map_or("", String::as_str);
    let protocol = command.iter().find(|word| word.starts_with("Sec-WebSocket-Protocol")).map_or("", String::as_str);
    let program = command.first().map_or("", |path| path.rsplit('/').next().unwrap_or(path));
    [
        format!("$ {program} --token-file {} \\", word("--token-file")),
        format!("    --header 'Upgrade: websocket' --header '{protocol}' … \\"),
        format!("    --url '{}'", word("--url")),
    ]
}

/// The lines of `/proc/PID/status` that a security policy is about (proc(5)).
fn rights(status: &str) -> String {
    let value = |field: &str| status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap_or_default().trim();
    let others = ["NoNewPrivs", "Seccomp"].map(|field| format!("{field} {}", value(field)));
    format!("CapEff {} ({})  {}", value("CapEff"), capabilities(value("CapEff")), others.join("  "))
}

/// The names of the bits of a set of capabilities in hexadecimal digits (`include/uapi/linux/capability.h`).
fn capabilities(set: &str) -> String {
    let set = u64::from_str_radix(set, 16).unwrap_or_default();
    let name = |bit: u32| match bit {
        19 => "SYS_PTRACE".to_owned(),
        38 => "PERFMON".to_owned(),
        39 => "BPF".to_owned(),
        other => format!("number {other}"),
    };
    (0..u64::BITS).filter(|bit| set >> bit & 1 == 1).map(name).collect::<Vec<_>>().join(", ")
}

/// The table of pods without its last columns, which are empty here.
fn columns(table: &str) -> impl Iterator<Item = &str> {
    let width = table.lines().next().and_then(|head| head.find("NOMINATED")).unwrap_or(usize::MAX);
    table.lines().map(move |row| row.get(..width).unwrap_or(row).trim_end())
}

fn amounts(held: &Held) -> String {
    format!("in the kernel: {} programs, {} maps, {} links", held.programs.len(), held.maps.len(), held.links.len())
}

fn sentence(left: &Left) -> String {
    let kubelet = if left.same_kubelet { "the same kubelet" } else { "another kubelet" };
    let of = |name: &str, part: fn(&Held) -> usize| format!("{} of {} {name}", part(&left.still), part(&left.held));
    let kernel = [of("programs", |held| held.programs.len()), of("maps", |held| held.maps.len()), of("links", |held| held.links.len())];
    format!("no objects; in the kernel {}; {kubelet}", kernel.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told() -> Told {
        let long = "x".repeat(300);
        let annotations = ["access", "checks", "granted-by", "transport", "caller"];
        let mut annotations: serde_json::Map<_, _> =
            annotations.iter().map(|key| (format!("kubewitness.dev/{key}"), json!(long))).collect();
        annotations.insert("kubewitness.dev/findings".to_owned(), json!("unlogged-exec,verb-bypass"));
        let held = Held { programs: (1..6).collect(), maps: (1..14).collect(), links: (1..10).collect() };
        let review = || Entry {
            user: "system:node:node1".to_owned(),
            verb: "create".to_owned(),
            uri: "/tokenreviews".to_owned(),
            code: "201".to_owned(),
        };
        Told {
            pod: Pod {
                table: format!("NAME  READY\n{long}  1/1\n"),
                status: "CapEff:\t000000c000080000\nSeccomp:\t2\n".to_owned(),
                held: held.clone(),
            },
            command: ["/bin/kubeletcall", "--token-file", "/token", "--url", &long].map(str::to_owned).to_vec(),
            loot: "uid=0(root) gid=0(root)".to_owned(),
            alert: json!({
                "stage": "ResponseStarted", "requestReceivedTimestamp": "t", "stageTimestamp": "t", "verb": "get", "requestURI": long,
                "sourceIPs": ["192.0.2.1"], "user": {"username": long}, "objectRef": {"resource": "pods", "name": long},
                "responseStatus": {"metadata": {}, "code": 101}, "annotations": annotations,
            }),
            counted: (0.0, 1.0),
            logged: vec![review(), review()],
            left: Some(Left { held, still: Held::default(), same_kubelet: true }),
        }
    }

    #[test]
    fn it_fits_on_a_screen_whatever_was_seen() {
        let lines = lines(&told(), "1.36.3", Paint::none());
        assert!(lines.len() <= 45, "{} lines", lines.len());
        for line in &lines {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(!line.contains('\x1b'), "{line:?}");
        }
        assert!(lines.iter().any(|line| line.contains("(SYS_PTRACE, PERFMON, BPF)  NoNewPrivs") && line.contains("Seccomp 2")));
    }

    type Change = fn(&mut Told);

    #[test]
    fn whatever_is_not_as_it_must_be_is_named() {
        told().verdict().expect("all is well");
        let table: [(Change, &str); 6] = [
            (|told| told.loot.clear(), "output of `id`"),
            (|told| told.counted.1 = 2.0, "from 0 to 2"),
            (|told| told.alert["annotations"]["kubewitness.dev/findings"] = json!("unlogged-exec"), "tells of `unlogged-exec`"),
            (|told| told.logged[0].user = "system:serviceaccount:default:intruder".to_owned(), "audit log holds"),
            (|told| told.left.as_mut().expect("it is there").still.maps.extend([4]), "1 of 13 maps"),
            (|told| told.left.as_mut().expect("it is there").same_kubelet = false, "another process"),
        ];
        for (change, expected) in table {
            let mut told = told();
            change(&mut told);
            let error = told.verdict().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let mut kept = told();
        kept.left = None;
        kept.verdict().expect("a release that stays is well");
    }
}
