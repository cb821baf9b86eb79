//! More than the rings hold.

use std::{thread, time::Duration};

use kubewitness_tests::{agent::Agent, books, flood::Flood, scenarios::Bed};
use rustix::process::Signal;

use crate::Form;

/// The agent is stopped again and again under load, so that the ring of routine requests overflows: what was seen and what is counted as unseen
/// are what the kubelet itself counted.
pub(crate) fn counted(bed: &Bed, form: Form) {
    let token = bed.identity("overflow", &["get"], &["nodes/proxy", "nodes/metrics"]);
    let mut agent = bed.agent(&["--events-max-size", "10Mi", "--events-max-files", "2"]);
    let before = books::kubelet_requests(&bed.cluster, &token).unwrap();
    let mut answers = Vec::new();
    for _ in 0..form.of(1, 10) {
        let background = Flood::get("/pods?{n}").token(&token).connections(16).start(&bed.cluster).unwrap();
        agent.signal(Signal::STOP).unwrap();
        // The ring holds some 5,000 of these.
        answers.push(Flood::get("/healthz?{n}").token(&token).times(form.of(10_000, 50_000)).send(&bed.cluster).unwrap());
        agent.signal(Signal::CONT).unwrap();
        thread::sleep(Duration::from_secs(1));
        answers.push(background.stop().unwrap());
    }
    assert!(answers.iter().all(|answers| answers.only() == Some(200)), "{answers:?}");
    // The first question was counted in `before`, this one is in both.
    let served = books::kubelet_requests(&bed.cluster, &token).unwrap() - before + 1;
    let settled = |agent: &mut Agent| {
        let (seen, unseen) = books::known_requests(agent)?;
        Ok((seen + unseen == served).then_some((seen, unseen)))
    };
    let counted = agent.until("seen and unseen are what was served", Duration::from_secs(60), settled);
    let (seen, unseen) = counted.unwrap_or_else(|error| panic!("{served} served, {:?}: {error}", books::known_requests(&agent)));
    assert!(unseen > 0, "the ring did not overflow");
    let partial = books::sum(&agent, "kubewitness_requests_incomplete_total").unwrap();
    form.row(
        "the agent is stopped until its ring overflows",
        served,
        seen,
        unseen,
        &format!("served by the kubelet's own count; {partial} were seen in part"),
    );
}
