//! The RBAC objects of a large cluster: 1,000 identities in 10,000 bindings of 70 roles.
//!
//! Each identity falls back to `nodes/proxy` and has no finer right, so that all that may be asked is asked.

use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use kubewitness::{
    exchange::Exchange,
    judge::{Backing, Entitlement, Judge, Policy, WhatIf},
    kubelet::{Subresource, Verb},
    rbac::{Change, Kind, Mirror, Object, Question, Snapshot, Update, Who},
};
use serde_json::{Value, json};

use crate::trace::{LIMIT, fallback, of};

const IDENTITIES: usize = 1_000;
const BINDINGS: usize = 10_000;
const ROLES: usize = 70;
const NODE: &str = "node1";

pub(crate) fn benches(criterion: &mut Criterion) {
    let objects = [(Kind::ClusterRole, (0..ROLES).map(role).collect()), (Kind::ClusterRoleBinding, (0..BINDINGS).map(binding).collect())];
    let mut group = criterion.benchmark_group("rbac");
    listing(&mut group, &objects);
    questions(&mut group, &objects);
    answers(&mut group, &objects);
    group.finish();
}

/// What the API server lists: the objects of each kind.
type Objects = [(Kind, Vec<Value>); 2];

fn updates(objects: &Objects) -> impl Iterator<Item = Update> {
    objects.iter().flat_map(|(kind, values)| {
        let changes = values.iter().map(|value| Update::Change(change(value)));
        [Update::Listing(*kind)].into_iter().chain(changes).chain([Update::Listed(*kind)])
    })
}

/// From the API server's JSON.
fn listing(group: &mut BenchmarkGroup<'_, WallTime>, objects: &Objects) {
    group.throughput(Throughput::Elements((ROLES + BINDINGS) as u64));
    group.bench_function("list", |bencher| {
        bencher.iter_with_large_drop(|| {
            let mut mirror = Mirror::default();
            updates(objects).for_each(|update| mirror.take(update));
            mirror
        });
    });
}

/// The questions that are asked once for each caller.
fn questions(group: &mut BenchmarkGroup<'_, WallTime>, objects: &Objects) {
    let snapshot = Snapshot::of(objects.iter().flat_map(|(_, values)| values).map(change));
    let (namespace, name) = account(17);
    let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
    let user = format!("system:serviceaccount:{namespace}:{name}");
    let who = Who { user: &user, groups: &groups, all_groups_known: true };
    group.throughput(Throughput::Elements(1));
    for (told, subresource) in [("allowed", Subresource::Proxy), ("no-rule", Subresource::Pods)] {
        let question = Question { verb: Verb::Get, subresource, node: NODE };
        group.bench_function(BenchmarkId::new("question", told), |bencher| bencher.iter(|| snapshot.may(&who, question)));
    }
}

/// Requests are judged whole: whether the objects explain them, and the what-if.
fn answers(group: &mut BenchmarkGroup<'_, WallTime>, objects: &Objects) {
    let mut judge = Judge::new(Policy { rbac: true, ..Policy::new(NODE) }, LIMIT);
    updates(objects).for_each(|update| judge.rbac(update));
    let template = fallback();
    let exchanges: Vec<_> = (0..IDENTITIES).map(|number| Box::new(exchange(&template, number))).collect();
    let all = |judge: &mut Judge, exchanges: Vec<Box<Exchange>>| exchanges.into_iter().map(|it| judge.ended(it)).collect::<Vec<_>>();
    for verdict in all(&mut judge, exchanges.clone()) {
        let expected = Entitlement { backing: Backing::Confirmed, without_nodes_proxy: Some(WhatIf::Denied), lacks_create: true };
        assert_eq!(verdict.judgement.entitlement, Some(expected), "the objects explain each request");
    }
    group.throughput(Throughput::Elements(IDENTITIES as u64));
    group.bench_function(BenchmarkId::new("callers", "known"), |bencher| {
        bencher.iter_batched(|| exchanges.clone(), |exchanges| all(&mut judge, exchanges), BatchSize::LargeInput);
    });
    // Any change of the objects makes new callers of all.
    let last = change(&binding(BINDINGS));
    let Change::Binding(name, _) = &last else { panic!("not a binding: {last:?}") };
    let mut changes = [last.clone(), Change::BindingGone(name.clone())].into_iter().cycle();
    group.bench_function(BenchmarkId::new("callers", "new"), |bencher| {
        bencher.iter_batched(
            || exchanges.clone(),
            |exchanges| {
                judge.rbac(Update::Change(changes.next().expect("it has no end")));
                all(&mut judge, exchanges)
            },
            BatchSize::LargeInput,
        );
    });
}

/// A request that the first binding of the identity lets in, by its name, as the API server looks for it.
fn exchange(template: &Exchange, number: usize) -> Exchange {
    let (namespace, name) = account(number);
    let mut exchange = of(template, &namespace, &name);
    let granting = (number..BINDINGS).step_by(IDENTITIES).find(|number| grants_proxy(*number % ROLES)).expect("each has one");
    let check = exchange.checks.last_mut().expect("it was let in");
    let (binding, role) = (binding_name(granting), role_name(granting % ROLES));
    check.reason =
        format!(r#"RBAC: allowed by ClusterRoleBinding "{binding}" of ClusterRole "{role}" to ServiceAccount "{name}/{namespace}""#)
            .as_str()
            .into();
    exchange
}

fn change(value: &Value) -> Change {
    Object::parse(value).expect("an object").into_change()
}

/// All of them concern nodes, so that nothing can be left out.
fn role(number: usize) -> Value {
    let resources = if grants_proxy(number) { json!(["nodes/proxy"]) } else { json!(["nodes/metrics", "nodes/stats"]) };
    json!({
        "kind": "ClusterRole",
        "metadata": {"name": role_name(number)},
        "rules": [
            {"apiGroups": [""], "resources": ["pods", "services", "endpoints"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": resources, "verbs": ["get"]},
        ],
    })
}

fn grants_proxy(role: usize) -> bool {
    role.is_multiple_of(7)
}

fn role_name(number: usize) -> String {
    format!("observability-collector-{number:02}-node-reader")
}

fn binding(number: usize) -> Value {
    let (namespace, name) = account(number % IDENTITIES);
    let mut subjects = vec![json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})];
    if number.is_multiple_of(3) {
        subjects.push(json!({"kind": "Group", "name": format!("oidc:platform-team-{:03}@example.org", number % 400)}));
    }
    json!({
        "kind": "ClusterRoleBinding",
        "metadata": {"name": binding_name(number)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name(number % ROLES)},
        "subjects": subjects,
    })
}

fn binding_name(number: usize) -> String {
    format!("tenant-{:03}-observability-collector-{number:05}", number % 200)
}

fn account(number: usize) -> (String, String) {
    (format!("tenant-{:03}-production", number % 200), format!("observability-collector-{number:04}"))
}
