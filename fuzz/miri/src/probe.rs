//! Decoding alone: the rest of the module is the kernel's.

#[path = "../../../agent/src/probe/decode.rs"]
mod decode;
#[path = "../../../agent/src/probe/users.rs"]
mod users;
#[path = "../../../agent/src/probe/whole.rs"]
mod whole;

pub use decode::{Decoded, Told, decode, sender};
pub use users::Users;
pub use whole::Whole;
