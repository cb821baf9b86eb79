//! `cargo fuzz run manifests`: hostile YAML and JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::manifest::fuzz_entry(bytes));
