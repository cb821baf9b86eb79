//! Decoding alone: the rest of the module is the kernel's.

#[path = "../../../agent/src/probe/decode.rs"]
mod decode;

pub use decode::{decode, sender};
