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
