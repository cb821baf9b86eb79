//! Those at the other ends go away: the API server, and clients in the middle of an answer.

use std::{
    thread,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::{Agent, Rbac},
    books,
    call::Call,
    cluster::{CONTAINER, POD},
    flood::Flood,
    scenarios::{Bed, annotation},
};

use crate::{Form, folder, load, seen};

/// The kubelet remembers for a while who may do what, then refuses with 401 or 500 what it cannot ask about; each answer is an event all the
/// same, and when the API server is back the RBAC objects are known again.
pub(crate) fn api_server_away(bed: &Bed, form: Form) {
    let away = Duration::from_secs(form.of(5, 600));
    let token = bed.identity("away", &["get"], &["nodes/proxy", "nodes/metrics"]);
    let mut options = bed.agent_options(&["--events-max-files", "0", "--refused-events", "0"]);
    options.rbac = Rbac::Administrator;
    let mut agent = Agent::start(&bed.cluster, &options).unwrap();
    let load = load(&token, "away=").rate(form.of(200, 50)).start(&bed.cluster).unwrap();
    thread::sleep(Duration::from_millis(500));
    bed.cluster.kill_api_server().unwrap();
    let begun = Instant::now();
    // An exec goes on being told: its caller is still remembered.
    let exec = Call::websocket(&format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1"), "v4.channel.k8s.io").token(&token);
    assert_eq!(exec.user_agent("away").from_node(&bed.cluster).unwrap().only(), Some(101));
    agent
        .event("the exec", Duration::from_secs(5), |event| {
            event["userAgent"] == "away" && annotation(event, "findings").contains("unlogged-exec")
        })
        .unwrap();
    thread::sleep(away.saturating_sub(begun.elapsed()));
    bed.cluster.start_api_server().unwrap();
    agent.until("the RBAC objects are known again", Duration::from_secs(120), |agent| Ok(agent.knows_rbac()?.then_some(()))).unwrap();
    thread::sleep(Duration::from_millis(500));
    let answers = load.stop().unwrap();
    assert_eq!(answers.failed, 0, "{answers:?}");
    let files = folder(&agent);
    let seen = seen(&mut agent, &files, "away=", &answers);
    let statuses: Vec<String> = answers.statuses.iter().map(|(status, count)| format!("{count} with {status}")).collect();
    form.row(
        &format!("API server away for {} s", away.as_secs()),
        answers.answered(),
        seen,
        0,
        &format!("answered: {}", statuses.join(", ")),
    );
}

/// A client that resets its connection in the middle of a long answer: no handler of the kubelet was found that panics at this
/// (`http.ErrAbortHandler` comes from reverse proxies, and the kubelet's own answers upgrades alone). Each request has one end, and the
/// kubelet goes on.
pub(crate) fn client_goes_away(bed: &Bed, form: Form) {
    let count = form.of(5_u64, 100);
    let token = bed.identity("goes-away", &["get"], &["nodes/proxy", "nodes/metrics", "nodes/log"]);
    let mut agent = bed.agent(&[]);
    let paths = [
        (format!("/containerLogs/default/{POD}/{CONTAINER}?follow=true&gone="), 1),
        ("/debug/pprof/profile?seconds=1&gone=".to_owned(), 0),
        ("/metrics?gone=".to_owned(), 1),
        (format!("/exec/default/{POD}/{CONTAINER}?command=true&gone="), 0),
    ];
    let mut number = 0;
    for (kind, (path, bytes)) in paths.iter().enumerate() {
        let flood = Flood::get(&format!("{path}{}{{n}}", kind + 1)).token(&token).connections(4).times(count).cutting(*bytes);
        assert_eq!(flood.send(&bed.cluster).unwrap().answered(), count);
        number += count;
    }
    let files = folder(&agent);
    // A panic is an end of another kind.
    let panics = |agent: &Agent| agent.events().unwrap().iter().filter(|event| event["stage"] == "Panic").count() as u64;
    let all = || books::numbers(&books::event_files(&files), "gone=").unwrap();
    let ended = |agent: &mut Agent| Ok(Some(all()).filter(|(seen, _)| (seen.len() as u64) + panics(agent) >= number));
    let (seen, twice) = agent.until("each has its end", Duration::from_secs(60), ended).unwrap();
    let (seen, panics) = (seen.len() as u64, panics(&agent));
    assert_eq!((seen + panics, twice), (number, 0));
    let told = books::sum(&agent, "kubewitness_requests_total").unwrap();
    assert_eq!(told, number);
    form.row("clients that go away in the middle of an answer", number, seen + panics, 0, &format!("{panics} of the handlers panicked"));
}
