//! `cargo fuzz run gobin`: hostile executables. A small Go program makes a good first corpus, see `agent/tests/sample`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::gobin::fuzz_entry(bytes));
