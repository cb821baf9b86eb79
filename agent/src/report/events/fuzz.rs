//! The body of the fuzz target, which a test calls too.

use super::Collector;

/// Reads hostile bytes, whole and in two pieces, and tells what is in them. Whatever they are, it returns, and the same for both.
///
/// # Panics
///
/// If where the bytes were cut makes a difference, or what is told is not harmless.
pub fn fuzz_entry(bytes: &[u8]) {
    let observed = |chunks: &[&[u8]]| {
        let mut collector = Collector::new();
        collector.begin("fuzz");
        for chunk in chunks {
            collector.feed(chunk);
        }
        collector.end();
        collector.finish()
    };
    let (left, right) = bytes.split_at(bytes.len() / 2);
    let whole = observed(&[bytes]);
    assert_eq!(whole, observed(&[left, right]));
    crate::report::fuzz::check(&whole);
}
