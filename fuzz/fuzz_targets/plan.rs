//! `cargo fuzz run plan`: hostile executables, planned as kubelets, and hostile functions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::target::plan::fuzz_entry(bytes));
