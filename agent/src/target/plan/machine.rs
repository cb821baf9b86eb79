//! What a plan asks about code, and what each machine's instructions answer.

use kubewitness_wire::Register;

use super::{Doubt, arm64, x86};
use crate::gobin::{Architecture, Function};

/// Finds sites among the instructions of one kind of machine. Functions are disassembled whole, and doubt is an answer.
pub(super) trait Machine {
    /// Where a function has passed its stack check and all its arguments are still in their registers.
    fn entry(&self, function: &Function<'_>) -> Result<Landing, Doubt>;

    /// Where `Authorize` has answered a filter. `slot` is its offset in the itab, `wrapper` the function `(*KubeletAuth).Authorize`.
    fn check(&self, filter: &Function<'_>, slot: u64, wrapper: &Function<'_>) -> Result<(Landing, Attributes), Doubt>;

    /// Where the container runtime's status is in a register.
    fn answer(&self, function: &Function<'_>) -> Result<(Landing, Register), Doubt>;

    /// Whether the deferred call at an address is the one that runs last when the function ends.
    fn runs_last(&self, function: &Function<'_>, deferred: u64) -> Result<(), Doubt>;

    /// Whether the compiler made a function to wrap a deferred call; `panicking` is [`Self::panicking`]. Asked where the name does not say it,
    /// which is before Go 1.22; of that age no kubelet for arm64 is known.
    fn is_wrapper(&self, _function: &Function<'_>, _panicking: u32) -> bool {
        false
    }

    /// Bytes from `g` to `g._panic`, by `runtime.gorecover`.
    fn panicking(&self, recover: &Function<'_>) -> Result<u32, Doubt>;

    /// The addresses of data that a function names; none if it cannot be disassembled.
    fn addresses(&self, function: &Function<'_>) -> Vec<u64>;
}

/// The one that runs code of an architecture.
pub(super) fn of(architecture: Architecture) -> &'static dyn Machine {
    match architecture {
        Architecture::X86_64 => &x86::X86,
        Architecture::Aarch64 => &arm64::Arm64,
    }
}

/// An instruction that a probe may sit on: a kernel emulates it.
pub(super) struct Landing {
    pub(super) address: u64,
    /// In the syntax that its maker gave it.
    pub(super) text: String,
    pub(super) bytes: Vec<u8>,
    /// Why this one.
    pub(super) why: String,
}

/// Where the two words of `attr` are at the site, in bytes from SP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The itab.
    pub itab: i32,
    /// The data.
    pub data: i32,
    /// Whose memory it is.
    pub place: Place,
}

/// Whose memory `attr` is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Slots of the caller's frame, from which the arguments were loaded.
    Frame,
    /// The bottom of the caller's frame, where `(*KubeletAuth).Authorize` stored its arguments.
    Spill,
}

impl Place {
    /// The end of a sentence.
    pub(super) const fn proof(self) -> &'static str {
        match self {
            Self::Frame => "in the frame's slots that were loaded as its arguments",
            Self::Spill => "where (*KubeletAuth).Authorize stored its arguments",
        }
    }
}
