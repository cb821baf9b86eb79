//! What the agent finds out about itself, as values: whether every request was seen, and whether silence is only silence. Pure.

mod coverage;
mod silence;

pub use coverage::{Agreement, Coverage, Reading};
pub use silence::Silence;

/// What the agent looks at in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The probes are in the kubelet's memory.
    Probes,
    /// The tracepoint of connections tells something.
    Sockets,
    /// Every request that the kubelet counts was seen.
    Coverage,
    /// The daemon's loop turns.
    Loop,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Probes, Self::Sockets, Self::Coverage, Self::Loop];

    /// As a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probes => "probes",
            Self::Sockets => "sockets",
            Self::Coverage => "coverage",
            Self::Loop => "loop",
        }
    }
}
