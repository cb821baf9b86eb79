//! From what was seen to what to do: who used which endpoint and which right, what was wrong, and the role that would be enough.

mod events;
mod files;
mod observed;

pub use events::{Collector, LONGEST_LINE, REMEMBERED, fuzz_entry};
pub use files::{EventsError, Progress, read_events};
pub use observed::{Example, Found, IdentitySeen, NodeSeen, Note, Observed, Use, Who};
