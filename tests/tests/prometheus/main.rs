//! The report's source for fleets against a real Prometheus: counts are exact, and what goes wrong is told.

mod faults;
mod fleet;
mod scale;
mod server;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser as _;
use jiff::Timestamp;
use kubewitness::{
    cli::prometheus::PrometheusArgs,
    report::{
        Observed, Who,
        prometheus::{Options, observe},
    },
};
use kubewitness_tests::prometheus::Prometheus;

use crate::{
    fleet::{Dice, Life, SCRAPE, Truth, samples, truth},
    server::{Deed, Server},
};

/// The end of all windows: long ago, and no multiple of anything.
const END: i64 = 1_763_950_123;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus").join(name);
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A Prometheus that holds what these lives exposed.
fn filled(name: &str, lives: &[Life], arguments: &[&str]) -> Prometheus {
    let folder = folder(name);
    let file = folder.join("samples.txt");
    fs::write(&file, samples(lives)).unwrap();
    Prometheus::fill(&folder, &file).unwrap();
    Prometheus::start(&folder, "global: {}", arguments).unwrap()
}

fn options(url: &str, window: i64, more: &[&str]) -> Options {
    let (window, until) = (format!("{window}s"), Timestamp::from_second(END).unwrap().to_string());
    let typed = ["x", "--prometheus", url, "--window", &window, "--until", &until];
    PrometheusArgs::try_parse_from(typed.iter().chain(more)).unwrap().options(Timestamp::UNIX_EPOCH).unwrap()
}

fn seen(server: &Prometheus, window: i64, more: &[&str]) -> Observed {
    observe(&options(&format!("http://{}", server.address()), window, more)).unwrap()
}

/// What was seen, in the words of the labels.
fn told(observed: &Observed) -> Truth {
    let name = |who: &Who| match who {
        Who::User(name) => name.clone(),
        Who::Others => "other".to_owned(),
        Who::Nobody => String::new(),
    };
    let uses = observed
        .uses
        .iter()
        .map(|(used, count)| ((name(&used.who), used.endpoint.label().to_owned(), used.access.as_str().to_owned()), *count));
    let findings = observed.findings.iter().map(|((finding, who), found)| ((name(who), finding.id().to_owned()), found.count));
    let requests = observed.nodes.iter().filter(|(_, node)| node.requests > 0).map(|(name, node)| (name.clone(), node.requests));
    Truth { uses: uses.collect(), findings: findings.collect(), requests: requests.collect() }
}

fn note(observed: &Observed, id: &str) -> Option<u64> {
    observed.notes.iter().find(|note| note.id == id).map(|note| note.count)
}

fn life(target: &str, node: &str, started: i64) -> Life {
    Life { target: target.to_owned(), node: node.to_owned(), started, scrapes: Vec::new(), requests: Vec::new() }
}

/// How an agent may fare within a window; each is a way in which counts could go wrong.
const FATES: usize = 13;

/// An agent, or several of the same node, with what it counted. `start` and `end` are those of the window.
fn fate(kind: usize, number: usize, cluster: &str, start: i64, end: i64, dice: &mut Dice) -> Vec<Life> {
    let long_ago = start - 3600;
    let node = format!("node-{number}");
    let target = |pod: &str| format!(r#"cluster="{cluster}",instance="10.0.0.{number}:9464",job="kubewitness",pod="{pod}""#);
    let counted = |dice: &mut Dice, pod: &str, started: i64, from: i64, to: i64| {
        let mut life = life(&target(pod), &node, started).scraped(from, to);
        life.requests = dice.requests(60, started, to + SCRAPE);
        life
    };
    let phase = dice.time(0, SCRAPE);
    let (first, last) = (start - 1800 + phase, end);
    // What happens is over five minutes before the end: blocks that promtool makes have no staleness markers, so the series of a process that
    // ended later would be seen beside those of the next.
    let middle = dice.time(start + 600, end - 1200);
    match kind {
        // It runs through.
        0 => vec![counted(dice, "a", long_ago, first, last)],
        // Its node joins in the window.
        1 => vec![counted(dice, "a", middle, middle + phase, last)],
        // Its node goes.
        2 => vec![counted(dice, "a", long_ago, first, middle)],
        // It is restarted in place.
        3 => vec![counted(dice, "a", long_ago, first, middle), counted(dice, "a", middle + 10, middle + SCRAPE, last)],
        // Its pod is replaced, on the host's network, so that the address stays.
        4 => vec![counted(dice, "a", long_ago, first, middle), counted(dice, "b", middle + 10, middle + SCRAPE, last)],
        // It is restarted again and again.
        5 => {
            let restarts: Vec<i64> = (0..8).map(|turn| middle + turn * 2 * SCRAPE).collect();
            let mut lives = vec![counted(dice, "a", long_ago, first, middle - SCRAPE)];
            lives.extend(restarts.windows(2).map(|pair| counted(dice, "a", pair[0] - 20, pair[0], pair[1] - SCRAPE)));
            lives.push(counted(dice, "a", restarts[7] - 20, restarts[7], last));
            lives
        }
        // Nobody scrapes it for a while.
        6 => {
            let mut life = counted(dice, "a", long_ago, first, middle);
            life.requests.extend(dice.requests(20, middle, last));
            vec![life.scraped(middle + 1500, last)]
        }
        // It is restarted while nobody scrapes it.
        7 => vec![counted(dice, "a", long_ago, first, middle), counted(dice, "a", middle + 400, (middle + 1500).min(last), last)],
        // It ran long before it was scraped first.
        8 => vec![counted(dice, "a", long_ago, middle, last)],
        // The Prometheus operator's labels hide its own.
        9 => {
            let mut life = counted(dice, "a", long_ago, first, last);
            life.target.push_str(r#",endpoint="http-metrics",node="target's""#);
            vec![life]
        }
        // It comes and goes within the window.
        10 => vec![counted(dice, "a", middle - 300, middle - 300 + phase, middle + 200)],
        // Two jobs scrape it, one of them for a while.
        11 => {
            let whole = counted(dice, "a", long_ago, first, last);
            let (mut other, mut former) = (whole.clone(), whole.clone());
            other.target = target("b");
            former.target = target("c");
            former.scrapes.retain(|time| *time <= middle);
            vec![whole, other, former]
        }
        // Its target is renamed while it runs: the same process under other labels.
        _ => {
            let whole = counted(dice, "a", long_ago, first, last);
            let (mut before, mut after) = (whole.clone(), whole);
            before.scrapes.retain(|time| *time <= middle);
            after.scrapes.retain(|time| *time > middle);
            after.target = target("b");
            vec![before, after]
        }
    }
}

/// Fleets of every kind of fate, in one store, told apart by a label.
#[test]
fn counts_are_exact_whatever_became_of_the_agents() {
    let long = std::env::var("KUBEWITNESS_LONG").is_ok();
    let fleets = if long { 200 } else { 24 };
    let seed = std::env::var("KUBEWITNESS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    eprintln!("KUBEWITNESS_SEED={seed}");
    let mut dice = Dice(seed);
    let mut all = Vec::new();
    let mut fleets_lives = Vec::new();
    for fleet in 0..fleets {
        let cluster = format!("c{fleet}");
        let window = dice.pick(&[7200, 3600, 5000]);
        // The first fleets have one fate each, the others have several.
        let kinds: Vec<usize> =
            if fleet < FATES { vec![fleet; 3] } else { (0..8).map(|_| usize::try_from(dice.roll(13)).unwrap()).collect() };
        let start = END - window;
        let lives: Vec<Life> =
            kinds.iter().enumerate().flat_map(|(number, kind)| fate(*kind, number, &cluster, start, END, &mut dice)).collect();
        all.extend(lives.iter().cloned());
        fleets_lives.push((cluster, window, kinds, lives));
    }
    let server = filled("exact", &all, &[]);
    for (cluster, window, kinds, lives) in fleets_lives {
        let observed = seen(&server, window, &["--prometheus-selector", &format!("cluster=\"{cluster}\"")]);
        let (told, expected) = (told(&observed), truth_of(&lives, END - window));
        let differences = told.differences(&expected);
        assert!(differences.is_empty(), "{cluster}, fates {kinds:?}, window {window}, seed {seed}: {differences:#?}; {:?}", observed.notes);
        assert!(note(&observed, "contradiction").is_none(), "{:?}", observed.notes);
    }
}

/// What Prometheus itself scraped: series that are born, that end, and a restart with fewer of them.
#[test]
fn counts_are_exact_for_what_is_scraped() {
    let phase = Arc::new(AtomicUsize::new(0));
    let (now, current) = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(), Arc::clone(&phase));
    let agent = Server::start(move |_, _| {
        let (started, counts): (u64, &[(&str, u32)]) = match current.load(Ordering::Relaxed) {
            0 => (now - 20, &[("a", 5)]),
            1 => (now - 20, &[("a", 7), ("b", 1)]),
            _ => (now + 1, &[("a", 2), ("c", 3)]),
        };
        let all: u32 = counts.iter().map(|(_, count)| count).sum();
        let mut page = format!(
            "process_start_time_seconds {started}\nkubewitness_build_info{{version=\"0.1.0\",node=\"n\"}} 1\nkubewitness_attached 1\n"
        );
        writeln!(page, "kubewitness_requests_total{{endpoint=\"pods\",access=\"fallback\",transport=\"plain\",code=\"200\"}} {}", all + 4)
            .unwrap();
        for (name, count) in counts {
            writeln!(page, "kubewitness_identity_requests_total{{identity=\"{name}\",endpoint=\"pods\",access=\"fallback\"}} {count}")
                .unwrap();
        }
        Deed::Answer("200 OK\r\nContent-Type: text/plain; version=0.0.4", page)
    });
    let target = agent.url().replace("http://", "");
    let config = format!("scrape_configs: [{{job_name: agents, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]");
    let mut server = Prometheus::start(&folder("scrapes"), &config, &[]).unwrap();
    let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    for turn in 0..3 {
        phase.store(turn, Ordering::Relaxed);
        server.scraped_since(wall(), Duration::from_secs(10)).unwrap();
    }
    let mut options = options(&format!("http://{}", server.address()), 60, &[]);
    options.until = Timestamp::now();
    let observed = observe(&options).unwrap();
    let counts: Vec<_> = told(&observed).uses.into_iter().map(|((name, ..), count)| (name, count)).collect();
    let expected = [("", 8), ("a", 9), ("b", 1), ("c", 3)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts, expected, "{observed:#?}");
    assert_eq!(note(&observed, "ended"), Some(1), "{:?}", observed.notes);
    assert!(observed.nodes["n"].watched.unwrap() >= Duration::from_secs(2), "{:?}", observed.nodes);
}

/// [`truth`], where a process that goes on under other labels is one life.
fn truth_of(lives: &[Life], start: i64) -> Truth {
    let mut merged: BTreeMap<(String, i64), Life> = BTreeMap::new();
    for life in lives {
        let known = merged.entry((life.node.clone(), life.started)).or_insert_with(|| Life { scrapes: Vec::new(), ..life.clone() });
        known.scrapes.extend(&life.scrapes);
        known.scrapes.sort_unstable();
        known.scrapes.dedup();
    }
    truth(&merged.into_values().collect::<Vec<_>>(), start, END)
}
