//! The agent's own HTTP port, by those who only reach it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    agent::{Agent, METRICS, connect_in},
    figures::Figures,
    scenarios::Bed,
};

use super::client::Client;

/// How long somebody may wait who asks at once.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// More than the agent serves at a time, by far.
const SILENT: usize = 600;
const FIGURES: Figures = Figures::of("docs/reliability-hostile.md", "port");

pub(crate) fn holds(bed: &Bed) {
    let mut agent = bed.agent(&[]);
    assault(bed, &mut agent, SILENT, "plain", |agent| {
        let page = agent.fetch("/metrics").unwrap();
        assert!(page.contains("kubewitness_attached 1\n"), "{page}");
    });
    let request = |text: &str| {
        let mut stream = connect(bed);
        // It may have been cut off before all was written.
        let _broken = stream.write_all(text.as_bytes());
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer);
        answer
    };
    for (what, text, status) in [
        ("a giant header", format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1 << 20)), "431"),
        ("many headers", format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(2000)), "431"),
        ("a giant target", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)), "4"),
        ("an unknown path", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        ("another method", "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "405"),
        ("a body that does not come", "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n".to_owned(), "200"),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}".to_owned(), ""),
    ] {
        let answer = request(&text);
        let expected = if status.is_empty() { String::new() } else { format!("HTTP/1.1 {status}") };
        // Where more was sent than is read, the answer may be lost with the connection.
        assert!(answer.starts_with(&expected) || (answer.is_empty() && text.len() > 1 << 16), "{what}: {answer}");
        assert!(!answer.contains("kubewitness_"), "{what}: {answer}");
    }
    drop(agent);

    let kubeconfig = bed.cluster.kubeconfig().display().to_string();
    let options = bed.agent_options(&["--metrics-auth", "kubernetes", "--kubeconfig", &kubeconfig]);
    let mut agent = Agent::start_blind(&bed.cluster, &options).unwrap();
    let client = Client::of(&bed.cluster, 9464);
    let watches = |_: &mut Agent| Ok(client.get("/readyz", None).ok().filter(|(status, _)| *status == 200).map(drop));
    agent.until("it serves over TLS", Duration::from_secs(30), watches).unwrap();
    assault(bed, &mut agent, SILENT, "TLS", |_| assert_eq!(client.get("/healthz", None).unwrap().0, 200));
}

pub(crate) fn flooded(bed: &Bed) {
    let mut agent = bed.agent(&[]);
    assault(bed, &mut agent, 10_000, "plain, flooded", |agent| drop(agent.fetch("/metrics").unwrap()));
}

/// Opens connections of all kinds, then asks; the agent's memory and descriptors stay bounded, and the answers come.
fn assault(bed: &Bed, agent: &mut Agent, silent: usize, what: &str, ask: impl Fn(&Agent)) {
    let before = resident(agent.pid());
    let mut held = Vec::new();
    let (mut worst, mut answers) = (Duration::ZERO, 0);
    let mut asked = |agent: &Agent| {
        let begun = Instant::now();
        ask(agent);
        worst = worst.max(begun.elapsed());
        answers += 1;
    };
    for number in 0..silent {
        let mut stream = connect(bed);
        // Some say nothing, some begin a request or a handshake, some ask and do not read.
        let said: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET /metr",
            2 => b"\x16\x03\x01\x02\x00\x01",
            _ => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        // One that has given way already is as good.
        let _gone = stream.write_all(said);
        held.push(stream);
        if number % (silent / 10) == 0 {
            asked(agent);
        }
    }
    // Slow ones: a byte more, now and then.
    for _ in 0..5 {
        for stream in held.iter_mut().skip(1).step_by(4) {
            let _gone = stream.write_all(b"i");
        }
        asked(agent);
    }
    let (descriptors, after) = (descriptors(agent.pid()), resident(agent.pid()));
    let row = [
        what,
        &silent.to_string(),
        &answers.to_string(),
        &format!("{:.2} s", worst.as_secs_f32()),
        &descriptors.to_string(),
        &format!("{} MiB", after.saturating_sub(before) / 1024),
    ];
    FIGURES.row(&row);
    assert!(worst < ANSWERED_WITHIN, "an answer took {worst:?}");
    assert!(descriptors < 400, "{descriptors} descriptors");
    assert!(after < before + 32 * 1024, "{before} KiB became {after} KiB");
    drop(held);
    let emptied = |agent: &mut Agent| Ok((self::descriptors(agent.pid()) < 100).then_some(()));
    agent.until("the connections are gone", Duration::from_secs(20), emptied).unwrap();
}

fn connect(bed: &Bed) -> TcpStream {
    let stream = connect_in(&bed.cluster.network_namespace(), METRICS).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// In KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it runs");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
