//! Every seed of the fuzz targets that Miri can run, whole and cut.

use std::{fs, path::Path};

use bytes::Bytes;
use kubewitness_miri::{
    exchange::{Connections, Exchanges, Part},
    gobin, kubelet,
    observation::Observation,
    probe::{Decoded, Told, Users, decode, sender},
};

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn executables() {
    for seed in seeds("gobin").into_iter().chain(seeds("plan")) {
        for part in 1..=4 {
            gobin::fuzz_entry(&seed[..seed.len() * part / 4]);
        }
    }
}

#[test]
fn uris() {
    for seed in seeds("uris") {
        kubelet::fuzz_entry(&seed);
    }
}

#[test]
fn records() {
    for seed in seeds("records") {
        let mut rest = Bytes::from(seed);
        let (mut connections, mut exchanges, mut users) = (Connections::new(4), Exchanges::new(4, 10250, 10255), Users::default());
        let mut decoded = 0;
        while rest.len() >= 8 {
            let length = u32::from_ne_bytes(rest[4..8].try_into().unwrap());
            let record = rest.split_to(usize::try_from(length).unwrap().clamp(1, rest.len()));
            let _ = sender(&record);
            for end in [record.len(), record.len() / 2] {
                let Ok(found) = decode(&record.slice(..end), &mut users) else { continue };
                decoded += 1;
                let found = match found {
                    Told::One(found) => vec![found],
                    Told::Whole(whole) => whole.parts,
                    Told::Again(_) => Vec::new(),
                };
                for Decoded { observation, arrival } in found {
                    let (id, part) = match observation {
                        Observation::Request(id, request) => (id, Part::Request(request)),
                        Observation::Check(id, check) => (id, Part::Check(check)),
                        Observation::Answer(id, time, status) => (id, Part::Answer(time, status)),
                        Observation::End(id, end) => (id, Part::End(end)),
                        Observation::Socket(socket) => {
                            connections.observe(&socket, None);
                            continue;
                        }
                    };
                    let _ = exchanges.observe(id, part, arrival, &mut connections);
                }
            }
        }
        let _ = exchanges.stop();
        assert!(decoded > 0);
    }
}
