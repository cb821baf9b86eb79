//! The rules of the advice, on observations and clusters made by hand, and properties of any.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::testing::{Scene, binding, cluster, role, sa};
use super::*;
use crate::kubelet::{AccessKind, Endpoint, MetricsPage, Verb};
use crate::manifest::Manifests;
use crate::rbac::{self, Answer, Question, Snapshot, Subject};
use crate::when::When;

fn agent() -> Subject {
    Subject::service_account("mon", "agent")
}

fn of(report: Report, user: &str) -> Replacement {
    let subject = Subject::of_username(user);
    report.replacements.into_iter().find(|replacement| replacement.subject == subject).expect("there is an entry for the identity")
}

fn rules(replacement: &Replacement) -> Vec<(String, String)> {
    let rules = replacement.role.iter().flat_map(|role| &role.rules);
    rules.map(|rule| (rule.resources().join(" "), rule.verbs.join(" "))).collect()
}

fn caveats(caveats: &[Caveat]) -> Vec<&'static str> {
    caveats.iter().map(|caveat| caveat.id).collect()
}

#[test]
fn verdicts() {
    let fallback = |scene: Scene| scene.used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 5);
    let cluster = |version| cluster(version, &[role("r", &[(&["nodes/proxy"], &["get"])]), binding("b", "r", &[agent()])]);
    let new = cluster("v1.36.3");
    for (what, scene, cluster, verdict) in [
        ("fallback", fallback(Scene::new()), &new, Verdict::Replace),
        ("1.33", fallback(Scene::new()), &cluster("v1.33.0"), Verdict::Replace),
        ("1.32 may have the gate off", fallback(Scene::new()), &cluster("v1.32.1"), Verdict::UpgradeFirst),
        ("1.31", fallback(Scene::new()), &cluster("v1.31.1"), Verdict::UpgradeFirst),
        ("nothing seen", Scene::new(), &new, Verdict::Unused),
        (
            "only attempts",
            Scene::new().used(&sa("agent"), Endpoint::Exec(None), AccessKind::Denied, Verb::Create, 5),
            &new,
            Verdict::Unused,
        ),
        (
            "logs",
            fallback(Scene::new()).used(&sa("agent"), Endpoint::ContainerLogs(None), AccessKind::ProxyOnly, Verb::Get, 1),
            &new,
            Verdict::Keep,
        ),
        ("through the API server", fallback(Scene::new()).known(&sa("agent"), |seen| seen.through_api_server = 1), &new, Verdict::Keep),
        (
            "a path that was not seen",
            fallback(Scene::new()).used(&sa("agent"), Endpoint::Unknown, AccessKind::ProxyOnly, Verb::Get, 1),
            &new,
            Verdict::Undecided,
        ),
        (
            "system:masters",
            fallback(Scene::new()).known(&sa("agent"), |seen| seen.groups = Some(["system:masters".to_owned()].into())),
            &new,
            Verdict::Masters,
        ),
    ] {
        assert_eq!(of(scene.report(Some(cluster)), &sa("agent")).verdict, verdict, "{what}");
    }
}

#[test]
fn metrics_need_no_new_kubelet() {
    let scene = Scene::new().used(&sa("agent"), Endpoint::Metrics(MetricsPage::Cadvisor), AccessKind::Single, Verb::Get, 5);
    let objects = [role("r", &[(&["nodes/proxy", "nodes/metrics"], &["get"])]), binding("b", "r", &[agent()])];
    let replacement = of(scene.report(Some(&cluster("v1.29.1", &objects))), &sa("agent"));
    assert_eq!((replacement.verdict, replacement.upgrade.needs), (Verdict::Replace, None));
}

#[test]
fn the_oldest_kubelet() {
    let release = |text| Release::parse(text);
    for (endpoints, needs, gate) in [
        (&[Endpoint::Stats, Endpoint::Logs][..], None, false),
        (&[Endpoint::Checkpoint(None)], release("1.30"), false),
        (&[Endpoint::Pods, Endpoint::Stats], release("1.33"), true),
        (&[Endpoint::Pods, Endpoint::Checkpoint(None)], release("1.33"), true),
        (&[Endpoint::Configz], release("1.33"), true),
        (&[Endpoint::Configz, Endpoint::Flagz], release("1.33"), false),
        (&[Endpoint::Statusz], release("1.33"), false),
        (&[Endpoint::Pods, Endpoint::AllocatedPods(None)], release("1.37"), false),
    ] {
        let scene = endpoints
            .iter()
            .fold(Scene::new(), |scene, endpoint| scene.used(&sa("agent"), endpoint.clone(), AccessKind::Fallback, Verb::Get, 1));
        let upgrade = of(scene.report(None), &sa("agent")).upgrade;
        assert_eq!((upgrade.needs, upgrade.gate_is_enough), (needs, gate), "{endpoints:?}");
        assert_eq!(upgrade.unknown.len(), if needs.is_some() { 2 } else { 0 }, "{endpoints:?}");
    }
}

#[test]
fn how_it_is_taken_away() {
    let scene = Scene::new().used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 5);
    let scene = scene.known(&sa("agent"), |seen| seen.groups = Some(["system:serviceaccounts:mon".to_owned()].into()));
    let other = Subject::user("other");
    let group = Subject::group("system:serviceaccounts:mon");
    let proxy: &[(&[&str], &[&str])] = &[(&["nodes/proxy"], &["get"])];
    let mixed: &[(&[&str], &[&str])] = &[(&["pods"], &["list"]), (&["nodes", "nodes/proxy"], &["get"])];
    let wildcard: &[(&[&str], &[&str])] = &[(&["*"], &["*"])];
    for (what, rules, subjects, also_bound, action, others, gone) in [
        ("alone", proxy, vec![agent()], None, Action::DeleteBinding, vec![], true),
        ("others with another binding", proxy, vec![agent()], Some(&other), Action::DeleteBinding, vec![], true),
        ("others with the same", proxy, vec![agent(), other.clone()], None, Action::RemoveSubject, vec![other.clone()], true),
        ("other rights", mixed, vec![agent()], None, Action::EditRole, vec![], true),
        ("other rights, and others", mixed, vec![agent()], Some(&other), Action::EditRole, vec![other.clone()], true),
        ("a wildcard", wildcard, vec![agent(), other.clone()], None, Action::Wildcard, vec![other.clone()], false),
        ("a group", proxy, vec![group.clone(), other.clone()], None, Action::Group, vec![other.clone()], false),
    ] {
        let mut objects = vec![role("r", rules), binding("b", "r", &subjects)];
        objects.extend(also_bound.map(|subject| binding("c", "r", std::slice::from_ref(subject))));
        let replacement = of(scene.report(Some(&cluster("v1.36.3", &objects))), &sa("agent"));
        let [step] = &*replacement.steps else { panic!("{what}: {:?}", replacement.steps) };
        assert_eq!((step.action, &step.others), (action, &others), "{what}");
        let proof = replacement.proof.expect("there are RBAC objects");
        assert_eq!((proof.holds(), proof.missing.len()), (gone, 0), "{what}: {proof:?}");
    }
}

#[test]
fn what_still_gives_it_is_named() {
    let scene = Scene::new().used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 5);
    let objects = [
        role("r", &[(&["nodes/proxy"], &["get"])]),
        role("all", &[(&["*"], &["get"])]),
        binding("direct", "r", &[agent()]),
        binding("everybody", "all", &[Subject::group("system:authenticated")]),
    ];
    let replacement = of(scene.report(Some(&cluster("v1.36.3", &objects))), &sa("agent"));
    let actions: Vec<_> = replacement.steps.iter().map(|step| (&*step.binding, step.action)).collect();
    assert_eq!(actions, [("direct", Action::DeleteBinding), ("everybody", Action::Group)]);
    let still: BTreeSet<_> = replacement.proof.iter().flat_map(|proof| &proof.still).map(|grounds| &*grounds.binding).collect();
    assert_eq!(still, BTreeSet::from(["everybody"]));
}

#[test]
fn rights_that_are_limited_to_nodes_stay_limited() {
    let scene = Scene::new().used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 5);
    let rule = json!({"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"], "resourceNames": ["n1"]});
    let limited = json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [rule]});
    let replacement = of(scene.report(Some(&cluster("v1.36.3", &[limited, binding("b", "r", &[agent()])]))), &sa("agent"));
    assert_eq!(replacement.role.unwrap().rules[0].nodes, Some(BTreeSet::from(["n1".to_owned()])));
    assert!(replacement.proof.unwrap().holds());
}

#[test]
fn what_is_not_known_is_said() {
    let scene = Scene::new()
        .used("jane", Endpoint::Pods, AccessKind::Fallback, Verb::Unknown, 5)
        .used("jane", Endpoint::Stats, AccessKind::Single, Verb::None, 1)
        .used("jane", Endpoint::Exec(None), AccessKind::Denied, Verb::Create, 2)
        .used("jane", Endpoint::Pods, AccessKind::Unknown, Verb::Get, 3)
        .known("jane", |seen| seen.nodes.clear());
    let report = scene.report(Some(&cluster("v1.36.3", &[])));
    assert_eq!(caveats(&report.coverage.caveats), ["access-unknown"]);
    let jane = of(report, "jane");
    assert_eq!(rules(&jane), [("nodes/stats".to_owned(), "*".to_owned()), ("nodes/pods".to_owned(), "get".to_owned())]);
    assert_eq!(caveats(&jane.caveats), ["refused", "access-unknown", "verb-assumed", "any-verb", "groups-unknown", "nodes-not-told"]);
    assert_eq!(jane.basis.requests, 6);
    let proof = jane.proof.unwrap();
    assert_eq!((proof.holds(), proof.unclear), (false, Some(rbac::Obscure::Groups)));
}

#[test]
fn gaps_in_the_coverage_are_said() {
    let mut scene = Scene::new().used("jane", Endpoint::Pods, AccessKind::FineGrained, Verb::Get, 5);
    let day = std::time::Duration::from_hours(24);
    scene.0.window = scene.0.window.map(|(first, _)| (first, first + day));
    for (name, change) in [("n1", 1.0), ("n2", 0.5)] {
        let node = scene.0.nodes.get_mut(name).unwrap();
        node.watched = Some(day.mul_f64(change));
        node.lost = Some(3);
        node.partial = 1;
    }
    scene.0.nodes.get_mut("n1").unwrap().watched = None;
    scene.0.nodes.get_mut("n2").unwrap().omits = true;
    scene.0.uses.insert(Use { who: Who::Others, endpoint: Endpoint::Pods, access: AccessKind::Fallback, verb: Verb::Get }, 9);
    let mut cluster = cluster("v1.36.3", &[]);
    cluster.nodes.as_mut().unwrap().insert("n3".to_owned(), None);
    let origin = Origin { api_server_log: false, ..testing::origin() };
    let report = Report::new(&scene.0, &origin, Some(&cluster));
    assert_eq!(
        report.coverage.caveats.iter().map(|caveat| caveat.text.as_str()).collect::<Vec<_>>(),
        [
            "The window is 1 d long: what is done more seldom was not seen.",
            "Of 1 of 3 nodes nothing was seen: n3.",
            "It is not told for how long agents watched on 1 node.",
            "Not watched all the time: 1 node, n2 the least, with 50%.",
            "Agents on 2 nodes lost 6 records: requests may be missing.",
            "Something of 2 requests was not seen.",
            "Agents on 1 node leave events out by their --audit-policy, n2: what was used there and left out needs its rights too, and is missing here. --prometheus counts all.",
            "9 requests by identities beyond the agents' --max-identities, which are not told apart.",
            "No audit log of the API server was read: what goes through its nodes/proxy shows as the API server's own request.",
        ]
    );
    assert!(report.replacements.is_empty(), "jane neither holds nor used nodes/proxy");
}

#[test]
fn holders() {
    let jane = |scene: Scene, access| scene.used("jane", Endpoint::Exec(None), access, Verb::Get, 2);
    let ops = Subject::group("ops");
    let objects = [role("r", &[(&["nodes/proxy"], &["get"])]), binding("b", "r", &[Subject::user("jane"), ops.clone()])];
    let member = |seen: &mut IdentitySeen| seen.groups = Some(["ops".to_owned()].into());
    for (what, scene, used_by_jane, used_by_ops) in [
        ("nothing", Scene::new(), Seen::Never, Seen::Never),
        ("a member", jane(Scene::new(), AccessKind::ProxyOnly).known("jane", member), Seen::Times(2), Seen::Times(2)),
        ("perhaps a member", jane(Scene::new(), AccessKind::ProxyOnly), Seen::Times(2), Seen::Unknown),
        ("an attempt", jane(Scene::new(), AccessKind::Denied), Seen::Never, Seen::Never),
        ("not told", jane(Scene::new(), AccessKind::Unknown).known("jane", member), Seen::Unknown, Seen::Unknown),
    ] {
        let holders = scene.report(Some(&cluster("v1.36.3", &objects))).holders.unwrap();
        let seen: Vec<_> = holders.iter().map(|holder| (&holder.grant.subject, holder.used, holder.execs)).collect();
        assert_eq!(seen, [(&Subject::user("jane"), used_by_jane, used_by_jane), (&ops, used_by_ops, used_by_ops)], "{what}");
        let unused = [used_by_jane, used_by_ops].map(|used| used == Seen::Never);
        assert_eq!([holders[0].is_unused(), holders[1].could_exec_and_never_did()], unused, "{what}");
    }
}

/// Users: two `ServiceAccount`s, one of a certificate, and nobody.
const USERS: [&str; 4] = ["system:serviceaccount:mon:a", "system:serviceaccount:mon:b", "Jane \u{202e}\"", "system:anonymous"];

fn scenes() -> impl Strategy<Value = Scene> {
    let verbs = [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::None, Verb::Unknown];
    let one = (
        prop::sample::select(USERS.to_vec()),
        prop::sample::select(Endpoint::ALL.to_vec()),
        prop::sample::select(AccessKind::ALL.to_vec()),
        prop::sample::select(verbs.to_vec()),
        1..9_u64,
    );
    let groups = prop::option::of(prop::sample::subsequence(vec!["ops", "system:masters", "dev"], 0..2));
    (prop::collection::vec(one, 0..12), prop::collection::vec(groups, 4)).prop_map(|(uses, groups)| {
        let scene = uses
            .into_iter()
            .fold(Scene::new(), |scene, (user, endpoint, access, verb, count)| scene.used(user, endpoint, access, verb, count));
        USERS.into_iter().zip(groups).fold(scene, |scene, (user, groups)| {
            scene.known(user, |seen| seen.groups = groups.map(|groups| groups.into_iter().map(str::to_owned).collect()))
        })
    })
}

fn clusters() -> impl Strategy<Value = Cluster> {
    let resources = vec!["nodes/proxy", "nodes/pods", "nodes/metrics", "pods", "*/proxy", "*", "nodes/healthz"];
    let rule = (
        prop::sample::subsequence(resources, 1..3),
        prop::sample::subsequence(vec!["get", "create", "*", "list"], 1..3),
        prop::option::weighted(0.2, prop::sample::subsequence(vec!["n1", "n2"], 1..=2)),
    )
        .prop_map(|(resources, verbs, nodes)| {
            json!({"apiGroups": [""], "resources": resources, "verbs": verbs, "resourceNames": nodes.unwrap_or_default()})
        });
    let roles = prop::collection::vec(prop::collection::vec(rule, 1..3), 3).prop_map(|roles| {
        let named = roles.into_iter().enumerate();
        named.map(|(index, rules)| json!({"kind": "ClusterRole", "metadata": {"name": format!("r{index}")}, "rules": rules})).collect()
    });
    let subjects: Vec<Subject> =
        USERS.into_iter().map(Subject::of_username).chain(["ops", "system:serviceaccounts"].map(Subject::group)).collect();
    let bindings = prop::collection::vec((0..3_usize, prop::sample::subsequence(subjects, 1..3)), 0..5);
    (roles, bindings).prop_map(|(mut objects, bindings): (Vec<_>, _)| {
        let named = bindings.into_iter().enumerate();
        objects.extend(named.map(|(index, (role, subjects))| binding(&format!("b{index}"), &format!("r{role}"), &subjects)));
        cluster("v1.36.3", &objects)
    })
}

proptest! {
    /// The role gives what was seen and no more, and never `nodes/proxy`.
    #[test]
    fn the_role_is_the_least_that_covers(scene in scenes(), cluster in prop::option::of(clusters())) {
        for replacement in scene.report(cluster.as_ref()).replacements {
            let user = &*replacement.subject.name;
            let rights: BTreeSet<Right> = scene.0.uses.keys()
                .filter(|seen| seen.who == Who::User(user.to_owned()))
                .filter_map(|seen| match advice(seen) { Some(Advice::Right(right)) => Some(right), _ => None })
                .collect();
            prop_assert!(replacement.covers.keys().eq(&rights));
            prop_assert_eq!(replacement.role.is_some(), !rights.is_empty() && replacement.verdict != Verdict::Masters);
            let Some(role) = &replacement.role else { continue };
            let alone = Snapshot::of(role.changes());
            let who = rbac::Who { user, groups: &[], all_groups_known: true };
            let all_verbs: BTreeSet<Subresource> = rights.iter().filter(|right| right.verb == Verb::None).map(|right| right.subresource).collect();
            for subresource in Subresource::ALL {
                for verb in [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::None] {
                    let given = ["n1", "n2", "n3"].iter().any(|node| matches!(alone.may(&who, Question { verb, subresource, node }), Answer::Allowed(_)));
                    let seen = rights.contains(&Right { subresource, verb }) || all_verbs.contains(&subresource);
                    prop_assert_eq!(given, seen, "{:?} {:?}", verb, subresource);
                    prop_assert!(!given || subresource != Subresource::Proxy);
                }
            }
        }
    }

    /// What the proof says, the objects of the whole cluster say too.
    #[test]
    fn the_proof_is_true(scene in scenes(), cluster in clusters()) {
        for replacement in scene.report(Some(&cluster)).replacements {
            let mut after = cluster.snapshot.clone();
            replacement.role.iter().flat_map(NewRole::changes).for_each(|change| _ = after.apply(change));
            for step in replacement.steps.iter().filter(|_| replacement.verdict.takes_away()) {
                let change = step.change(&after);
                if let Some(change) = change {
                    after.apply(change);
                }
            }
            let caller = Caller::new(&replacement.subject.name, scene.0.identities.get(&Who::User(replacement.subject.name.to_string())));
            let proof = replacement.proof.expect("there are RBAC objects");
            if replacement.verdict != Verdict::Masters {
                prop_assert_eq!(&proof.missing, &[]);
            }
            let holds = ["n1", "n2", "n3"].iter().any(|node| {
                let question = |verb| Question { verb, subresource: Subresource::Proxy, node };
                let may = |verb| matches!(caller.ask(|who| after.may(who, question(verb))), Answer::Allowed(rbac::Evidence::Rule(_)));
                [Verb::Get, Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::None].into_iter().any(may)
            });
            if replacement.verdict != Verdict::Masters {
                prop_assert_eq!(holds, !proof.still.is_empty());
            }
        }
    }

    /// Whoever used `nodes/proxy` has an entry, and whoever holds it by a rule of their own.
    #[test]
    fn nobody_is_left_out(scene in scenes(), cluster in clusters()) {
        let report = scene.report(Some(&cluster));
        let told: BTreeSet<&str> = report.replacements.iter().map(|replacement| &*replacement.subject.name).collect();
        for seen in scene.0.uses.keys().filter(|seen| matches!(seen.access, AccessKind::Fallback | AccessKind::ProxyOnly)) {
            let Who::User(user) = &seen.who else { continue };
            prop_assert!(told.contains(user.as_str()));
        }
        for user in USERS {
            let who = rbac::Who { user, groups: &[], all_groups_known: true };
            let question = Question { verb: Verb::Get, subresource: Subresource::Proxy, node: "n1" };
            if matches!(cluster.snapshot.may(&who, question), Answer::Allowed(_)) {
                prop_assert!(told.contains(user), "{}", user);
            }
        }
    }

    /// The manifests hold the roles and bindings that the report means, whatever the callers are called.
    #[test]
    fn manifests_read_back(scene in scenes(), cluster in prop::option::of(clusters()), user in any::<String>()) {
        // The reader takes what looks like a template for one.
        prop_assume!(!user.contains("{{"));
        let scene = scene.used(&user, Endpoint::Pods, AccessKind::Fallback, Verb::Get, 1);
        let report = scene.report(cluster.as_ref());
        let yaml = manifest::manifests(&report);
        let mut manifests = Manifests::default();
        manifests.take("roles.yaml", yaml.as_bytes());
        prop_assert_eq!(&manifests.problems, &[]);
        let wanted: Vec<&NewRole> = report.replacements.iter().filter_map(|replacement| replacement.role.as_ref()).collect();
        let objects: Vec<rbac::Change> = manifests.roles.iter().zip(&manifests.bindings)
            .flat_map(|(role, binding)| {
                [rbac::Change::Role(role.name.clone(), role.role.clone()), rbac::Change::Binding(binding.name.clone(), binding.binding.clone())]
            })
            .collect();
        let expected: Vec<rbac::Change> = wanted.iter().flat_map(|role| role.changes()).collect();
        prop_assert_eq!(objects, expected);
    }

    /// Nothing that callers chose reaches a terminal as more than text, in any form.
    #[test]
    fn all_forms_are_inert(scene in scenes(), user in any::<String>(), width in 40..200_usize) {
        let scene = scene.used(&user, Endpoint::Pods, AccessKind::Fallback, Verb::Get, 1).found(&user, crate::judge::Finding::Probing, 1);
        let report = scene.report(None);
        let json = document::Document::of(&report).json().unwrap();
        for text in [text::text(&report, width, text::Paint::Plain, &When::Utc), manifest::manifests(&report), json.clone()] {
            prop_assert!(!text.chars().any(|character| character != '\n' && crate::inert::obeyed(character)));
        }
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        let users: Vec<&str> = read["matrix"].as_array().unwrap().iter().filter_map(|used| used["identity"].as_str()).collect();
        prop_assert!(users.contains(&user.as_str()));
    }
}

#[test]
fn names_of_roles_are_unique() {
    let users: Vec<String> = ["Jane", "jANE", "system:serviceaccount:user:jane", "jane"].map(str::to_owned).into();
    let scene = users.iter().fold(Scene::new(), |scene, user| scene.used(user, Endpoint::Pods, AccessKind::Fallback, Verb::Get, 1));
    let report = scene.report(None);
    let names: BTreeSet<_> = report.replacements.iter().map(|replacement| &replacement.role.as_ref().unwrap().name).collect();
    assert_eq!(names.len(), users.len());
}
