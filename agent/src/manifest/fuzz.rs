//! The body of the fuzz target, which a test calls too.

use super::Manifests;
use crate::{
    check::{Policy, Report},
    inert::obeyed,
};

/// Reads a hostile manifest and tells who would have `nodes/proxy` by it, in every form. Whatever it is, it returns.
///
/// # Panics
///
/// If what is told holds something that a terminal obeys, or is no JSON.
pub fn fuzz_entry(bytes: &[u8]) {
    let mut manifests = Manifests::default();
    manifests.take("fuzz.yaml", bytes);
    let objects = manifests.objects();
    let report = Report::new(&objects, Some(manifests), &Policy::default());
    let obeyed = |character| character != '\n' && obeyed(character);
    assert!(!report.text(false).contains(obeyed), "{:?}", report.text(false));
    for text in [report.json(), report.sarif()].map(|text| text.expect("the report is JSON")) {
        assert!(!text.contains(obeyed), "{text:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }
}
