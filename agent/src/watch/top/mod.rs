//! A screen full of those who ask: how often, by the fallback or not, and what is wrong.

mod rate;
mod screen;
mod state;
mod tally;
mod terminal;
#[cfg(test)]
mod tests;

pub use state::Input;
pub use terminal::show;
