//! The kernel side of the house: load the programs, attach them to a planned executable, drain the rings.
//!
//! The only module with `unsafe`: to map a file, to hold a lease on one, to ask the kernel for a perf event, to give back pages of the
//! agent's own executable, and to tell aya which plain structs may be copied into a map.

mod decode;
mod in_flight;
mod kernel_btf;
mod kernel_log;
mod lease;
mod load;
mod own_pages;
mod rings;
mod users;
mod way;
mod whole;

pub use decode::{DecodeError, Decoded, Told, decode, sender};
pub use kernel_btf::{BtfError, kernel_offsets};
pub use lease::Lease;
pub use load::{Attachment, Counts, ProbeError, Probes, programs_digest};
pub use own_pages::OwnPages;
pub use rings::Rings;
pub use users::Users;
pub use way::{NoWay, Way};
pub use whole::Whole;
