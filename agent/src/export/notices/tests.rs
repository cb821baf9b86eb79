//! What becomes an Event, which are the same, and how often one is written.

use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;

use super::correlate::{Correlator, Dropped, Write};
use super::event;
use super::notice::{Notice, Object, reason};
use super::*;
use crate::exchange::{Gap, Place};
use crate::judge::testing::*;
use crate::judge::{Finding, Judge, Policy, Severity};
use crate::observation::{Decision, Timestamp};

const AT: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

fn exec(uri: &str) -> Build {
    request("GET", uri).upgrade("SPDY/3.1").check("proxy", Decision::Allow).answer(101).hijacked()
}

/// The notices of a request that is over.
fn notices(build: Build) -> Vec<Notice> {
    let verdict = Judge::new(Policy::new(NODE), 8).ended(build.seen());
    Notice::all(&verdict, AT).collect()
}

fn pod(namespace: &str, name: &str) -> Object {
    Object::Pod { namespace: namespace.into(), name: name.into() }
}

#[test]
fn a_finding_says_who_did_what_from_where_and_by_which_binding() {
    let told = |build: Build| notices(build).into_iter().map(|notice| (notice.object, notice.identity, notice.message)).collect::<Vec<_>>();
    let by = ", allowed by ClusterRoleBinding/monitoring-np ClusterRole/nodes-proxy-get";
    let who = || SERVICE_ACCOUNT.to_owned();
    let rows = [
        (
            exec("/exec/default/web/main?command=cat&command=/secret").called_from_pod("pod-uid"),
            pod("default", "web"),
            who(),
            format!(
                "Went past the API server, whose audit log does not hold it: exec to container main of pod default/web by {SERVICE_ACCOUNT} \
                 from 192.0.2.7 (pod default/web pod-uid){by}"
            ),
        ),
        (
            request("GET", "/logs/syslog").check("log", Decision::Allow).status(200),
            Object::Node,
            who(),
            format!("Logs were read past the API server: logs of the kubelet by {SERVICE_ACCOUNT} from 192.0.2.7{by}"),
        ),
        (
            request("GET", "/containerLogs/a/b/c").check("proxy", Decision::Allow).status(200),
            pod("a", "b"),
            who(),
            format!("Logs were read past the API server: containerLogs to container c of pod a/b by {SERVICE_ACCOUNT} from 192.0.2.7{by}"),
        ),
        (
            request("GET", "/pods").request(|request| request.read_only = true).status(200),
            Object::Node,
            "192.0.2.7".to_owned(),
            "The read-only port, which asks nobody who they are, was used: pods of the kubelet by somebody without a name from 192.0.2.7"
                .to_owned(),
        ),
        (
            exec("/exec/default/web/main").without_request().gap(Gap::Lost),
            Object::Node,
            who(),
            format!("Went past the API server, whose audit log does not hold it: something that was not seen by {SERVICE_ACCOUNT}"),
        ),
    ];
    for (build, object, identity, message) in rows {
        assert_eq!(told(build.clone()), [(object, identity, message)], "{build:#?}");
    }
    let stolen = notices(request("GET", "/pods").called_from(Place::Host).check("pods", Decision::Allow).status(200));
    assert_eq!(stolen.iter().map(|notice| notice.finding).collect::<Vec<_>>(), [Finding::StolenToken]);
    assert!(stolen[0].message.ends_with("; the token is bound to pod monitoring-1 on node node1"), "{}", stolen[0].message);
}

#[test]
fn what_is_mild_or_not_new_becomes_none() {
    assert_eq!(notices(request("GET", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200)), []);
    assert_eq!(notices(request("GET", "/exec/a/b/c").status(401)), []);
    let mut judge = Judge::new(Policy::new(NODE), 8);
    let build = request("GET", "/exec/a/b/c").upgrade("SPDY/3.1").check("proxy", Decision::Allow);
    let mut told = vec![judge.authorized(build.clone().seen())];
    told.extend(judge.answered(build.clone().answer(101).seen()));
    told.push(judge.ended(build.answer(101).hijacked().seen()));
    let told: Vec<_> = told.iter().map(|verdict| Notice::all(verdict, AT).map(|notice| notice.finding).collect::<Vec<_>>()).collect();
    assert_eq!(told, [vec![], vec![Finding::UnloggedExec], vec![]]);
}

#[test]
fn reasons_are_in_camel_case_as_kubernetes_has_them() {
    for finding in Finding::ALL.into_iter().filter(|finding| finding.severity() >= Severity::Warning) {
        let reason = reason(finding);
        assert!(reason.bytes().all(|byte| byte.is_ascii_alphabetic()) && reason.as_bytes()[0].is_ascii_uppercase(), "{reason}");
    }
    let reasons = [Finding::UnloggedExec, Finding::VerbBypass, Finding::StolenToken, Finding::ApiServerImpostor].map(reason);
    assert_eq!(reasons, ["UnloggedExec", "VerbBypass", "StolenToken", "ApiServerImpostor"]);
}

#[test]
fn a_name_that_no_pod_has_is_the_nodes() {
    for (namespace, name, is_pod) in [
        ("default", "web", true),
        ("default", "web-0.example", true),
        ("default", "Web", false),
        ("default", "..", false),
        ("default", "web%2f", false),
        ("-a", "web", false),
        ("a.b", "web", false),
        ("a/../b", "web", false),
        (&"a".repeat(64), "web", false),
        ("a", &"a".repeat(254), false),
        ("a", &"a".repeat(253), true),
    ] {
        let object = notices(exec("/exec/a/b/c").request(|request| request.path = format!("/exec/{namespace}/{name}/c").as_str().into()))
            .pop()
            .map(|notice| notice.object);
        // With a slash in it the path is another one.
        let expected = if is_pod { pod(namespace, name) } else { Object::Node };
        assert_eq!(object, Some(expected), "{namespace} {name}");
    }
}

proptest! {
    #[test]
    fn messages_are_inert_and_short_and_hold_no_command(container in any::<String>(), user in any::<String>()) {
        let build = request("GET", "/exec/default/web/c?command=hunter2").upgrade("SPDY/3.1").by(&user)
            .request(|request| request.path = format!("/exec/default/web/{container}").as_str().into())
            .check("proxy", Decision::Allow).answer(101).hijacked();
        for notice in notices(build) {
            prop_assert!(notice.message.len() <= 1024 && notice.identity.len() <= 256);
            prop_assert!(!notice.message.contains(crate::inert::obeyed) && !notice.identity.contains(crate::inert::obeyed));
            prop_assert!(!notice.message.contains("hunter2") || user.contains("hunter2") || container.contains("hunter2"));
        }
    }
}

#[test]
fn an_event_as_the_kubelet_writes_one() {
    let mut correlator = Correlator::default();
    correlator.take(notice(Finding::UnloggedExec, pod("default", "web"), "a"), Instant::now());
    let write = correlator.next(Instant::now()).unwrap();
    let name = write.name.clone();
    assert!(name.starts_with("web."), "{name}");
    let mut expected = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web", "uid": "u-1"},
        "reason": "UnloggedExec", "message": "m", "type": "Warning",
        "source": {"component": "kubewitness", "host": "node1"},
        "reportingComponent": "kubewitness", "reportingInstance": "node1",
        "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:00:00Z", "count": 1,
    });
    assert_eq!(event::created(&write, Some("u-1"), NODE), expected);
    expected["involvedObject"] = json!({"apiVersion": "v1", "kind": "Node", "name": "node1", "uid": "node1"});
    assert_eq!(event::created(&Write { object: Object::Node, ..write.clone() }, None, NODE), expected);
    assert_eq!(event::counted(&Write { count: 7, ..write }), json!({"count": 7, "lastTimestamp": "1970-01-01T00:00:00Z"}));
}

fn notice(finding: Finding, object: Object, identity: &str) -> Notice {
    Notice { finding, object, identity: identity.into(), message: "m".into(), at: AT }
}

/// Writes all that may be written now; returns whether each existed, and its count.
fn write(correlator: &mut Correlator, now: Instant) -> Vec<(bool, u32)> {
    let mut written = Vec::new();
    while let Some(write) = correlator.next(now) {
        correlator.wrote(&write, now);
        written.push((write.exists, write.count));
    }
    written
}

fn clock() -> impl Fn(u64) -> Instant {
    let start = Instant::now();
    move |seconds| start + Duration::from_secs(seconds)
}

#[test]
fn the_same_again_is_counted_and_not_written_each_time() {
    let at = clock();
    let mut correlator = Correlator::default();
    let exec = || notice(Finding::UnloggedExec, pod("default", "web"), "a");
    correlator.take(exec(), at(0));
    assert_eq!(write(&mut correlator, at(0)), [(false, 1)]);
    for _ in 0..199 {
        correlator.take(exec(), at(1));
    }
    assert_eq!(write(&mut correlator, at(1)), [], "it is counted for a while first");
    assert_eq!(correlator.wake(), Some(at(5)));
    assert_eq!(write(&mut correlator, at(5)), [(true, 200)]);
    assert_eq!((correlator.wake(), correlator.waiting()), (None, 0));
    // Others are other Events.
    correlator.take(notice(Finding::UnloggedExec, pod("default", "web"), "b"), at(6));
    correlator.take(notice(Finding::VerbBypass, pod("default", "web"), "a"), at(6));
    correlator.take(notice(Finding::UnloggedExec, pod("default", "db"), "a"), at(6));
    assert_eq!(write(&mut correlator, at(6)), [(false, 1), (false, 1), (false, 1)]);
    // It belongs to the old Event as long as it comes again and again.
    correlator.take(exec(), at(600));
    assert_eq!(write(&mut correlator, at(600)), [(true, 201)]);
    correlator.take(exec(), at(1200));
    assert_eq!(write(&mut correlator, at(1200)), [(false, 1)]);
    assert_eq!(correlator.sweep(at(1200)), Dropped::default());
}

#[test]
fn many_identities_wait_for_their_turn_and_critical_ones_do_not_wait_for_warnings() {
    let at = clock();
    let mut correlator = Correlator::default();
    for n in 0..40 {
        correlator.take(notice(Finding::ReadOnlyPort, Object::Node, &n.to_string()), at(0));
    }
    assert_eq!(write(&mut correlator, at(0)).len(), 25, "the burst for one object and finding");
    assert_eq!(write(&mut correlator, at(299)).len(), 0);
    assert_eq!(write(&mut correlator, at(300)).len(), 1);
    for n in 0..100 {
        correlator.take(notice(Finding::ReadOnlyPort, pod("a", &n.to_string()), "x"), at(300));
    }
    // One of the fifty was just used for the node.
    assert_eq!(write(&mut correlator, at(300)).len(), 49, "the agent's burst of warnings");
    correlator.take(notice(Finding::UnloggedExec, Object::Node, "x"), at(300));
    assert_eq!(write(&mut correlator, at(300)), [(false, 1)]);
    // Ten minutes later the rest of the first ones is given up; what came from elsewhere could be written meanwhile.
    let late = correlator.sweep(at(600)).late;
    assert_eq!(late, 14);
}

#[test]
fn what_cannot_be_written_is_kept_for_a_while_and_then_counted_as_dropped() {
    let at = clock();
    let mut correlator = Correlator::default();
    correlator.take(notice(Finding::UnloggedExec, Object::Node, "a"), at(0));
    let first = correlator.next(at(0)).unwrap();
    correlator.postpone(&first.key, at(30));
    correlator.take(notice(Finding::UnloggedExec, Object::Node, "a"), at(10));
    assert_eq!((correlator.next(at(29)), correlator.wake()), (None, Some(at(30))));
    // A failure takes nothing from what may be written, a refusal does.
    for n in 0..100 {
        let write = correlator.next(at(30)).unwrap();
        assert_eq!(write.count, 2, "{n}");
        correlator.postpone(&write.key, at(30));
    }
    for n in 0..25 {
        let write = correlator.next(at(30)).unwrap_or_else(|| panic!("{n}"));
        correlator.retry(&write.key, at(30));
    }
    assert_eq!(correlator.next(at(30)), None);
    assert_eq!(correlator.sweep(at(599)), Dropped::default());
    assert_eq!(correlator.sweep(at(600)), Dropped { late: 2, evicted: 0 });
    assert_eq!(correlator.waiting(), 0);
}

#[test]
fn an_event_that_is_gone_or_has_no_namespace_is_written_anew() {
    let at = clock();
    let mut correlator = Correlator::default();
    let exec = || notice(Finding::UnloggedExec, pod("nowhere", "web"), "a");
    correlator.take(exec(), at(0));
    let refused = correlator.next(at(0)).unwrap();
    assert_eq!((&refused.object, refused.exists), (&pod("nowhere", "web"), false));
    correlator.move_to_node(&refused.key, at(0));
    let moved = correlator.next(at(0)).unwrap();
    assert_eq!((&moved.object, moved.exists, moved.count), (&Object::Node, false, 1));
    assert_ne!(moved.name, refused.name);
    assert_eq!(correlator.wrote(&moved, at(0)), 1);
    correlator.take(exec(), at(9));
    let gone = correlator.next(at(9)).unwrap();
    assert_eq!((&gone.object, gone.exists, &gone.name), (&Object::Node, true, &moved.name));
    correlator.renew(&gone.key, at(9));
    let renewed = correlator.next(at(9)).unwrap();
    assert_eq!((renewed.exists, renewed.count, &renewed.object), (false, 2, &Object::Node));
    assert_eq!(correlator.wrote(&renewed, at(9)), 1);
    correlator.take(exec(), at(10));
    assert_eq!(correlator.give_up(&renewed.key), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever comes, memory and writes are bounded, and each notice is written, waits or is counted as dropped.
    #[test]
    fn nothing_is_lost_silently(steps in prop::collection::vec((0..2000_u32, 0..3_u8, 0..20_u64), 600..1200)) {
        let at = clock();
        let mut correlator = Correlator::default();
        let (mut second, mut taken, mut written, mut dropped, mut writes) = (0, 0, 0, 0, 0_u64);
        for (who, what, pause) in steps {
            second += u64::from(pause == 0);
            let finding = [Finding::ReadOnlyPort, Finding::UnloggedExec, Finding::StolenToken][usize::from(what)];
            correlator.take(notice(finding, pod("a", &who.to_string()), "x"), at(second));
            taken += 1;
            while let Some(write) = correlator.next(at(second)) {
                // A failure is followed by a rest, which is not played here.
                writes += u64::from(pause != 1);
                match pause {
                    1 => correlator.postpone(&write.key, at(second + 1)),
                    2 => correlator.move_to_node(&write.key, at(second)),
                    3 => dropped += correlator.give_up(&write.key),
                    _ => written += correlator.wrote(&write, at(second)),
                }
            }
            let swept = correlator.sweep(at(second));
            dropped += swept.evicted + swept.late;
        }
        prop_assert_eq!(taken, written + dropped + correlator.waiting());
        prop_assert!(writes <= 2 * (50 + second / 2 + 1), "{} writes in {} s", writes, second);
    }
}

#[test]
fn nobody_waits_for_a_queue_that_is_full() {
    let metrics = crate::export::metrics::Metrics::new(NODE, 10).unwrap();
    let (queue, _notices) = channel(1);
    let (_finished, done) = mpsc::channel();
    let notices = Notices { queue, done, metrics: metrics.notices() };
    let clock = Clock::new(Timestamp(0), AT);
    for _ in 0..3 {
        notices.take(&Judge::new(Policy::new(NODE), 8).ended(exec("/exec/a/b/c").seen()), clock);
    }
    let page = metrics.render().unwrap();
    for line in [
        r#"kubewitness_events_dropped_total{sink="kubernetes"} 2"#,
        r#"kubewitness_events_written_total{sink="kubernetes"} 0"#,
        r#"kubewitness_kubernetes_events_missing_total{reason="queue-full"} 2"#,
        r#"kubewitness_kubernetes_event_requests_total{result="created"} 0"#,
    ] {
        assert!(page.contains(line), "{line}");
    }
}
