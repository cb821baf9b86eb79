//! What the RBAC objects make of requests, as tables.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Backing::{Confirmed, Contradicted, Stale, Unknown};
use super::*;
use crate::judge::testing::*;
use crate::judge::{Finding, Judge, Policy, Stage, Verdict};
use crate::observation::{Decision, Text, User};
use crate::rbac::{Change, Kind};

/// The subject of [`SERVICE_ACCOUNT`], as a user.
const ME: (&str, &str) = ("User", SERVICE_ACCOUNT);
const WEBHOOK: &str = "allowed by our webhook";

fn bench(updates: impl IntoIterator<Item = Update>) -> Judge {
    let mut judge = Judge::new(Policy { rbac: true, ..Policy::new(NODE) }, 8);
    updates.into_iter().for_each(|update| judge.rbac(update));
    judge
}

/// The objects that [`REASON`] tells of, with these verbs on `nodes/proxy`, and others.
fn objects(verbs: &[&str], others: impl IntoIterator<Item = Update>) -> Vec<Update> {
    let named = [role("nodes-proxy-get", verbs, &["nodes/proxy"]), binding("monitoring-np", "nodes-proxy-get", ME)];
    listing(named.into_iter().chain(others))
}

fn pods() -> [Update; 2] {
    [role("pod-reader", &["get"], &["nodes/pods"]), binding("pods", "pod-reader", ("Group", "system:serviceaccounts"))]
}

fn entitlement(verdict: &Verdict) -> (Option<Backing>, Option<String>) {
    let entitlement = verdict.judgement.entitlement.as_ref();
    let what_if = entitlement.and_then(|entitlement| entitlement.without_nodes_proxy.as_ref());
    (entitlement.map(|entitlement| entitlement.backing), what_if.map(WhatIf::to_string))
}

fn has(verdict: &Verdict, finding: Finding) -> bool {
    verdict.judgement.findings.contains(finding)
}

fn fallback() -> Build {
    request("GET", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200)
}

fn exec() -> Build {
    request("GET", "/exec/a/b/c").upgrade("websocket").check("proxy", Decision::Allow).hijacked()
}

fn masters() -> User {
    User { groups: vec!["system:masters".into()], group_count: Some(1), ..user("admin") }
}

#[test]
fn what_the_objects_bear_out_and_what_they_would_do_without_nodes_proxy() {
    let get = || objects(&["get"], []);
    let and_pods = || objects(&["get"], pods());
    let malformed = Update::Change(Change::Binding("broken".into(), crate::rbac::Binding { malformed: true, ..Default::default() }));
    let because = |reason: &str| request("GET", "/exec/a/b/c").check_because("proxy", Decision::Allow, reason).status(200);
    let old_kubelet = |reason: &str| request("GET", "/pods").check_because("proxy", Decision::Allow, reason).status(200);
    let none = (None, None);
    let rows = vec![
        // The kubelet's reason, borne out or not.
        (get(), exec(), (Some(Confirmed), Some("denied"))),
        (get(), fallback(), (Some(Confirmed), Some("denied"))),
        (get(), request("GET", "/metrics").check("metrics", Decision::Allow).status(200), (Some(Stale), None)),
        (objects(&["*"], []), exec(), (Some(Confirmed), Some("denied"))),
        (objects(&["create"], []), exec(), (Some(Stale), Some("denied"))),
        (listing([]), exec(), (Some(Stale), Some("denied"))),
        (listing([role("nodes-proxy-get", &["get"], &["nodes/proxy"])]), exec(), (Some(Stale), Some("denied"))),
        (
            listing([role("other", &["get"], &["nodes/proxy"]), binding("monitoring-np", "other", ME)]),
            exec(),
            (Some(Stale), Some("denied")),
        ),
        (get(), exec().change_check(|check| check.reason = Text::Unreadable), (Some(Unknown), Some("denied"))),
        (get(), because(r#"RBAC: allowed by ClusterRoleBinding "a\"b" of ClusterRole "c" to User "x""#), (Some(Unknown), Some("denied"))),
        // Of those that were not seen whole nothing is concluded that another group or name could change.
        (get(), exec().change_check(|check| Arc::make_mut(&mut check.user).group_count = Some(9)), (Some(Confirmed), Some("denied"))),
        (listing([]), exec().change_check(|check| Arc::make_mut(&mut check.user).group_count = Some(9)), (Some(Unknown), Some("denied"))),
        (get(), exec().change_check(|check| Arc::make_mut(&mut check.user).name = cut(SERVICE_ACCOUNT)), (Some(Unknown), Some("denied"))),
        (
            get(),
            fallback().change_check(|check| Arc::make_mut(&mut check.user).name = Text::Unreadable),
            (Some(Unknown), Some("unknown: the user was not seen")),
        ),
        (
            get(),
            fallback().change_check(|check| check.node = Text::Unreadable),
            (Some(Confirmed), Some("unknown: the question was not seen")),
        ),
        (listing([malformed.clone()]), fallback(), (Some(Unknown), Some("unknown: ClusterRoleBinding/broken could not be read"))),
        // Without nodes/proxy: by any rule for the finer right, for this verb.
        (and_pods(), fallback(), (Some(Confirmed), Some("allowed ClusterRoleBinding/pods ClusterRole/pod-reader"))),
        (and_pods(), old_kubelet(REASON), (Some(Confirmed), Some("allowed ClusterRoleBinding/pods ClusterRole/pod-reader"))),
        (
            objects(&["*"], pods()),
            request("POST", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(405),
            (Some(Confirmed), Some("denied")),
        ),
        (and_pods(), request("GET", "/flagz").check("proxy", Decision::Allow).status(404), (Some(Confirmed), Some("denied"))),
        (and_pods(), request("GET", "/containerLogs/a/b/c").check("proxy", Decision::Allow).status(200), (Some(Confirmed), Some("denied"))),
        (and_pods(), request("GET", "/nothing").check("proxy", Decision::Allow).status(404), (Some(Confirmed), Some("denied"))),
        (
            and_pods(),
            request("GET", "/x").request(|request| request.path = Text::Unreadable).check("proxy", Decision::Allow).status(200),
            (Some(Confirmed), Some("unknown: the question was not seen")),
        ),
        (and_pods(), request("GET", "/pods").check("pods", Decision::Allow).status(200), (Some(Stale), None)),
        // Members of system:masters need no right at all.
        (
            listing([]),
            request("GET", "/exec/a/b/c").user(masters()).check_because("proxy", Decision::Allow, "").status(200),
            (Some(Confirmed), Some("allowed system:masters")),
        ),
        (
            listing([]),
            because("").change_check(|check| Arc::make_mut(&mut check.user).group_count = Some(9)),
            (Some(Unknown), Some("unknown: not all groups of the user are known")),
        ),
        // Another authorizer's yes.
        (listing([]), because(""), (Some(Contradicted), Some("denied"))),
        (get(), because(WEBHOOK), (Some(Confirmed), Some("denied"))),
        (listing([]), because(WEBHOOK), (Some(Contradicted), Some("denied"))),
        (listing([malformed]), because(WEBHOOK), (Some(Unknown), Some("denied"))),
        (listing([]), old_kubelet(WEBHOOK), (Some(Contradicted), Some("unknown: another authorizer than RBAC may allow it"))),
        // The objects are not known, or nothing was granted.
        (vec![], fallback(), (Some(Unknown), Some("unknown: the RBAC objects are not known"))),
        (vec![], exec(), (Some(Unknown), Some("denied"))),
        (
            get().into_iter().chain([Update::Lost(Kind::ClusterRole)]).collect(),
            fallback(),
            (Some(Unknown), Some("unknown: the RBAC objects are not known")),
        ),
        (get(), request("GET", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::NoOpinion).status(403), none),
        (get(), request("GET", "/pods").status(401), none),
        (get(), request("GET", "/pods").request(|request| request.read_only = true).status(200), none),
    ];
    for (updates, build, (backing, what_if)) in rows {
        let verdict = bench(updates.clone()).ended(build.clone().seen());
        assert_eq!(entitlement(&verdict), (backing, what_if.map(str::to_owned)), "{updates:#?} {build:#?}");
    }
    let followed_not = Judge::new(Policy::new(NODE), 8).ended(fallback().seen());
    assert_eq!(followed_not.judgement.entitlement, None);
}

#[test]
fn a_get_that_execs_where_create_is_missing_is_the_bypass() {
    let get = || objects(&["get"], []);
    let post = request("POST", "/exec/a/b/c").upgrade("SPDY/3.1").check("proxy", Decision::Allow).answer(101).hijacked();
    let also_create = [role("creator", &["create"], &["nodes/proxy"]), binding("creator", "creator", ("Group", "system:authenticated"))];
    let elsewhere = [
        Update::Change(
            crate::rbac::Object::parse(&serde_json::json!({
                "kind": "ClusterRole", "metadata": {"name": "creator"},
                "rules": [{"apiGroups": [""], "verbs": ["create"], "resources": ["nodes/proxy"], "resourceNames": ["node2"]}],
            }))
            .unwrap()
            .into_change(),
        ),
        binding("creator", "creator", ME),
    ];
    let because =
        |reason: &str| request("GET", "/exec/a/b/c").upgrade("websocket").check_because("proxy", Decision::Allow, reason).hijacked();
    let of_server = || {
        listing([role("nodes-proxy-get", &["get"], &["nodes/proxy"]), binding("monitoring-np", "nodes-proxy-get", ("User", API_SERVER))])
    };
    let by_server = || request("GET", "/exec/a/b/c").upgrade("websocket").by(API_SERVER).check("proxy", Decision::Allow).hijacked();
    let rows = vec![
        (get(), exec(), true),
        (of_server(), by_server(), false),
        (objects(&["get"], elsewhere), exec(), true),
        (objects(&["get", "create"], []), exec(), false),
        (objects(&["*"], []), exec(), false),
        (objects(&["get"], also_create), exec(), false),
        (objects(&["create"], []), post, false),
        // Not executed.
        (get(), request("GET", "/exec/a/b/c").upgrade("SPDY/3.1").check("proxy", Decision::Allow).answer(403).hijacked(), false),
        (get(), request("GET", "/exec/a/b/c").check("proxy", Decision::NoOpinion).status(403), false),
        (get(), request("GET", "/containerLogs/a/b/c").check("proxy", Decision::Allow).status(200), false),
        (get(), fallback(), false),
        // What is not known is not missing.
        (vec![], exec(), false),
        (get(), exec().change_check(|check| Arc::make_mut(&mut check.user).group_count = Some(9)), false),
        (get(), exec().change_check(|check| check.reason = Text::Unreadable), false),
        // What was allowed by objects that are gone, or outside of RBAC, says nothing about create.
        (listing([]), exec(), false),
        (listing([]), because(WEBHOOK), false),
        (get(), because(WEBHOOK), false),
        (get(), request("GET", "/exec/a/b/c").user(masters()).check_because("proxy", Decision::Allow, "").status(101), false),
    ];
    for (updates, build, bypass) in rows {
        let verdict = bench(updates.clone()).ended(build.clone().seen());
        assert_eq!(has(&verdict, Finding::VerbBypass), bypass, "{updates:#?} {build:#?}");
    }
    assert!(!has(&Judge::new(Policy::new(NODE), 8).ended(exec().seen()), Finding::VerbBypass));
}

#[test]
fn outside_rbac_is_what_no_rule_explains() {
    let because = |reason: &str| request("GET", "/pods").check_because("pods", Decision::Allow, reason).status(200);
    let rows = vec![
        (listing([]), because(WEBHOOK), true),
        (listing([]), because(""), true),
        (listing(pods()), because(WEBHOOK), false),
        (listing(pods()), because(""), false),
        // Where the objects do not tell, the reason alone does, as without them.
        (vec![], because(WEBHOOK), true),
        (listing([]), because("").change_check(|check| Arc::make_mut(&mut check.user).group_count = Some(9)), false),
        (listing([]), because(REASON), false),
    ];
    for (updates, build, outside) in rows {
        let verdict = bench(updates.clone()).ended(build.clone().seen());
        assert_eq!(has(&verdict, Finding::OutsideRbac), outside, "{updates:#?} {build:#?}");
    }
}

#[test]
fn a_contradiction_is_stale_until_the_kubelet_cannot_remember_it_any_more() {
    let gone = || Update::Change(Change::BindingGone("monitoring-np".into()));
    let back = || binding("monitoring-np", "nodes-proxy-get", ME);
    let emptied = || binding("monitoring-np", "nodes-proxy-get", ("User", "somebody-else"));
    let another = || binding("another", "nodes-proxy-get", ME);
    let lost = || Update::Lost(Kind::ClusterRole);
    // At a second: what changes, then what a request is told.
    let stories: [&[(u64, Option<Update>, Backing)]; 6] = [
        &[(0, None, Confirmed), (10, Some(gone()), Stale), (339, None, Stale), (341, None, Contradicted), (9999, None, Contradicted)],
        // It comes back: forgotten, and the next time is the first.
        &[(0, Some(gone()), Stale), (400, Some(back()), Confirmed), (500, Some(gone()), Stale), (831, None, Contradicted)],
        // Nobody asked while it was back.
        &[
            (0, Some(gone()), Stale),
            (400, Some(back()), Confirmed),
            (401, Some(emptied()), Stale),
            (730, None, Stale),
            (732, None, Contradicted),
        ],
        // It is written anew, and still does not explain it.
        &[(0, Some(gone()), Stale), (300, Some(emptied()), Stale), (600, None, Stale), (631, None, Contradicted)],
        // Another rule allows it: never a finding.
        &[(0, Some(gone()), Stale), (340, Some(another()), Stale), (9999, None, Stale)],
        // While the objects are not known nothing is concluded, and nothing forgotten.
        &[(0, Some(gone()), Stale), (340, Some(lost()), Unknown), (341, Some(Update::Listed(Kind::ClusterRole)), Contradicted)],
    ];
    for story in stories {
        let mut judge = bench(objects(&["get"], []));
        for (second, update, backing) in story {
            update.iter().cloned().for_each(|update| judge.rbac(update));
            let verdict = judge.ended(exec().later(Duration::from_secs(*second)).seen());
            assert_eq!(entitlement(&verdict).0, Some(*backing), "{second} in {story:#?}");
            assert_eq!(has(&verdict, Finding::OutsideRbac), *backing == Contradicted, "{second} in {story:#?}");
        }
    }
}

/// What was let in before the objects changed ends after it: its check is as old as its beginning.
#[test]
fn a_long_request_is_not_held_against_later_objects() {
    let gone = || Update::Change(Change::BindingGone("monitoring-np".into()));
    let hour = Duration::from_secs(3600);
    let mut judge = bench(objects(&["get", "create"], []));
    let authorized = judge.authorized(request("GET", "/exec/a/b/c").check("proxy", Decision::Allow).seen());
    assert_eq!(authorized.stage, Stage::Authorized);
    judge.rbac(gone());
    let build = request("GET", "/exec/a/b/c").check("proxy", Decision::Allow).later(hour).hijacked();
    let mut exchange = build.seen();
    exchange.id = authorized.exchange.id;
    exchange.checks.clone_from(&authorized.exchange.checks);
    let ended = judge.ended(exchange);
    assert_eq!(entitlement(&ended), entitlement(&authorized));
    assert_eq!(entitlement(&ended).0, Some(Confirmed));
    assert!(!has(&ended, Finding::VerbBypass));

    // Nobody judged these when they began: two logs that were followed for an hour, and end ten minutes apart.
    let follow = |from: Duration, to: Duration| {
        let begun = request("GET", "/containerLogs/a/b/c?follow=1").check("proxy", Decision::Allow).later(from);
        begun.later_end(to).seen()
    };
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (from, to, backing) in
        [(minutes(0), minutes(120), Stale), (minutes(1), minutes(130), Stale), (minutes(126), minutes(131), Contradicted)]
    {
        assert_eq!(entitlement(&judge.ended(follow(from, to))).0, Some(backing), "{from:?} {to:?}");
    }
}

/// An object that comes a moment after the request that it allowed: the finding is raised when both are known.
#[test]
fn what_comes_late_is_taken_into_account_while_the_request_lasts() {
    let mut judge = bench(listing([]));
    let build = request("GET", "/exec/a/b/c").upgrade("SPDY/3.1").check("proxy", Decision::Allow);
    let authorized = judge.authorized(build.clone().seen());
    assert_eq!(entitlement(&authorized).0, Some(Stale));
    for update in objects(&["get"], []) {
        judge.rbac(update);
    }
    let answered = judge.answered(build.answer(101).seen()).unwrap();
    assert_eq!(answered.raised.iter().map(Finding::id).collect::<Vec<_>>(), ["unlogged-exec", "verb-bypass"]);
    assert_eq!(entitlement(&answered).0, Some(Confirmed));
}

/// `cargo test -p kubewitness --release --lib no_request_waits_for_20_000_bindings -- --nocapture` prints what it takes.
#[test]
fn no_request_waits_for_20_000_bindings() {
    const BINDINGS: usize = 20_000;
    let everybody = |_| ("Group", "system:authenticated".to_owned());
    let each_their_own = |n| ("User", format!("user-{n}"));
    // The second is the worst that a cluster can do: all of them name the caller's group, and none allows what is asked.
    for (what, subject, bound) in [
        ("each for somebody else", &each_their_own as &dyn Fn(usize) -> (&'static str, String), Duration::from_millis(1)),
        ("all for the caller", &everybody, Duration::from_millis(500)),
    ] {
        let crowd = (0..BINDINGS).map(|n| {
            let (kind, name) = subject(n);
            binding(&format!("binding-{n}"), "other", (kind, &name))
        });
        let objects = objects(&["get"], [role("other", &["get"], &["nodes/stats"])].into_iter().chain(crowd));
        let begun = Instant::now();
        let mut judge = bench(objects);
        let taken = begun.elapsed();
        let exchange = fallback().seen();
        let mut judged = |change: Option<Update>| {
            let exchange = exchange.clone();
            let begun = Instant::now();
            if let Some(change) = change {
                judge.rbac(change);
            }
            let verdict = judge.ended(exchange);
            assert_eq!(entitlement(&verdict), (Some(Confirmed), Some("denied".to_owned())));
            begun.elapsed()
        };
        // Another subject each time: what is told again unchanged changes nothing.
        let mut changed: Vec<_> = (0..50).map(|n| judged(Some(binding("binding-7", "other", ("User", &format!("user-{n}")))))).collect();
        changed.sort_unstable();
        let mut others: Vec<_> = (0..1000).map(|_| judged(None)).collect();
        others.sort_unstable();
        println!(
            "{BINDINGS} bindings, {what}: taken in {taken:?}; a change and the next request {:?}; any other {:?}, 99 of 100 below {:?}",
            changed[25], others[500], others[990]
        );
        assert!(changed[25] < bound && others[500] < Duration::from_millis(1), "{what}: {changed:?} {others:?}");
    }
}
