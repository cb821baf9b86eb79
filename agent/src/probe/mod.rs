//! The kernel side of the house: load the programs, attach them to a planned executable, drain the rings.
//!
//! The only module with `unsafe`: to map a file, to hold a lease on one, and to tell aya which plain structs may be copied into a map.

mod decode;
mod kernel_btf;
mod kernel_log;
mod lease;
mod load;
mod mapped;
mod rings;

pub use decode::{DecodeError, Decoded, decode};
pub use kernel_btf::{BtfError, kernel_offsets};
pub use lease::Lease;
pub use load::{Attachment, Counts, ProbeError, Probes};
pub use mapped::Mapped;
pub use rings::Rings;
