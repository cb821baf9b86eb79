//! Small functions for tests, as listings: a line is the bytes of an instruction and how it must read, of which a branch shows its name.

use iced_x86::{Decoder, DecoderOptions};

use super::body;

/// Where the functions of tests begin.
pub(super) const BASE: u64 = 0x1000;

/// The bytes of a listing, after checking that they are the instructions that it says.
pub(super) fn assemble(listing: &str) -> Vec<u8> {
    let lines = listing.lines().map(str::trim).filter(|line| !line.is_empty());
    let (hex, texts): (Vec<_>, Vec<_>) = lines.map(|line| line.split_once(' ').expect("bytes and text")).unzip();
    let hex = hex.concat();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
    let decoded: Vec<_> = Decoder::with_ip(64, &bytes, BASE, DecoderOptions::NONE).iter().map(|i| body::text(&i)).collect();
    assert_eq!(decoded.len(), texts.len(), "{decoded:#?}");
    decoded.iter().zip(texts).for_each(|(is, says)| assert!(is.starts_with(says), "{is} is not {says}"));
    bytes
}

#[cfg(test)]
mod tests {
    use iced_x86::{FlowControl, Mnemonic, Register};
    use proptest::prelude::*;

    use super::{
        super::{answer, body::Body, check, deferred, entry},
        BASE,
    };

    const LOAD_METHOD: &[u8] = &[0x49, 0x8b, 0x50, 0x28];
    const LOAD_ITAB: &[u8] = &[0x48, 0x8b, 0x7c, 0x24, 0x40];
    const LOAD_DATA: &[u8] = &[0x48, 0x8b, 0x74, 0x24, 0x50];
    const CALL: &[u8] = &[0xff, 0xd2];
    const TEST: &[u8] = &[0x48, 0x85, 0xff];
    const JNE: &[u8] = &[0x75, 0x00];
    const COMPARE_101: &[u8] = &[0x48, 0x83, 0xfa, 0x65];
    const JE: &[u8] = &[0x74, 0x00];
    const COMPARE_400: &[u8] = &[0x48, 0x81, 0xfa, 0x90, 0x01, 0x00, 0x00];
    const CHECK_STACK: &[u8] = &[0x49, 0x3b, 0x66, 0x10];
    const JBE: &[u8] = &[0x76, 0x00];
    const PUSH: &[u8] = &[0x55];

    /// What the finders look for.
    const SITES: [&[&[u8]]; 3] =
        [&[LOAD_METHOD, LOAD_ITAB, LOAD_DATA, CALL, TEST, JNE], &[COMPARE_101, JE, COMPARE_400], &[CHECK_STACK, JBE, PUSH]];
    /// What may change their minds: nops, copies, stores, other jumps and calls.
    const NOISE: [&[u8]; 17] = [
        &[0x90],
        &[0x66, 0x90],
        &[0x49, 0x8b, 0x70, 0x28],
        &[0x48, 0x89, 0xf2],
        &[0x48, 0x89, 0xc7],
        &[0x48, 0x89, 0x7c, 0x24, 0x40],
        &[0x48, 0x89, 0x74, 0x24, 0x28],
        &[0x75, 0xf6],
        &[0xeb, 0x04],
        &[0xff, 0xe2],
        &[0x53],
        &[0x48, 0x29, 0xc4],
        CALL,
        TEST,
        JNE,
        COMPARE_101,
        JE,
    ];

    /// A site with other instructions between its own, mostly none.
    fn code() -> impl Strategy<Value = Vec<u8>> {
        let noise = prop::collection::vec(prop::sample::select(&NOISE[..]), 0..3);
        let noise = prop_oneof![4 => Just(vec![]), 1 => noise];
        let disturb = |site: &'static [&'static [u8]], noise: Vec<Vec<&'static [u8]>>| {
            let between = noise.into_iter().map(|others| others.concat());
            site.iter().map(|own| own.to_vec()).zip(between).flat_map(|(own, others)| [own, others].concat()).collect()
        };
        (prop::sample::select(&SITES[..]), prop::collection::vec(noise, 6)).prop_map(move |(site, noise)| disturb(site, noise))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whatever lies between the instructions of a site: what is found is what it must be, else there is doubt, and never a panic.
        #[test]
        fn finders_hold_for_any_code(bytes in prop_oneof![9 => code(), 1 => prop::collection::vec(any::<u8>(), 0..200)]) {
            let Ok(body) = Body::decode(BASE, &bytes) else { return Ok(()) };
            let all = body.instructions();
            if let Ok((jump, attributes)) = check::find(&body, 0x28, check::spill(&body)) {
                let nop = |i: &&iced_x86::Instruction| i.mnemonic() == Mnemonic::Nop;
                let working: Vec<_> = all[..jump].iter().rev().filter(|i| !nop(i)).take(2).collect();
                prop_assert_eq!(all[jump].mnemonic(), Mnemonic::Jne);
                prop_assert_eq!(working[0].mnemonic(), Mnemonic::Test);
                prop_assert_eq!(working[1].flow_control(), FlowControl::IndirectCall);
                prop_assert!(attributes.itab >= 0 && attributes.data >= 0 && attributes.itab != attributes.data);
            }
            if let Ok((jump, register)) = answer::find(&body) {
                prop_assert_eq!((all[jump].mnemonic(), register), (Mnemonic::Je, Register::RDX));
            }
            if let Ok(push) = entry::first_push(&body) {
                prop_assert_eq!((all[push].mnemonic(), push >= 2), (Mnemonic::Push, true));
            }
            prop_assert!(deferred::runs_last(&body, BASE).is_err(), "no instruction takes an address");
        }
    }
}
