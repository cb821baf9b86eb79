//! Reads event files as `kubewitness report` does, prints the matrix identity × endpoint × access as JSON, and says what it took.
//!
//! `cargo run --release --example matrix -- events.jsonl`

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use kubewitness::report::{Who, read_events};

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let observed = read_events(&paths, |_| ())?;
    let mut matrix: BTreeMap<String, u64> = BTreeMap::new();
    for (used, count) in &observed.uses {
        let who = match &used.who {
            Who::User(name) => name,
            Who::Others => "others",
            Who::Nobody => "",
        };
        *matrix.entry(format!("{who} {} {}", used.endpoint.label(), used.access.as_str())).or_default() += count;
    }
    println!("{}", serde_json::to_string(&matrix)?);
    for note in &observed.notes {
        eprintln!("{} {}: {}", note.count, note.id, note.text);
    }
    Ok(())
}
