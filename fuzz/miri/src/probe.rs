//! Decoding alone: the rest of the module is the kernel's.

#[path = "../../../agent/src/probe/decode.rs"]
mod decode;
#[path = "../../../agent/src/probe/users.rs"]
mod users;

pub use decode::{decode, sender};
pub use users::Users;
