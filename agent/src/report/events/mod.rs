//! From lines of events to [`Observed`](super::Observed). Pure: bytes in, values out.
//!
//! The lines may be of any origin and in any state: cut, doubled, in any order, among lines of other programs. What is not an event of
//! kubewitness, or cannot be read, is counted in a note and never fatal; what comes twice counts once.

mod batch;
mod chunks;
mod collect;
mod course;
mod fuzz;
mod line;
mod lines;
mod notes;
mod people;
mod pieces;
mod plain;
mod seen;
mod spans;
mod writing;
#[cfg(test)]
mod tests;

pub(super) use batch::{Batch, Room};
pub use chunks::LONGEST_LINE;
pub use collect::Collector;
pub use fuzz::fuzz_entry;
pub(crate) use line::{Event, Stage};
pub(crate) use lines::{Heard, Lines};
pub use seen::REMEMBERED;
pub(crate) use seen::Seen;
