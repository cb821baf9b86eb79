//! The body of the fuzz target, which a test calls too.

use super::{answer, body::Body, check, deferred, entry, panicking, plan};

/// Where the functions that are disassembled alone are taken to be.
const BASE: u64 = 0x40_1000;

/// Plans hostile bytes as an executable, and looks for every site in them as if they were a function. Whatever they are, it returns.
///
/// # Panics
///
/// If a plan is not whole, or an instruction is found that is not in the function.
pub fn fuzz_entry(bytes: &[u8]) {
    if let Ok(plan) = plan(bytes) {
        assert!(plan.sites.len() >= 4, "{plan:?}");
        for site in &plan.sites {
            let start = usize::try_from(site.file_offset).expect("an offset in the file");
            assert_eq!(bytes.get(start..start + site.bytes.len()), Some(&site.bytes[..]), "{site:?}");
            let _ = site.wire(&plan.layout);
        }
        assert!(serde_json::to_string(&plan).is_ok());
    }
    let Ok(body) = Body::decode(BASE, bytes) else { return };
    let instructions = body.instructions().len();
    let spill = check::spill(&body);
    for slot in [0x20, 0x28] {
        if let Ok((jump, _)) = check::find(&body, slot, spill.clone()) {
            assert!(jump < instructions);
        }
    }
    if let Ok((jump, _)) = answer::find(&body) {
        assert!(jump < instructions);
    }
    if let Ok(push) = entry::first_push(&body) {
        assert!(push < instructions);
    }
    let _ = panicking::find(&body);
    let _ = deferred::runs_last(&body, BASE);
}
