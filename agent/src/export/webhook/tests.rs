//! Both threads, from the line to the receiver.

use std::{collections::BTreeSet, net::SocketAddr};

use serde_json::{Value, json};

use super::{
    testing::{Folder, Server, status},
    *,
};
use crate::export::metrics::Metrics;

const WITHIN: Duration = Duration::from_secs(10);

fn metrics() -> WebhookMetrics {
    Metrics::new("node1", 1).unwrap().webhook()
}

fn options(folder: &Folder, address: SocketAddr, lasting: bool) -> Options {
    Options {
        kubeconfig: folder.kubeconfig(&format!("http://{address}/"), &json!({})),
        queue: lasting.then(|| (folder.0.join("queue"), 1 << 20)),
        batch_max_size: 10,
        batch_max_wait: Duration::from_millis(20),
        initial_backoff: Duration::from_millis(10),
    }
}

fn line(number: usize) -> Vec<u8> {
    format!("{{\"auditID\":\"{number}\",\"stage\":\"Panic\",\"stageTimestamp\":\"2026-01-01T00:00:00Z\"}}\n").into_bytes()
}

fn send(webhook: &Webhook, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| webhook.send(line(number), Weight::Usual));
}

/// The numbers of the events in a request.
fn numbers(body: &str) -> Vec<usize> {
    let list: Value = serde_json::from_str(body).unwrap();
    list["items"].as_array().unwrap().iter().map(|event| event["auditID"].as_str().unwrap().parse().unwrap()).collect()
}

fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !what() {
        assert!(Instant::now() < deadline, "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where nothing listens.
fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn batches_are_bounded_and_in_order() {
    for lasting in [false, true] {
        // Every third request fails.
        let server = Server::start(|number, _| status(if number % 3 == 1 { "500 Internal Server Error" } else { "200 OK" }));
        let (folder, metrics) = (Folder::new(), metrics());
        let webhook = Webhook::start(&options(&folder, server.address, lasting), metrics.clone()).unwrap();
        send(&webhook, 0..95);
        wait_for(|| metrics.written.get() == 95);
        assert!(webhook.close().wait(WITHIN));
        let batches: Vec<_> = server.asked.try_iter().map(|asked| numbers(&asked.body)).collect();
        assert!(batches.iter().all(|batch| batch.len() <= 10), "{batches:?}");
        let mut seen = BTreeSet::new();
        let first_time: Vec<_> = batches.concat().into_iter().filter(|number| seen.insert(*number)).collect();
        assert_eq!(first_time, (0..95).collect::<Vec<_>>());
        assert_eq!((metrics.dropped.get(), metrics.waiting.get(), metrics.waiting_bytes.get()), (0, 0, 0));
    }
}

#[test]
fn what_waits_in_memory_is_lost_with_the_agent_and_counted() {
    let (folder, metrics) = (Folder::new(), metrics());
    let webhook = Webhook::start(&options(&folder, nowhere(), false), metrics.clone()).unwrap();
    send(&webhook, 0..50);
    assert!(!webhook.close().wait(WITHIN));
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (0, 50));
}

#[test]
fn what_waits_on_disk_is_the_next_agents() {
    let (folder, metrics) = (Folder::new(), metrics());
    let webhook = Webhook::start(&options(&folder, nowhere(), true), metrics.clone()).unwrap();
    send(&webhook, 0..50);
    wait_for(|| metrics.waiting_seconds.get() > 0);
    assert!(webhook.close().wait(WITHIN));
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (0, 0));

    let server = Server::start(|_, _| status("200 OK"));
    let webhook = Webhook::start(&options(&folder, server.address, true), metrics.clone()).unwrap();
    assert_eq!(metrics.waiting.get(), 50);
    send(&webhook, 50..60);
    wait_for(|| metrics.written.get() == 60);
    assert!(webhook.close().wait(WITHIN));
    assert_eq!(server.asked.try_iter().flat_map(|asked| numbers(&asked.body)).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
}

#[test]
fn the_end_sends_what_waits_for_others() {
    let server = Server::start(|_, _| status("200 OK"));
    let (folder, metrics) = (Folder::new(), metrics());
    let options = Options { batch_max_wait: Duration::from_hours(1), ..options(&folder, server.address, true) };
    let webhook = Webhook::start(&options, metrics.clone()).unwrap();
    send(&webhook, 0..25);
    wait_for(|| metrics.written.get() == 20);
    let begun = Instant::now();
    assert!(webhook.close().wait(WITHIN));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(metrics.written.get(), 25);
}

#[test]
fn a_receiver_that_hangs_is_not_waited_for() {
    for (lasting, lost) in [(false, 20), (true, 0)] {
        let server = Server::start(|_, _| String::new());
        let (folder, metrics) = (Folder::new(), metrics());
        let webhook = Webhook::start(&options(&folder, server.address, lasting), metrics.clone()).unwrap();
        send(&webhook, 0..20);
        server.asked.recv_timeout(WITHIN).unwrap();
        let begun = Instant::now();
        assert_eq!(webhook.close().wait(Duration::from_millis(300)), lasting);
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!((metrics.written.get(), metrics.dropped.get()), (0, lost));
    }
}

#[test]
fn one_refused_event_does_not_stop_the_others() {
    let server = Server::start(|_, asked| {
        let bad = numbers(&asked.body).into_iter().any(|number| number % 20 == 7);
        status(if bad { "400 Bad Request" } else { "200 OK" })
    });
    let (folder, metrics) = (Folder::new(), metrics());
    let webhook = Webhook::start(&options(&folder, server.address, true), metrics.clone()).unwrap();
    send(&webhook, 0..60);
    wait_for(|| metrics.waiting.get() == 0 && metrics.written.get() > 0);
    assert!(webhook.close().wait(WITHIN));
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (57, 3));
}
