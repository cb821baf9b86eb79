//! `cargo fuzz run records`: hostile records of the kernel programs, the whole way to events.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::witness::fuzz_entry(bytes));
