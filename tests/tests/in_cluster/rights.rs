//! Each right of the pod is taken away, all at the same time, in pods of their own that see the same attack. What docs/permissions.md says
//! is lost is lost, and nothing else; and what goes wrong is said in a sentence that tells what to do.

use std::{collections::BTreeMap, time::Instant};

use kubewitness_tests::{
    agent::output_of,
    chart::{self, AgentPod, NAME, events},
    cluster::{Cluster, NODE},
    scenarios::{Bed, annotation},
};
use serde_json::{Value, json};

use super::{
    INTRUDER, READY_WITHIN, SEEN_WITHIN,
    attack::{exec, uid},
    installed, intruder, is_answered, until,
};

/// The label of everything that is made for a row.
const ROW: &str = "row";

/// One thing that is taken away.
struct Row {
    /// Also the pod's name.
    without: String,
    take: Box<dyn Fn(&mut Value)>,
    then: Then,
}

/// Fields of an event that do not differ from pod to pod.
type Told = BTreeMap<&'static str, String>;

enum Then {
    /// It ends, and its last line holds this.
    Ends(&'static str),
    /// It goes on and sees nothing: it is not ready, and its log holds this.
    Blind(&'static str),
    /// It watches. These fields of the event are other ones than those that the whole pod tells, and its log holds this.
    /// Who may read the metrics gets this status.
    Watches { lost: Vec<(&'static str, String)>, says: Option<&'static str>, metrics: u16 },
}

pub(super) fn are_needed(bed: &Bed) {
    let cluster = &bed.cluster;
    installed(bed);
    intruder(bed);
    let rows = rows(cluster);
    let reader = chart::reader(cluster).unwrap();
    let begun = Instant::now();
    for row in &rows {
        start(cluster, row);
    }
    for row in rows.iter().filter(|row| matches!(row.then, Then::Watches { .. })) {
        until(&format!("{}: it watches and says what is missing", row.without), READY_WITHIN, || is_settled(cluster, row).then_some(()));
    }
    eprintln!("    {} pods are where they should be after {:.1?}", rows.len(), begun.elapsed());
    exec(cluster, "rights");
    let mut wrong = Vec::new();
    let whole = told(cluster, "nothing");
    for row in &rows {
        match &row.then {
            Then::Watches { lost, metrics, .. } => {
                wrong.extend(differences(row, lost, &whole, &told(cluster, &row.without)));
                let (status, page) = AgentPod::named(cluster, &row.without).unwrap().get(cluster, "/metrics", Some(&reader)).unwrap();
                wrong.extend((status != *metrics).then(|| format!("without {}: /metrics answers {status}: {page}", row.without)));
            }
            Then::Ends(help) => wrong.extend(last_words(cluster, row, help)),
            Then::Blind(help) => wrong.extend(blindness(cluster, row, help)),
        }
    }
    // What follows needs the memory, and counts the objects.
    let kinds = "pod,serviceaccount,clusterrole,clusterrolebinding";
    output_of(&mut cluster.kubectl(["--namespace", NAME, "delete", kinds, "--selector", ROW, "--grace-period=1"])).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rows(cluster: &Cluster) -> Vec<Row> {
    let row = |without: &str, take: fn(&mut Value), then| Row { without: without.to_owned(), take: Box::new(take), then };
    let watches = |lost: &[(&'static str, &str)], says| Then::Watches {
        lost: lost.iter().map(|(field, value)| (*field, (*value).to_owned())).collect(),
        says,
        metrics: 200,
    };
    let nameless = format!("pod {}", uid(cluster, INTRUDER));
    let mut rows = vec![
        row("nothing", |_| {}, watches(&[], None)),
        // The other way round: with the node's network nobody has to tell it which process the kubelet is, here too.
        row("own-network", |spec| unnamed(spec)["hostNetwork"] = json!(true), watches(&[], None)),
        row("bpf", |spec| drop_capability(spec, "BPF"), Then::Ends("CAP_BPF")),
        row("perfmon", |spec| drop_capability(spec, "PERFMON"), Then::Ends("CAP_PERFMON")),
        row("sys-ptrace", |spec| drop_capability(spec, "SYS_PTRACE"), Then::Ends("CAP_SYS_PTRACE")),
        row("host-pid", |spec| remove(spec, "hostPID"), Then::Ends("the host's PID namespace")),
        row("host-pid-of-process-1", |spec| remove(unnamed(spec), "hostPID"), Then::Blind("set hostPID: true")),
        row("sys-ptrace-of-process-1", |spec| drop_capability(unnamed(spec), "SYS_PTRACE"), Then::Blind("needs CAP_SYS_PTRACE")),
        row("root", |spec| container(spec)["securityContext"]["runAsUser"] = json!(65532), Then::Ends("or root")),
        row("pod-logs", |spec| unmount(spec, "pod-logs"), watches(&[("caller", &nameless)], None)),
        row("cgroups", |spec| unmount(spec, "cgroups"), watches(&[], None)),
        row(
            "token",
            |spec| spec["automountServiceAccountToken"] = json!(false),
            rbac_is_unknown("let its ServiceAccount's token be mounted", 503),
        ),
        row(
            "node-name",
            |spec| remove(container(spec), "env"),
            watches(&[("node", "node-name"), ("findings", "unlogged-exec,verb-bypass,stolen-token")], None),
        ),
    ];
    rows.extend(rules(cluster));
    rows
}

/// What is lost where the RBAC objects are not known.
fn rbac_is_unknown(says: &'static str, metrics: u16) -> Then {
    Then::Watches { lost: vec![("findings", "unlogged-exec".to_owned())], says: Some(says), metrics }
}

/// A row for each verb on each resource that the chart's role gives, with a role that gives all but that.
fn rules(cluster: &Cluster) -> Vec<Row> {
    let role = output_of(&mut cluster.kubectl(["get", "clusterrole", NAME, "--output=json"])).unwrap();
    let rules: Vec<Value> = serde_json::from_str::<Value>(&role).unwrap()["rules"].as_array().unwrap().clone();
    let texts =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>();
    let single: Vec<(String, String, String)> = rules
        .iter()
        .flat_map(|rule| {
            let (groups, resources, verbs) = (texts(&rule["apiGroups"]), texts(&rule["resources"]), texts(&rule["verbs"]));
            let pairs = resources.into_iter().flat_map(move |resource| verbs.clone().into_iter().map(move |verb| (resource.clone(), verb)));
            let group = groups.into_iter().next().unwrap_or_default();
            pairs.map(move |(resource, verb)| (group.clone(), resource, verb))
        })
        .collect();
    single
        .iter()
        .map(|(_, resource, verb)| {
            let name = format!("{verb}-{resource}");
            let others = single.iter().filter(|(_, other, also)| (other, also) != (resource, verb));
            let rules: Vec<_> =
                others.map(|(group, resource, verb)| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})).collect();
            account(cluster, &name, &rules);
            let then = match (verb.as_str(), resource.as_str()) {
                ("watch", "clusterroles") => rbac_is_unknown("clusterroles", 200),
                ("watch", "clusterrolebindings") => rbac_is_unknown("clusterrolebindings", 200),
                // API servers of these releases send what there is at the beginning of a watch; older ones have to be asked for a list.
                ("list", "clusterroles" | "clusterrolebindings") => Then::Watches { lost: Vec::new(), says: None, metrics: 200 },
                ("create", "tokenreviews" | "subjectaccessreviews") => Then::Watches { lost: Vec::new(), says: None, metrics: 500 },
                other => panic!("{other:?} is in the chart's role and in no row: what is it for?"),
            };
            let account = name.clone();
            Row { without: name, take: Box::new(move |spec| spec["serviceAccountName"] = json!(account)), then }
        })
        .collect()
}

/// A `ServiceAccount` in the agent's namespace with these rights.
fn account(cluster: &Cluster, name: &str, rules: &[Value]) {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let metadata = json!({"name": name, "labels": {ROW: name}});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAME, "labels": {ROW: name}}},
        {"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAME}],
        },
    ]});
    cluster.apply(&objects.to_string()).unwrap();
}

/// Starts the `DaemonSet`'s pod without what the row takes away. It does not start again: what it says first is what is read.
fn start(cluster: &Cluster, row: &Row) {
    let daemonset = output_of(&mut cluster.kubectl(["--namespace", NAME, "get", "daemonset", NAME, "--output=json"])).unwrap();
    let mut spec = serde_json::from_str::<Value>(&daemonset).unwrap()["spec"]["template"]["spec"].take();
    remove(&mut spec, "affinity");
    spec["nodeName"] = json!(NODE);
    spec["restartPolicy"] = json!("Never");
    (row.take)(&mut spec);
    let metadata = json!({"name": row.without, "namespace": NAME, "labels": {ROW: row.without}});
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string()).unwrap();
}

fn container(spec: &mut Value) -> &mut Value {
    &mut spec["containers"][0]
}

fn remove(object: &mut Value, field: &str) {
    assert!(object.as_object_mut().unwrap().remove(field).is_some(), "the chart's pod has a field {field}");
}

/// The pod as it is anywhere but here: nobody tells it which process the kubelet is.
fn unnamed(spec: &mut Value) -> &mut Value {
    let arguments = container(spec)["args"].as_array_mut().unwrap();
    arguments.retain(|argument| argument.as_str().is_some_and(|text| !text.starts_with("--kubelet-pid")));
    spec
}

fn drop_capability(spec: &mut Value, name: &str) {
    let added = container(spec)["securityContext"]["capabilities"]["add"].as_array_mut().unwrap();
    let before = added.len();
    added.retain(|capability| capability != name);
    assert_eq!(added.len(), before - 1, "the chart's pod has {name}");
}

fn unmount(spec: &mut Value, name: &str) {
    let mounts = container(spec)["volumeMounts"].as_array_mut().unwrap();
    let before = mounts.len();
    mounts.retain(|mount| mount["name"] != name);
    assert_eq!(mounts.len(), before - 1, "the chart's pod mounts {name}");
    spec["volumes"].as_array_mut().unwrap().retain(|volume| volume["name"] != name);
}

fn log(cluster: &Cluster, pod: &str) -> String {
    output_of(&mut cluster.kubectl(["--namespace", NAME, "logs", pod])).unwrap_or_default()
}

/// Whether a pod watches the kubelet and has said what is missing; without RBAC objects it does not wait for them.
fn is_settled(cluster: &Cluster, row: &Row) -> bool {
    let log = log(cluster, &row.without);
    let Then::Watches { says, .. } = &row.then else { return false };
    log.contains("attached to a kubelet") && log.contains(says.unwrap_or("the RBAC objects are known"))
}

/// What a pod tells of the attack, in fields that do not differ from pod to pod.
fn told(cluster: &Cluster, pod: &str) -> Told {
    const ANNOTATIONS: [&str; 9] =
        ["access", "caller", "checks", "completeness", "findings", "granted-by", "node", "transport", "without-nodes-proxy"];
    let event = until(&format!("the event in the log of {pod}"), SEEN_WITHIN, || {
        events(&log(cluster, pod)).into_iter().find(|event| is_answered(event, "rights"))
    });
    let mut told: BTreeMap<_, _> = ANNOTATIONS.iter().map(|name| (*name, annotation(&event, name).to_owned())).collect();
    for field in ["stage", "verb", "requestURI", "user", "objectRef", "sourceIPs", "responseStatus"] {
        told.insert(field, event[field].to_string());
    }
    told
}

/// How what a row's pod tells differs from what it should.
fn differences(row: &Row, lost: &[(&'static str, String)], whole: &Told, told: &Told) -> Vec<String> {
    let mut expected = whole.clone();
    expected.extend(lost.iter().cloned());
    let differ = expected.iter().filter(|(field, value)| told.get(**field) != Some(*value));
    differ.map(|(field, value)| format!("without {}: {field} is {:?} and not {value:?}", row.without, told.get(*field))).collect()
}

/// How a pod that should have ended did not, or did without a word that helps.
fn last_words(cluster: &Cluster, row: &Row, help: &str) -> Option<String> {
    let phase = until(&format!("the end without {}", row.without), READY_WITHIN, || {
        let phase = "--output=jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}";
        let phase = output_of(&mut cluster.kubectl(["--namespace", NAME, "get", "pod", &row.without, phase])).ok()?;
        Some(phase).filter(|phase| !phase.starts_with("Pending") && !phase.starts_with("Running"))
    });
    let log = log(cluster, &row.without);
    let last = log.lines().last().unwrap_or_default();
    let told = phase == "Failed 1" && last.contains(help) && !last.contains('{');
    (!told).then(|| format!("without {}: {phase}, and its last words are: {last}", row.without))
}

/// How a pod that must not be taken for one that watches is taken for it, or does not say what it needs.
fn blindness(cluster: &Cluster, row: &Row, help: &str) -> Option<String> {
    let path = "--output=jsonpath={.status.containerStatuses[0].ready}";
    let ready = output_of(&mut cluster.kubectl(["--namespace", NAME, "get", "pod", &row.without, path])).unwrap();
    let log = log(cluster, &row.without);
    let told = ready == "false" && log.contains(help) && events(&log).is_empty();
    (!told).then(|| format!("without {}: ready is {ready}, and its log is: {log}", row.without))
}
