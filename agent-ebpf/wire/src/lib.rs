//! The contract between the kernel programs and the agent: what the agent tells a probe about a kubelet
//! ([`Site`], [`Layout`], [`Kernel`]) and what a probe reports back ([`Request`], [`Check`], [`Answer`], [`End`], [`Socket`], [`Whole`]).
//!
//! A record is a fixed struct followed by the bytes of its texts, one after the other in the order of its spans and only as many as
//! were there. Integers are in the machine's own byte order. Nothing here depends on aya or on std: see ARCHITECTURE.md.
#![no_std]

mod record;
mod site;
mod whole;

pub use record::*;
pub use site::*;
pub use whole::*;
