//! Requests as they come, for people: a line for each, or a screen full of those who ask.
//!
//! What is shown is read from events, whoever hands them on: an agent over its socket, a file, standard input. Pure but for `agent`, `attach` and
//! `top::terminal`, where the sources and the terminal are.

pub mod agent;
pub mod attach;
mod cells;
mod filter;
mod layout;
mod pattern;
mod row;
mod stream;
#[cfg(test)]
mod testing;
pub mod top;

pub use filter::{Filter, Since};
pub use layout::Layout;
pub use pattern::Pattern;
pub use stream::{Form, Shown, Stream};
