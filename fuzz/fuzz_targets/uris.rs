//! `cargo fuzz run uris`: hostile request targets, paths, headers and reasons.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::kubelet::fuzz_entry(bytes));
