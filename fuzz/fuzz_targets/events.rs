//! `cargo fuzz run events`: hostile lines of events. `cargo run --example make_events -- 100000` makes a good first corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::report::fuzz_entry(bytes));
