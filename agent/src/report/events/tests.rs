//! Lines of events as they arrive: whole, doubled, cut, shuffled, among lines of others.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::export::Clock;
use crate::export::audit::{Auditor, Commands};
use crate::judge::testing::*;
use crate::judge::{Finding, Judge, Policy};
use crate::kubelet::{AccessKind, Endpoint, MetricsPage, Verb};
use crate::observation::{Decision, Timestamp};
use crate::report::files::turns::{Item, in_turns};
use crate::report::{ByAccess, IdentitySeen, Observed, Use, Who};

fn observed(text: impl AsRef<[u8]>) -> Observed {
    observed_of(&[text])
}

/// Each text is a file: `0`, `1`, …. Several threads see in it what one does.
fn observed_of(texts: &[impl AsRef<[u8]>]) -> Observed {
    let mut collector = Collector::new();
    for (number, text) in texts.iter().enumerate() {
        collector.begin(&number.to_string());
        collector.feed(text.as_ref());
        collector.end();
    }
    let observed = collector.finish();
    let texts: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
    assert_eq!(by_several(&texts), observed);
    observed
}

fn by_several(texts: &[&[u8]]) -> Observed {
    let mut collector = Collector::new();
    in_turns(3, &mut collector, &mut |_| (), |_, hand_on| {
        for (number, text) in texts.iter().enumerate() {
            hand_on(Item::Begin(number.to_string()), 0);
            // Some two lines each.
            for chunk in text.chunks(2500) {
                hand_on(Item::Chunk(Ok(chunk.to_vec())), 0);
            }
            hand_on(Item::End, 0);
        }
    });
    collector.finish()
}

fn notes(observed: &Observed) -> Vec<(&str, u64)> {
    observed.notes.iter().map(|note| (note.id, note.count)).collect()
}

/// Without what the order and the number of copies may change.
fn matter(mut observed: Observed) -> Observed {
    observed.notes.clear();
    observed
}

fn event(build: Build) -> Value {
    serde_json::from_slice(&line(build)).unwrap()
}

fn line(build: Build) -> Vec<u8> {
    let auditor = Auditor::new(Uuid::from_u128(7), NODE, Commands::Full);
    auditor.event(&Judge::new(Policy::new(NODE), 8).ended(build.seen()), clock()).to_line()
}

fn clock() -> Clock {
    Clock::new(Timestamp(1_000_000_000), "2026-03-04T05:06:07Z".parse().unwrap())
}

fn pods() -> Build {
    request("GET", "/pods").check("pods", Decision::NoOpinion).check("proxy", Decision::Allow).status(200)
}

/// The three lines of an exec that goes past the API server: let in, running, over.
fn exec(goroutine: u64) -> [Vec<u8>; 3] {
    let auditor = Auditor::new(Uuid::from_u128(7), NODE, Commands::Full);
    let mut judge = Judge::new(Policy::new(NODE), 8);
    let build = request("GET", "/exec/default/web/main?command=id").goroutine(goroutine).check("proxy", Decision::Allow);
    let verdicts = [
        judge.authorized(build.clone().seen()),
        judge.answered(build.clone().answer(101).seen()).unwrap(),
        judge.ended(build.answer(101).hijacked().seen()),
    ];
    verdicts.map(|verdict| auditor.event(&verdict, clock()).to_line())
}

fn user() -> Who {
    Who::User(SERVICE_ACCOUNT.into())
}

fn used(endpoint: Endpoint, access: AccessKind) -> Use {
    Use { who: user(), endpoint, access, verb: Verb::Get }
}

#[test]
fn a_request_is_told_whole() {
    let seen = observed(line(pods()));
    assert_eq!(seen.uses.into_iter().collect::<Vec<_>>(), [(used(Endpoint::Pods, AccessKind::Fallback), 1)]);
    let identity = IdentitySeen {
        groups: Some(["system:authenticated", "system:serviceaccounts"].map(str::to_owned).into()),
        nodes: [NODE.to_owned()].into(),
        granted_by: [("ClusterRoleBinding/monitoring-np ClusterRole/nodes-proxy-get".to_owned(), 1)].into(),
        through_api_server: 0,
    };
    assert_eq!(seen.identities.into_iter().collect::<Vec<_>>(), [(user(), identity)]);
    let found = &seen.findings[&(Finding::NodesProxyFallback, user())];
    assert_eq!((found.count, found.examples.len()), (1, 1));
    let example = &found.examples[0];
    assert_eq!((example.request.as_str(), example.source_ip.as_str(), example.node.as_str()), ("get /pods", "192.0.2.7", NODE));
    assert_eq!(example.audit_id, event(pods())["auditID"]);
    let node = &seen.nodes[NODE];
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let begin = time("2026-03-04T05:06:07Z");
    assert_eq!((node.seen, node.requests, node.partial, node.lost), (Some((begin, begin)), 1, 0, None));
    assert_eq!(seen.window, Some((begin, time("2026-03-04T05:06:07.003Z"))));
    assert_eq!(seen.notes, []);
}

#[test]
fn stages_of_one_request_count_once() {
    let [begun, running, over] = exec(1);
    let seen = observed([&begun[..], &running, &over].concat());
    assert_eq!(seen.uses.into_iter().collect::<Vec<_>>(), [(used(Endpoint::Exec(None), AccessKind::ProxyOnly), 1)]);
    assert_eq!(seen.findings[&(Finding::UnloggedExec, user())].count, 1);
    assert_eq!(seen.notes, []);

    let seen = observed([&begun[..], &running].concat());
    assert!(seen.uses.is_empty());
    assert_eq!(seen.findings[&(Finding::UnloggedExec, user())].count, 1);
    assert_eq!(seen.notes[0].text, "1 request has no end: it still runs, or its end was lost; first: 0:1");

    let seen = observed_of(&[[&begun[..], &running].concat(), [&over[..], &begun].concat()]);
    assert_eq!(seen.uses.len(), 1);
    assert_eq!(notes(&seen), [("duplicate", 1)]);
    assert_eq!(seen.notes[0].text, "1 event came again and was not counted twice; first: 1:2");
}

#[test]
fn an_exec_that_failed_in_the_end_is_no_attempt_besides() {
    let [_, running, over] = exec(1);
    let mut failed: Value = serde_json::from_slice(&over).unwrap();
    failed["annotations"]["kubewitness.dev/findings"] = "exec-attempt".into();
    let failed = format!("{failed}\n").into_bytes();
    for lines in [[&running[..], &failed].concat(), [&failed[..], &running].concat()] {
        let seen = observed(lines);
        assert_eq!(seen.findings.keys().collect::<Vec<_>>(), [&(Finding::UnloggedExec, user())]);
    }
}

#[test]
fn the_first_examples_are_kept_whatever_the_order() {
    let lines: Vec<Vec<u8>> = (1..20).map(|goroutine| exec(goroutine)[1].clone()).collect();
    let mut turned = lines.clone();
    turned.reverse();
    let [ahead, back] = [lines, turned].map(|lines| observed(lines.concat()).findings.remove(&(Finding::UnloggedExec, user())).unwrap());
    assert_eq!((ahead.count, ahead.examples.len()), (19, 5));
    assert_eq!(ahead, back);
}

#[test]
fn an_example_holds_its_event_in_the_last_stage_that_shows_the_finding() {
    let [begun, running, over] = exec(1);
    for lines in [[&begun, &running, &over], [&over, &running, &begun], [&running, &begun, &over]] {
        let seen = observed(lines.map(Vec::as_slice).concat());
        let example = &seen.findings[&(Finding::UnloggedExec, user())].examples[0];
        let event: Value = serde_json::from_str(&example.event.as_ref().unwrap().json).unwrap();
        assert_eq!(event, serde_json::from_slice::<Value>(&over).unwrap());
    }
    let mut long = event(pods());
    long["requestURI"] = format!("/pods?{}", "x".repeat(20_000)).into();
    let seen = observed(long.to_string());
    assert_eq!(seen.findings[&(Finding::NodesProxyFallback, user())].examples[0].event, None);
}

#[test]
fn requests_are_told_over_time() {
    let at = |time: &str, access: &str, goroutine: u64| {
        let mut event = event(pods().goroutine(goroutine));
        event["requestReceivedTimestamp"] = time.into();
        event["stageTimestamp"] = time.into();
        event["annotations"]["kubewitness.dev/access"] = access.into();
        format!("{event}\n")
    };
    let lines = [
        at("2026-03-04T05:06:07Z", "fallback", 1),
        at("2026-03-04T05:06:07Z", "fallback", 1),
        at("2026-03-04T07:00:00Z", "fine-grained", 2),
        at("2026-03-04T07:00:01Z", "proxy-only", 3),
        // A clock that was wrong.
        at("1999-03-04T07:00:01Z", "fallback", 4),
    ];
    let timeline = observed(lines.concat()).timeline.unwrap();
    assert_eq!((timeline.from, timeline.step.as_secs(), timeline.steps), ("2026-03-04T05:05:00Z".parse().unwrap(), 300, 24));
    let counts = [(0, ByAccess { fallback: 1, ..ByAccess::default() }), (23, ByAccess { finer: 1, proxy_only: 1, ..ByAccess::default() })];
    assert_eq!(timeline.identities, [(user(), counts.into())].into());
}

#[test]
fn older_events_tell_endpoint_and_node_in_other_fields() {
    for (uri, endpoint) in [
        ("/metrics/cadvisor", Endpoint::Metrics(MetricsPage::Cadvisor)),
        ("/%65xec/default/web/main?command=id", Endpoint::Exec(None)),
        ("/exec/default/%77eb/main", Endpoint::Exec(None)),
        ("http://x/exec/default/web/main", Endpoint::Exec(None)),
        ("http://x", Endpoint::Other),
        ("//pods", Endpoint::Other),
        ("/pods?x=http://y/exec/a/b/c", Endpoint::Pods),
        ("/%ff", Endpoint::Other),
        ("", Endpoint::Unknown),
    ] {
        let mut event = event(pods());
        event["annotations"].as_object_mut().unwrap().remove("kubewitness.dev/endpoint");
        event["annotations"].as_object_mut().unwrap().remove("kubewitness.dev/node");
        event["requestURI"] = uri.into();
        let seen = observed(event.to_string());
        assert_eq!(seen.uses.keys().next(), Some(&used(endpoint, AccessKind::Fallback)), "{uri}");
        assert_eq!(seen.nodes.keys().collect::<Vec<_>>(), [NODE], "{uri}");
        event["objectRef"]["resource"] = "pods".into();
        let seen = observed(event.to_string());
        assert_eq!((seen.nodes.len(), notes(&seen)), (0, vec![("unknown-node", 1)]), "{uri}");
    }
    let mut event = event(pods());
    event["annotations"]["kubewitness.dev/endpoint"] = "logs".into();
    event["annotations"]["kubewitness.dev/node"] = "elsewhere".into();
    let seen = observed(event.to_string());
    assert_eq!(seen.uses.keys().next(), Some(&used(Endpoint::Logs, AccessKind::Fallback)));
    assert_eq!(seen.nodes.keys().collect::<Vec<_>>(), ["elsewhere"]);
}

#[test]
fn words_of_a_newer_agent_are_unknown() {
    for (pointer, word) in [
        ("/annotations/kubewitness.dev~1access", "by-magic"),
        ("/annotations/kubewitness.dev~1endpoint", "podcertificates"),
        ("/annotations/kubewitness.dev~1findings", "nodes-proxy-fallback,worse-than-ever"),
        ("/stage", "ResponseImagined"),
    ] {
        let mut event = event(pods());
        event["annotations"]["kubewitness.dev/endpoint"] = "pods".into();
        *event.pointer_mut(pointer).unwrap() = word.into();
        let seen = observed(event.to_string());
        assert_eq!(notes(&seen), [("unknown-word", 1)], "{pointer}");
        let uses: Vec<_> = seen.uses.keys().map(|used| (used.endpoint.label(), used.access.as_str())).collect();
        match word {
            "by-magic" => assert_eq!(uses, [("pods", "unknown")]),
            "podcertificates" => assert_eq!(uses, [("unknown", "fallback")]),
            "ResponseImagined" => assert_eq!(uses, []),
            _ => assert_eq!((uses, seen.findings.len()), (vec![("pods", "fallback")], 1)),
        }
    }
}

#[test]
fn a_verb_that_was_not_seen_is_not_the_verb_of_head() {
    let mut event = event(pods());
    event["verb"] = "".into();
    assert_eq!(observed(event.to_string()).uses.keys().next().unwrap().verb, Verb::None);
    event["annotations"]["kubewitness.dev/completeness"] = "partial: text-unreadable".into();
    let seen = observed(event.to_string());
    assert_eq!(seen.uses.keys().next().unwrap().verb, Verb::Unknown);
    assert_eq!(seen.nodes[NODE].partial, 1);
}

#[test]
fn an_agent_that_leaves_events_out_says_so() {
    let mut event = event(pods());
    assert!(!observed(event.to_string()).nodes[NODE].omits);
    event["annotations"]["kubewitness.dev/audit-policy"] = "applied".into();
    assert!(observed(event.to_string()).nodes[NODE].omits);
}

#[test]
fn requests_without_a_user_are_nobodys() {
    let seen = observed(line(request("GET", "/pods").status(401)));
    let uses: Vec<_> = seen.uses.keys().map(|used| (&used.who, used.access)).collect();
    assert_eq!(uses, [(&Who::Nobody, AccessKind::Unauthenticated)]);
    assert_eq!(seen.identities[&Who::Nobody].groups, None);
}

/// As the API server logs `kubectl get --raw /api/v1/nodes/node1/proxy/pods`.
fn proxied(id: &str, stage: &str) -> Value {
    json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": id, "stage": stage,
        "requestURI": "/api/v1/nodes/node1/proxy/pods", "verb": "get", "user": {"username": "admin", "groups": ["system:masters"]},
        "objectRef": {"resource": "nodes", "name": "node1", "apiVersion": "v1", "subresource": "proxy"},
        "requestReceivedTimestamp": "2001-03-04T05:06:07.000000Z", "stageTimestamp": "2001-03-04T05:06:07.000000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"}})
}

#[test]
fn the_api_servers_own_log_tells_who_goes_through_it() {
    let mut acting = proxied("c", "ResponseComplete");
    acting["impersonatedUser"] = json!({"username": "monitor"});
    let mut other = proxied("d", "ResponseComplete");
    other["objectRef"]["subresource"] = "status".into();
    let lines = [
        proxied("a", "RequestReceived"),
        proxied("a", "ResponseStarted"),
        proxied("a", "ResponseComplete"),
        proxied("b", "ResponseComplete"),
        proxied("b", "ResponseComplete"),
        acting,
        other,
    ];
    let seen = observed(lines.map(|line| line.to_string()).join("\n"));
    let through: Vec<_> = seen.identities.iter().map(|(who, seen)| (who.clone(), seen.through_api_server)).collect();
    assert_eq!(through, [(Who::User("admin".into()), 2), (Who::User("monitor".into()), 1)]);
    assert_eq!(seen.identities[&Who::User("admin".into())].groups, None, "the kubelet did not see them");
    assert_eq!(notes(&seen), [("other-audit-event", 7)]);
    assert_eq!((seen.window, seen.nodes.len(), seen.uses.len()), (None, 0, 0));
}

#[test]
fn what_is_no_event_is_named_and_nothing_else_suffers() {
    let good = String::from_utf8(line(pods())).unwrap();
    let cut = &good[..good.len() / 2];
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = "{\"a\":".repeat(100_000);
    let escaped_event = json!({"log": good}).to_string();
    let trimmed = good.trim_end();
    let table = vec![
        (Vec::new(), vec![]),
        ("\n\r\n  \n".into(), vec![]),
        (cut.into(), vec![("cut-line", 1)]),
        ("{".into(), vec![("cut-line", 1)]),
        ("hello".into(), vec![("not-json", 1)]),
        ("2026/03/04 05:06:07 [error] x".into(), vec![("not-json", 1)]),
        ("7".into(), vec![("other-json", 1)]),
        ("1e999999".into(), vec![("other-json", 1)]),
        ("[]".into(), vec![("other-json", 1)]),
        (format!("[{trimmed}]").into(), vec![("other-json", 1)]),
        ("null".into(), vec![("other-json", 1)]),
        ("\"x\"".into(), vec![("other-json", 1)]),
        (r#"{"output":"x","priority":"Warning","rule":"Terminal shell","time":"2026-03-04T05:06:07Z"}"#.into(), vec![("other-json", 1)]),
        (r#"{"kind":"Event","apiVersion":"v1","message":"x"}"#.into(), vec![("other-json", 1)]),
        (r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[]}"#.into(), vec![("other-json", 1)]),
        (r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":123456789012345678901234567890}"#.into(), vec![("other-json", 1)]),
        (r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","user":"x"}"#.into(), vec![("other-json", 1)]),
        (escaped_event.into(), vec![("other-json", 1)]),
        (nested.into(), vec![("other-json", 1)]),
        (bomb.into(), vec![("cut-line", 1)]),
        (b"\xff\xfe{\0\"\0".to_vec(), vec![("not-json", 1)]),
        (vec![0; 300], vec![("not-json", 1)]),
        ("{}\n".repeat(3000).into(), vec![("other-json", 3000)]),
        (b"{\"kind\":\"Event\",\"verb\":\"\xff\"}".to_vec(), vec![("cut-line", 1)]),
        (vec![b'x'; LONGEST_LINE + 1], vec![("long-line", 1)]),
    ];
    for (bad, expected) in table {
        let shown = String::from_utf8_lossy(&bad[..bad.len().min(60)]).into_owned();
        let seen = observed(&bad);
        assert_eq!((notes(&seen), seen.uses.len()), (expected.clone(), 0), "{shown}");
        let among = observed([&bad[..], b"\n", good.as_bytes(), &bad, b"\r\n"].concat());
        let twice: Vec<_> = expected.into_iter().map(|(id, count)| (id, count * 2)).collect();
        assert_eq!((notes(&among), among.uses.len()), (twice, 1), "{shown}");
    }
}

#[test]
fn a_line_that_breaks_off_does_not_take_the_next_event_with_it() {
    let good = String::from_utf8(line(pods())).unwrap();
    let (good, other) = (good.trim_end(), String::from_utf8(line(pods().goroutine(5))).unwrap());
    for (text, count, expected) in [
        (format!("{}{other}", &good[..good.len() / 2]), 1, vec![("cut-line", 1)]),
        (format!("{}{}{other}", &good[..100], &good[..200]), 1, vec![("cut-line", 2)]),
        (format!("{good}{other}"), 2, vec![]),
        (format!("{}{good}", &other[500..600]), 1, vec![]),
        (format!("2026-03-04T05:06:07.000000000Z stdout F {good}"), 1, vec![]),
        (format!("[pod/kubewitness-x7k2p/agent] {good}"), 1, vec![]),
        (format!("\u{feff}{good}"), 1, vec![]),
        (format!("{good}\r\n{other}"), 2, vec![]),
        (format!("  {good}  "), 1, vec![]),
    ] {
        let seen = observed(&text);
        assert_eq!((seen.uses.values().sum::<u64>(), notes(&seen)), (count, expected), "{text}");
    }
    // However often it breaks off, a line takes as long as a few.
    let often = "{\"kind\":\"Event\",\"x\":".repeat(40_000);
    assert_eq!(notes(&observed(often)), [("cut-line", 17)]);
}

#[test]
fn what_callers_write_is_no_event() {
    let hostile = "\"}\n{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\"}{\"kind\":\"Event\"";
    let good = line(request("GET", &format!("/pods?{hostile}")).check("pods", Decision::Allow).status(200));
    for cut in 0..good.len() {
        let seen = observed([&good[cut..], &good[..cut]].concat());
        let events: u64 = seen.notes.iter().filter(|note| note.id == "other-audit-event" || note.id == "other-json").map(|n| n.count).sum();
        assert_eq!(events, 0, "{cut}");
    }
}

#[test]
fn clocks_that_jump_are_told_and_do_not_stretch_the_window() {
    let at = |time: &str, id: u64| {
        let mut event = event(pods());
        event["auditID"] = format!("{id}").into();
        event["requestReceivedTimestamp"] = time.into();
        event["stageTimestamp"] = time.into();
        format!("{event}\n")
    };
    let day = |n: u64| at(&format!("2026-03-0{n}T05:06:07Z"), n);
    let calm: String = (1..6).map(day).collect();
    let window = observed(&calm).window;
    assert_eq!(notes(&observed(&calm)), []);
    for (time, expected) in [
        ("1970-01-01T00:00:03Z", vec![("clock-jump", 1), ("time-outside", 2)]),
        ("2200-01-01T00:00:00Z", vec![("clock-jump", 1), ("time-outside", 2)]),
        ("-009998-01-02T00:00:00Z", vec![("clock-jump", 1), ("time-outside", 2)]),
        ("9999-12-30T22:00:00.999999999Z", vec![("clock-jump", 1), ("time-outside", 2)]),
        ("yesterday", vec![("time-unreadable", 1)]),
        ("99999999999999999999", vec![("time-unreadable", 1)]),
        ("2026-03-03T05:06:07Z", vec![]),
    ] {
        let (before, after) = calm.split_at(calm.find("2026-03-04").map_or(0, |found| calm[..found].rfind('\n').unwrap() + 1));
        let seen = observed(format!("{before}{}{after}", at(time, 77)));
        assert_eq!((seen.window, notes(&seen)), (window, expected), "{time}");
        assert_eq!(seen.uses.values().sum::<u64>(), 6, "{time}");
        assert_eq!(seen.nodes[NODE].seen.map(|(first, _)| first), window.map(|(first, _)| first), "{time}");
    }
    // Another file is another story, and so is another node.
    assert_eq!(notes(&observed_of(&[day(2), day(1)])), []);
    let elsewhere = day(1).replace(NODE, "elsewhere");
    assert_eq!(notes(&observed(format!("{}{elsewhere}", day(2)))), []);
}

#[test]
fn events_without_an_id_are_known_by_their_line() {
    let mut event = event(pods());
    event.as_object_mut().unwrap().remove("auditID");
    let seen = observed(format!("{event}\n{event}"));
    assert_eq!((seen.uses.values().sum::<u64>(), notes(&seen)), (1, vec![("duplicate", 1)]));
}

#[test]
fn forgotten_requests_are_told() {
    let lines: Vec<u8> = (1..50).flat_map(|goroutine| line(pods().goroutine(goroutine))).collect();
    let mut collector = Collector::remembering(10);
    collector.begin("0");
    collector.feed(&lines);
    let seen = collector.finish();
    assert_eq!(seen.uses.values().sum::<u64>(), 49);
    assert_eq!(notes(&seen), [("duplicates-forgotten", 1)]);
}

#[test]
fn hostile_bytes_are_survived() {
    for bytes in [&b""[..], b"{", b"\xff", &line(pods()), b"{\"kind\":\"Event\"{\"kind\":\"Event\""] {
        fuzz_entry(bytes);
    }
}

/// Some requests, all of their lines.
fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let request = (1u64..1_000_000, 0usize..5).prop_map(|(goroutine, kind)| match kind {
        0 => exec(goroutine).to_vec(),
        1 => vec![line(request("GET", "/pods").goroutine(goroutine).status(401))],
        2 => vec![line(request("GET", "/metrics").goroutine(goroutine).check("metrics", Decision::Allow).status(200))],
        3 => vec![line(request("POST", "/run/a/b/c").goroutine(goroutine).check("proxy", Decision::NoOpinion).status(403))],
        _ => vec![line(pods().goroutine(goroutine))],
    });
    prop::collection::vec(request, 1..12).prop_map(|requests| requests.concat())
}

proptest! {
    #[test]
    fn order_copies_and_cut_lines_do_not_matter(
        (lines, shuffled) in lines().prop_flat_map(|lines| (Just(lines.clone()), Just(lines).prop_shuffle())),
        again in prop::collection::vec((any::<prop::sample::Index>(), 0.0..1.0f64), 0..10),
    ) {
        let whole = matter(observed(lines.concat()));
        let mut disturbed = shuffled;
        for (index, part) in again {
            let at = index.index(disturbed.len());
            let copy = disturbed[index.index(lines.len())].clone();
            // A copy that breaks off: a line feed follows sooner or later, or never.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of a length")]
            let length = (copy.len() as f64 * part) as usize;
            let copy = if length.is_multiple_of(3) { copy } else { copy[..length].to_vec() };
            disturbed.insert(at, copy);
        }
        prop_assert_eq!(matter(observed(disturbed.concat())), whole);
    }

    #[test]
    fn chunks_and_files_do_not_matter(lines in lines(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let text = lines.concat();
        let whole = observed(&text);
        let cuts: BTreeSet<usize> = cuts.into_iter().map(|cut| cut.index(text.len())).chain([0, text.len()]).collect();
        let cuts: Vec<usize> = cuts.into_iter().collect();
        let mut collector = Collector::new();
        collector.begin("0");
        for pair in cuts.windows(2) {
            collector.feed(&text[pair[0]..pair[1]]);
        }
        collector.end();
        prop_assert_eq!(collector.finish(), whole.clone());

        let (left, right) = lines.split_at(lines.len() / 2);
        prop_assert_eq!(matter(observed_of(&[left.concat(), right.concat()])), matter(whole));
    }

    #[test]
    fn the_short_cut_reads_what_serde_json_reads(lines in lines(), spoiled in prop::collection::vec((any::<prop::sample::Index>(), "[\\PC\\n]"), 0..3)) {
        for line in lines {
            let mut line = String::from_utf8(line.trim_ascii().to_vec()).unwrap();
            prop_assert!(plain::read(line.as_bytes()).is_some(), "{}", line);
            for (index, letter) in &spoiled {
                let at = index.index(line.len());
                if line.is_char_boundary(at) && line.is_char_boundary(at + 1) {
                    line.replace_range(at..=at, letter);
                }
            }
            if let Some(event) = plain::read(line.as_bytes()) {
                prop_assert_eq!(Some(event), serde_json::from_str(&line).ok(), "{}", line);
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_entry(&bytes);
    }

    #[test]
    fn spoiled_events_are_survived(lines in lines(), spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut text = lines.concat();
        for (index, byte) in spoiled {
            let at = index.index(text.len());
            text[at] = byte;
        }
        fuzz_entry(&text);
    }
}
