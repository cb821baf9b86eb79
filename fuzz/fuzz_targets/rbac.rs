//! `cargo fuzz run rbac`: hostile RBAC objects, as an API server would tell them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubewitness::rbac::fuzz_entry(bytes));
