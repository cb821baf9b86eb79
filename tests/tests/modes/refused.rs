//! A kubelet that is not watched, because what proves a site is not in its code: that is said, and it is left alone.

use std::time::Duration;

use kubewitness_tests::{
    agent::Agent,
    build::{Release, Shape},
    call::Call,
    cluster::Options,
    scenarios::{Bed, figure, play},
};

#[test]
#[ignore = "needs a kubelet without optimizations: many minutes where it is not built yet"]
fn a_kubelet_that_cannot_be_planned() {
    let options = Options { kubelet: Release::V1_36.shaped(Shape::Unoptimized), ..Options::named("kx-refused") };
    play(&options, &crate::folder("refused"), &[("a kubelet without optimizations", without_optimizations)]);
}

fn without_optimizations(bed: &Bed) {
    let token = bed.identity("reader", &["get"], &["nodes/proxy"]);
    let mut agent = Agent::start_blind(&bed.cluster, &bed.agent_options(&[])).unwrap();
    let said = agent
        .until("the reason", Duration::from_secs(30), |agent| {
            Ok(agent.fetch("/readyz").ok().filter(|page| page.contains("nothing is attached")))
        })
        .unwrap();
    assert!(said.contains("InstallAuthFilter"), "it names what it did not understand: {said}");
    assert_eq!(figure(&agent, "kubewitness_attached"), 0);
    let metrics = agent.fetch("/metrics").unwrap();
    assert!(metrics.contains(r#"sites="none""#), "{metrics}");
    let answers = Call::get("/healthz").token(&token).times(100).from_node(&bed.cluster).unwrap();
    assert_eq!(answers.only(), Some(200), "{}", answers.problem);
    assert_eq!(agent.events().unwrap().len(), 0, "nothing is told of what was not seen");
}
