//! What the RBAC objects of a large cluster cost on each of its nodes. One test alone in its process, because it measures the process.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kubewitness::kubelet::{Subresource, Verb};
use kubewitness::rbac::{Kind, Mirror, Object, Question, Update, Who};
use serde_json::{Value, json};

const ROLES: usize = 500;
const BINDINGS: usize = 20_000;
const LIMIT_KIB: usize = 8 * 1024;
/// What a debug build on a busy machine stays far below.
const QUESTION_WITHIN: Duration = Duration::from_micros(200);

#[test]
fn twenty_thousand_bindings_cost_little_and_answers_are_fast() {
    let mut mirror = Mirror::default();
    // The allocator, and what parsing needs, are there before the first measurement.
    black_box((role(0), binding(0)));
    reset_peak();
    let before = resident("VmRSS");
    list(&mut mirror);
    let (listed, peak) = (resident("VmRSS") - before, resident("VmHWM") - before);

    reset_peak();
    list(&mut mirror);
    let relisting = resident("VmHWM") - before;
    eprintln!("listed {listed} KiB, at most {peak} KiB; listed again at most {relisting} KiB");
    assert!(peak.max(relisting) <= LIMIT_KIB, "{peak} KiB, listed again {relisting} KiB; {LIMIT_KIB} KiB are allowed");

    let snapshot = mirror.snapshot().expect("both kinds are listed");
    assert_eq!((snapshot.roles().count(), snapshot.bindings().count()), (ROLES, BINDINGS));
    let mut allowed = 0;
    let begun = Instant::now();
    for number in 0..1_000 {
        let (namespace, name) = account(number * 17);
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
        let question = Question { verb: Verb::Get, subresource: Subresource::Proxy, node: "node1" };
        allowed += usize::from(!snapshot.grounds(&Who { user: &user, groups: &groups, all_groups_known: true }, question).is_empty());
    }
    let each = begun.elapsed() / 1_000;
    eprintln!("{each:?} a question");
    assert!(allowed > 900, "{allowed} of 1000");
    assert!(each < QUESTION_WITHIN, "{each:?}");
}

fn list(mirror: &mut Mirror) {
    for (kind, count, object) in [(Kind::ClusterRole, ROLES, role as fn(usize) -> Value), (Kind::ClusterRoleBinding, BINDINGS, binding)] {
        mirror.take(Update::Listing(kind));
        for number in 0..count {
            let object = Object::parse(&object(number)).expect("an object");
            mirror.take(Update::Change(object.into_change()));
        }
        mirror.take(Update::Listed(kind));
    }
}

/// All of them concern nodes, so that nothing can be left out.
fn role(number: usize) -> Value {
    json!({
        "kind": "ClusterRole",
        "metadata": {"name": role_name(number)},
        "rules": [
            {"apiGroups": [""], "resources": ["pods", "services", "endpoints"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["nodes/proxy", "nodes/metrics"], "verbs": ["get"]},
        ],
    })
}

fn role_name(number: usize) -> String {
    format!("observability-collector-{number:03}-node-reader")
}

fn binding(number: usize) -> Value {
    let account = |number| {
        let (namespace, name) = account(number);
        json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
    };
    let mut subjects = vec![account(number)];
    if number.is_multiple_of(3) {
        subjects.push(json!({"kind": "Group", "name": format!("oidc:platform-team-{:04}@example.org", number % 4000)}));
    }
    if number.is_multiple_of(2) {
        subjects.push(account(number + BINDINGS));
    }
    json!({
        "kind": "ClusterRoleBinding",
        "metadata": {"name": format!("tenant-{:04}-observability-collector-{number:05}", number % 2000)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name(number % ROLES)},
        "subjects": subjects,
    })
}

fn account(number: usize) -> (String, String) {
    (format!("tenant-{:04}-production", number % 2000), format!("observability-collector-{number:05}"))
}

/// From `/proc/self/status`, in KiB.
fn resident(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("the kernel tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Makes the peak what is resident now (proc(5), `clear_refs`).
fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own peak");
}
