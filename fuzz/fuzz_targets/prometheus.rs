//! `cargo fuzz run prometheus`: hostile answers of a Prometheus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::report::prometheus::fuzz_entry(bytes));
