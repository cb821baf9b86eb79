//! Small functions for tests, as listings: a line is the word of an instruction, as a disassembler shows it, and how it must read, of
//! which a branch shows its name.

use super::body::Body;

/// Where the functions of tests begin.
pub(super) const BASE: u64 = 0x1000;

/// The bytes of a listing, after checking that they are the instructions that it says.
pub(super) fn assemble(listing: &str) -> Vec<u8> {
    let lines = listing.lines().map(str::trim).filter(|line| !line.is_empty());
    let (hex, texts): (Vec<_>, Vec<_>) = lines.map(|line| line.split_once(' ').expect("a word and text")).unzip();
    let bytes: Vec<u8> = hex.iter().flat_map(|hex| u32::from_str_radix(hex, 16).expect("hex").to_le_bytes()).collect();
    let body = Body::decode(BASE, &bytes).expect("whole words");
    for (is, says) in body.instructions().iter().map(ToString::to_string).zip(texts) {
        assert!(is.starts_with(says), "{is} is not {says}");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            answer, check, deferred, entry,
            instruction::{Branch, Condition, Instruction, X},
        },
        BASE, Body,
    };

    const LOAD_METHOD: u32 = 0xf940_14a5;
    const LOAD_ITAB: u32 = 0xf940_4fe3;
    const LOAD_DATA: u32 = 0xf940_7fe4;
    const CALL: u32 = 0xd63f_00a0;
    const TEST: u32 = 0xb500_0043;
    const COMPARE_101: u32 = 0xf101_94bf;
    const EQUAL: u32 = 0x5400_0040;
    const COMPARE_400: u32 = 0xf106_40bf;
    const LOAD_GUARD: u32 = 0xf940_0b90;
    const CHECK_STACK: u32 = 0xeb30_63ff;
    const TOO_LOW: u32 = 0x5400_0049;

    /// What the finders look for.
    const SITES: [&[u32]; 3] = [
        &[LOAD_METHOD, LOAD_ITAB, LOAD_DATA, CALL, TEST],
        &[COMPARE_101, EQUAL, COMPARE_400],
        &[LOAD_GUARD, CHECK_STACK, TOO_LOW, 0xd65f_03c0, 0x17ff_fffc],
    ];
    /// What may change their minds: nops, copies, stores, other branches and calls, and what is not told apart.
    const NOISE: [u32; 15] = [
        0xd503_201f,
        0xaa06_03e5,
        0xaa00_03e3,
        0xf900_4fe0,
        0xa909_03e0,
        0xb500_0041,
        0xb5ff_ffc1,
        0x1400_0002,
        0xd65f_00a0,
        0x9e66_0005,
        0x9100_029f,
        CALL,
        TEST,
        COMPARE_101,
        EQUAL,
    ];

    /// A site with other instructions between its own, mostly none.
    fn code() -> impl Strategy<Value = Vec<u32>> {
        let noise = prop_oneof![4 => Just(vec![]), 1 => prop::collection::vec(prop::sample::select(&NOISE[..]), 0..3)];
        let disturb = |site: &'static [u32], noise: Vec<Vec<u32>>| {
            site.iter().zip(noise).flat_map(|(own, others)| std::iter::once(*own).chain(others)).collect()
        };
        (prop::sample::select(&SITES[..]), prop::collection::vec(noise, 6)).prop_map(move |(site, noise)| disturb(site, noise))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whatever lies between the instructions of a site: what is found is what it must be, else there is doubt, and never a panic.
        #[test]
        fn finders_hold_for_any_code(words in prop_oneof![9 => code(), 1 => prop::collection::vec(any::<u32>(), 0..60)]) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let body = Body::decode(BASE, &bytes).expect("whole words");
            let all = body.instructions();
            if let Ok((branch, attributes)) = check::find(&body, 0x28, check::spill(&body)) {
                let before = all[..branch].iter().rev().find(|i| **i != Instruction::Nop);
                prop_assert!(matches!(all[branch], Instruction::Branch(Branch::NotZero(X(3)), _)));
                prop_assert!(matches!(before, Some(Instruction::CallRegister(_))));
                prop_assert!(attributes.itab > 0 && attributes.data > 0 && attributes.itab != attributes.data);
            }
            if let Ok((branch, register)) = answer::find(&body) {
                prop_assert!(matches!(all[branch], Instruction::Branch(Branch::If(Condition::EQ), _)));
                let comparison = Instruction::Compare { register, value: 101 };
                prop_assert!(all[..branch].contains(&comparison));
            }
            if let Ok(branch) = entry::stack_check(&body) {
                prop_assert!(matches!(all[branch], Instruction::Branch(Branch::If(Condition::LS), _)) && branch <= 3);
            }
            prop_assert!(deferred::runs_last(&body, BASE + 2).is_err(), "no instruction takes that address");
        }
    }
}
