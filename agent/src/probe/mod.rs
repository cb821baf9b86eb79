//! The kernel side of the house: load the programs, attach them to a planned executable, drain the rings.
//!
//! The only module with `unsafe`, and only to tell aya which plain structs may be copied into a map.

mod decode;
mod kernel_btf;
mod kernel_log;
mod load;
mod rings;

pub use decode::{DecodeError, Decoded, decode, sender};
pub use kernel_btf::{BtfError, kernel_offsets};
pub use load::{Attachment, Counts, ProbeError, Probes};
pub use rings::Rings;
