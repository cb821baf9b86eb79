//! The last verdict of each place where the kernel programs keep the records of a request: what comes again is like it.

use std::sync::Arc;

use kubewitness_wire::GATHERED;

use crate::{exchange::Origin, judge::Verdict};

/// Verdicts, by place.
#[derive(Debug, Default)]
pub(super) struct Repeats(Vec<Option<Kept>>);

/// What a request may be as.
#[derive(Debug)]
pub(super) struct Kept {
    name: u64,
    pub(super) verdict: Arc<Verdict>,
    /// What it was judged on: see [`crate::judge::Judge::basis`].
    pub(super) basis: u64,
    /// The name of the record that told of its user.
    pub(super) told: u64,
}

impl Repeats {
    /// Keeps the verdict of a request that others may be as.
    pub(super) fn keep(&mut self, origin: Origin, verdict: Arc<Verdict>, basis: u64, told: u64) {
        let Some(place) = usize::try_from(origin.place).ok().filter(|_| origin.place < GATHERED) else { return };
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some(Kept { name: origin.name, verdict, basis, told });
    }

    /// What was kept by that name, if it is the last of its place.
    pub(super) fn get(&mut self, origin: Origin) -> Option<&mut Kept> {
        let kept = self.0.get_mut(usize::try_from(origin.place).ok()?)?.as_mut()?;
        (kept.name == origin.name).then_some(kept)
    }
}
