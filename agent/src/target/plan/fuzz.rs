//! The body of the fuzz target, which a test calls too.

use super::{machine, plan};
use crate::gobin::{Architecture, Function};

/// Where the functions that are disassembled alone are taken to be.
const BASE: u64 = 0x40_1000;

/// Plans hostile bytes as an executable, and looks for every site in them as if they were a function of either machine. Whatever they are, it
/// returns.
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
    let function = Function { name: "fuzz", address: BASE, file_offset: 0, bytes };
    for machine in [Architecture::X86_64, Architecture::Aarch64].map(machine::of) {
        let mut landings = vec![machine.entry(&function).ok(), machine.answer(&function).ok().map(|(landing, _)| landing)];
        for slot in [0x20, 0x28] {
            landings.push(machine.check(&function, slot, &function).ok().map(|(landing, _)| landing));
        }
        for landing in landings.into_iter().flatten() {
            let start = usize::try_from(landing.address - BASE).expect("an address of the function");
            assert_eq!(bytes.get(start..start + landing.bytes.len()), Some(&landing.bytes[..]), "{}", landing.text);
        }
        let _ = (machine.runs_last(&function, BASE), machine.panicking(&function), machine.addresses(&function));
    }
}
