//! The kernel side of the house: load the programs, attach them to a planned executable, drain the rings.
//!
//! The only module with `unsafe`: to map a file, to hold a lease on one, to ask the kernel for a perf event, to give back pages of the
//! agent's own code, and to tell aya which plain structs may be copied into a map.

mod code;
mod decode;
mod kernel_btf;
mod kernel_log;
mod lease;
mod load;
mod rings;
mod users;
mod way;

pub use code::give_back_code;
pub use decode::{DecodeError, Decoded, decode, sender};
pub use kernel_btf::{BtfError, kernel_offsets};
pub use lease::Lease;
pub use load::{Attachment, Counts, ProbeError, Probes, programs_digest};
pub use rings::Rings;
pub use users::Users;
pub use way::{NoWay, Way};
