//! From what was seen to what to do: who used which endpoint and which right, what was wrong, and the role that would be enough.

mod observed;
pub mod prometheus;

pub use observed::{Example, Found, IdentitySeen, NodeSeen, Note, Observed, Use, Who};
